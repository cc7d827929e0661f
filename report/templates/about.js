// What a card says: of a number, of a thing drawn, of a cell of a heat map.

// A record's id as a link to its row, where it has one.
function recordLink(id) {
  const code = make("code", {}, id);
  return document.getElementById(`record-${id}`) ? make("a", { href: `#record-${id}` }, code) : code;
}

// A list of terms as the parts of a card.
function terms(pairs) {
  const list = make("dl");
  for (const [term, ...about] of pairs) {
    if (about.length) list.append(make("dt", {}, term), make("dd", {}, ...about));
  }
  return list;
}

function recordLinks(ids) {
  return ids.flatMap((id, i) => (i ? [", ", recordLink(id)] : [recordLink(id)]));
}

// The command that explains a number, and a button that copies it.
function command(id) {
  const words = `cargo xtask explain ${id}`;
  const button = make("button", { type: "button", "aria-label": `Copy the command ${words}` }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copy(words)) ? "Copied" : "Not copied";
  });
  return make("p", { class: "ask" }, make("code", {}, words), button);
}

async function copy(words) {
  try {
    await navigator.clipboard.writeText(words);
    return true;
  } catch {
    // Browsers that keep the clipboard from files still copy a selection.
    const area = make("textarea", { "aria-hidden": "true" });
    area.value = words;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// A number's title is "id = value: what; source: …; records: …".
function aboutNumber(number) {
  const { id } = number.dataset;
  let rest = origin(number).slice(id.length + " = ".length);
  const cut = (mark) => {
    const at = rest.lastIndexOf(mark);
    if (at < 0) return "";
    const tail = rest.slice(at + mark.length);
    rest = rest.slice(0, at);
    return tail;
  };
  const records = cut("; records: ").split(", ").filter(Boolean);
  const source = cut("; source: ");
  const colon = rest.indexOf(": ");
  return {
    name: rest.slice(colon + 2),
    parts: [
      terms([
        ["Value", rest.slice(0, colon)],
        ["Id", make("code", {}, id)],
        ["Source", ...(source ? [source] : [])],
        [records.length > 1 ? "Records" : "Record", ...recordLinks(records)],
      ]),
      command(id),
    ],
    box: () => number.getBoundingClientRect(),
  };
}

// A thing drawn: the panel names the axes, the series and the thing itself.
function aboutSpot(spot) {
  const { x, y } = spot.closest(".hits").dataset;
  const { series } = spot.parentElement.dataset;
  const { name, at, about, record } = spot.dataset;
  const own = name || series || "";
  return {
    name: own,
    parts: [
      terms([
        ["Series", ...(series && series !== own ? [series] : [])],
        [x || "x", ...(at ? [at] : [])],
        [y || "y", about],
        ["Record", ...(record ? [recordLink(record)] : [])],
      ]),
    ],
    box: () => spot.getBoundingClientRect(),
  };
}

// A heat map is one thing with a row and a column to point at.
function aboutCell(map) {
  const { x, y } = map.closest(".hits").dataset;
  const { name, columns, about } = map.dataset;
  const values = about.split(" ");
  const rows = values.length / columns;
  const column = Number(map.dataset.column ?? 0);
  const row = Number(map.dataset.row ?? 0);
  const box = () => {
    const all = map.getBoundingClientRect();
    const [wide, high] = [all.width / columns, all.height / rows];
    return new DOMRect(all.left + column * wide, all.bottom - (row + 1) * high, wide, high);
  };
  const ring = map.nextElementSibling ?? map.parentElement.appendChild(
    document.createElementNS(map.namespaceURI, "rect"));
  const whole = map.getBBox();
  const [wide, high] = [whole.width / columns, whole.height / rows];
  ring.setAttribute("class", "ring");
  ring.setAttribute("x", whole.x + column * wide);
  ring.setAttribute("y", whole.y + whole.height - (row + 1) * high);
  ring.setAttribute("width", wide);
  ring.setAttribute("height", high);
  return {
    name: "",
    parts: [terms([[x || "column", String(column)], [y || "row", String(row)], [name || "value", values[row * columns + column]]])],
    box,
  };
}

function about(owner) {
  if (owner.dataset.id) return aboutNumber(owner);
  return owner.dataset.columns ? aboutCell(owner) : aboutSpot(owner);
}
