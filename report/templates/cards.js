// Cards: what a number or a point of a figure is, on hover and focus.

// Milliseconds before a card shows, and before it goes: time to pass over
// numbers without a flicker, and to reach the links in a card.
const SHOW_AFTER = 120;
const HIDE_AFTER = 300;

// Which cell of a heat map is under the pointer; true if it is another one.
function pointAtCell(map, event) {
  const all = map.getBoundingClientRect();
  const { columns } = map.dataset;
  const rows = map.dataset.about.split(" ").length / columns;
  const share = (part, whole, n) => Math.min(n - 1, Math.max(0, Math.floor((part / whole) * n)));
  const column = share(event.clientX - all.left, all.width, columns);
  const row = share(all.bottom - event.clientY, all.height, rows);
  const other = map.dataset.column !== String(column) || map.dataset.row !== String(row);
  map.dataset.column = column;
  map.dataset.row = row;
  return other;
}

function cards() {
  const card = make("div", { class: "card", id: "page:card", role: "dialog", "aria-label": "Where this comes from", hidden: "" });
  document.body.append(card);
  const OWNERS = ".n[data-id], .hits [data-about]";
  let owner = null;
  let timer = 0;
  const later = (act, wait) => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };

  function show(next) {
    clearTimeout(timer);
    hide();
    owner = next;
    if (owner.title) {
      owner.dataset.about = owner.title;
      owner.removeAttribute("title");
    }
    owner.classList.add("on-card");
    const { name, parts, box } = about(owner);
    card.replaceChildren(...(name ? [make("p", { class: "of" }, name)] : []), ...parts);
    card.hidden = false;
    const [at, size] = [box(), card.getBoundingClientRect()];
    const room = document.documentElement.clientWidth - size.width - 8;
    const below = at.bottom + 8;
    const top = below + size.height > innerHeight && at.top > size.height + 8 ? at.top - size.height - 8 : below;
    card.style.left = `${scrollX + Math.max(8, Math.min(at.left, room))}px`;
    card.style.top = `${scrollY + top}px`;
  }

  function hide() {
    clearTimeout(timer);
    card.hidden = true;
    owner?.classList.remove("on-card");
    owner?.parentElement.querySelector(":scope > .ring")?.remove();
    owner = null;
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const next = nearest(event);
    if (event.target.closest(".card")) clearTimeout(timer);
    else if (next && next !== owner) later(() => show(next), SHOW_AFTER);
    else if (next) clearTimeout(timer);
    else if (owner && !card.contains(document.activeElement)) later(hide, HIDE_AFTER);
    else if (!owner) clearTimeout(timer);
  });

  document.addEventListener("pointermove", (event) => {
    const map = event.target.dataset?.columns ? event.target : null;
    if (map && pointAtCell(map, event)) later(() => show(map), owner === map ? 0 : SHOW_AFTER);
  });

  // Of points that lie over each other, the one whose middle is nearest.
  function nearest(event) {
    const target = event.target.closest(OWNERS);
    if (!target?.closest(".hits") || target.dataset.columns) return target;
    const far = (spot) => {
      const box = spot.getBoundingClientRect();
      return Math.hypot(box.left + box.width / 2 - event.clientX, box.top + box.height / 2 - event.clientY);
    };
    const all = document.elementsFromPoint(event.clientX, event.clientY).filter((e) => e.matches(OWNERS));
    return all.reduce((a, b) => (far(b) < far(a) ? b : a), target);
  }

  // A finger has no hover: its first tap shows the card, which has the links.
  document.addEventListener("click", (event) => {
    const next = nearest(event);
    if (next?.closest(".hits") || (next && event.pointerType === "touch" && next !== owner)) {
      event.preventDefault();
      show(next);
    } else if (!event.target.closest(".card")) {
      hide();
    } else if (event.target.closest("a")) {
      hide();
    }
  });

  document.addEventListener("focusin", (event) => {
    const next = event.target.closest(OWNERS);
    if (next && next !== owner && next.matches(":focus-visible")) show(next);
    else if (!next && !card.contains(event.target)) hide();
  });

  document.addEventListener("keydown", (event) => {
    const here = document.activeElement;
    if (event.key === "Escape" && owner) {
      if (card.contains(here)) owner.focus();
      hide();
    } else if (event.key === "Tab" && owner) {
      throughCard(event, here);
    } else if ((event.key === "Enter" || event.key === " ") && here.matches(".hits [data-about], span.n")) {
      event.preventDefault();
      if (here !== owner) show(here);
    } else if (here?.matches(OWNERS) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      step(event, here);
    }
  });

  // The card stands at the end of the page; the tab key goes through it as if
  // it stood behind what it belongs to.
  function throughCard(event, here) {
    const stops = [...card.querySelectorAll("a, button")];
    if (here === owner && !event.shiftKey && stops.length) {
      event.preventDefault();
      stops[0].focus();
    } else if (card.contains(here)) {
      const at = stops.indexOf(here) + (event.shiftKey ? -1 : 1);
      if (stops[at]) {
        event.preventDefault();
        stops[at].focus();
        return;
      }
      // From the owner, the browser itself goes on; back ends there.
      const last = owner;
      last.focus();
      if (event.shiftKey) event.preventDefault();
      hide();
    }
  }

  // Arrow keys go from a number or point to the next; each table or panel is
  // one stop of the tab key.
  function step(event, here) {
    const [across, along] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (!across && !along) return;
    if (here.dataset.columns) {
      event.preventDefault();
      const columns = Number(here.dataset.columns);
      const rows = here.dataset.about.split(" ").length / columns;
      const within = (value, n) => Math.min(n - 1, Math.max(0, value));
      here.dataset.column = within(Number(here.dataset.column ?? 0) + across, columns);
      here.dataset.row = within(Number(here.dataset.row ?? 0) - along, rows);
      show(here);
      return;
    }
    const next = here.closest(".hits") ? beside(here, across + along) : inTable(here, across, along);
    if (!next) return;
    event.preventDefault();
    stop(here, "-1");
    stop(next, "0");
    next.focus();
  }

  function beside(spot, by) {
    const all = [...spot.closest(".hits").querySelectorAll("[data-about]")];
    return all[all.indexOf(spot) + by];
  }

  function inTable(number, across, along) {
    const group = number.closest("tbody, .claims");
    if (!group) return null;
    const cell = number.closest("td");
    if (along && cell) {
      for (let row = cell.parentElement; (row = along > 0 ? row.nextElementSibling : row.previousElementSibling); ) {
        const found = !row.hidden && row.cells[cell.cellIndex].querySelector(".n[data-id]");
        if (found) return found;
      }
      return null;
    }
    const all = [...group.querySelectorAll(".n[data-id]")].filter((n) => !n.closest("tr[hidden]"));
    return all[all.indexOf(number) + across + along];
  }

  addEventListener("resize", hide);
  // Numbers and points of one table or panel: one stop, the rest by arrows.
  for (const group of document.querySelectorAll("tbody, .claims")) {
    group.querySelectorAll(".n[data-id]").forEach((number, i) => stop(number, i ? "-1" : "0"));
  }
  for (const panel of document.querySelectorAll(".hits")) {
    const first = panel.querySelector("[data-about]");
    if (first) stop(first, "0");
  }
  for (const number of document.querySelectorAll("span.n:not([tabindex])")) stop(number, "0");
}

// Makes something a stop of the tab key, or only of the arrow keys; what is no
// link needs a role and, where it has no words, a name.
function stop(owner, index) {
  owner.setAttribute("tabindex", index);
  if (owner.localName === "a") return;
  owner.setAttribute("role", "button");
  if (owner.dataset.id) return;
  const { x, y } = owner.closest(".hits").dataset;
  const { name, at, about, columns } = owner.dataset;
  const series = owner.parentElement.dataset.series;
  const words = columns
    ? `Cells of the heat map: ${name || y}`
    : [name || series, at && `${x || "x"} ${at}`, `${y || "y"} ${about}`].filter(Boolean).join(", ");
  owner.setAttribute("aria-label", words);
}
