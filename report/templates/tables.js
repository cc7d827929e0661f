// Tables: sorting by a heading, a filter over the rows, chips for verdicts.

// Tables with more rows than this can be filtered.
const FEW_ROWS = 8;

// An element with its attributes and children; words become text, so nothing
// that a report holds is read as markup.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// What is known of a number, as the report wrote it: the first of its cards
// takes the words out of the title, so that no second tooltip shows.
function origin(number) {
  return number.dataset.about ?? number.title;
}

// The value of a number with all its digits.
function valueOf(number) {
  const start = `${number.dataset.id} = `;
  return Number.parseFloat(origin(number).slice(start.length));
}

// What a row is sorted by: a number where the cell is one, else its words.
function keyOf(row, column) {
  const cell = row.cells[column];
  const number = cell.classList.contains("r") ? cell.querySelector("[data-id]") : null;
  return number ? valueOf(number) : cell.textContent.trim();
}

// Numbers by size, then words by alphabet, then cells without a value.
function compare(a, b) {
  const rank = (key) => (typeof key === "number" ? 0 : key === "" ? 2 : 1);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  if (typeof a === "number") return a - b;
  return a.localeCompare(b, "en", { numeric: true });
}

// Sorts by a column: upwards, downwards, as it was.
function sortBy(table, column) {
  const body = table.tBodies[0];
  body.written ??= [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const before = heads[column].getAttribute("aria-sort");
  for (const head of heads) head.removeAttribute("aria-sort");
  if (before === "descending") {
    body.append(...body.written);
    return;
  }
  const turn = before === "ascending" ? -1 : 1;
  const keyed = body.written.map((row) => [keyOf(row, column), row]);
  const empty = (key) => (typeof key === "number" ? 0 : 1);
  // Words among numbers say why there is no number: last in both directions.
  const numeric = keyed.some(([key]) => typeof key === "number");
  keyed.sort(([a], [b]) => (numeric && empty(a) - empty(b)) || turn * compare(a, b));
  body.append(...keyed.map(([, row]) => row));
  heads[column].setAttribute("aria-sort", turn === 1 ? "ascending" : "descending");
}

// Puts a button into each heading.
function sortable(table) {
  if (table.tBodies[0].rows.length < 2) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column));
    head.append(button);
  });
}

// A box and chips above a table, which hide the rows that do not match, and a
// count of those that do.
function filterable(block, table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length <= FEW_ROWS) return;
  const title = block.querySelector(".caption b").textContent.replace(/\.$/, "");
  const box = make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows of: ${title}` });
  const count = make("output", { "aria-live": "polite" });
  const said = rows.map((row) => row.querySelector(".verdict")?.dataset.verdict);
  const chips = [...new Set(said.filter(Boolean))].sort().map((verdict) => {
    const of = said.filter((word) => word === verdict).length;
    const chip = make("button", { type: "button", class: "chip", "aria-pressed": "false" }, `${verdict} ${of}`);
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      sift();
    });
    return { verdict, chip };
  });
  let texts = null;
  function sift() {
    texts ??= rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const on = chips.filter(({ chip }) => chip.getAttribute("aria-pressed") === "true").map((c) => c.verdict);
    let shown = 0;
    rows.forEach((row, i) => {
      const fits = words.every((word) => texts[i].includes(word)) && (on.length === 0 || on.includes(said[i]));
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    // Stripes follow the order in the document and would stand side by side.
    table.tBodies[0].classList.toggle("sifted", shown < rows.length);
    count.textContent = `${shown} of ${rows.length} rows`;
  }
  box.addEventListener("input", sift);
  count.textContent = `${rows.length} of ${rows.length} rows`;
  // A link into a hidden row must find it.
  block.unsift = () => {
    box.value = "";
    for (const { chip } of chips) chip.setAttribute("aria-pressed", "false");
    sift();
  };
  const tools = make("div", { class: "tools", role: "group", "aria-label": `Rows of: ${title}` }, box);
  if (chips.length > 1) tools.append(...chips.map(({ chip }) => chip));
  tools.append(count);
  const frame = table.parentElement;
  if (frame.classList.contains("long")) {
    const whole = make("button", { type: "button", "aria-pressed": "false" }, "Whole table");
    whole.addEventListener("click", () => {
      const long = frame.classList.toggle("long");
      whole.setAttribute("aria-pressed", String(!long));
    });
    tools.append(whole);
  }
  frame.before(tools);
}

function tables() {
  for (const block of document.querySelectorAll(".block")) {
    const table = block.querySelector("table");
    sortable(table);
    filterable(block, table);
  }
}
