// The page: light or dark, where the reader is, and the way to any part.

// Remembering is a comfort; a browser may refuse it to files.
function remembered(key, value) {
  try {
    if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

// Every rule for a dark page stands under one media query. A choice of the
// reader replaces the query, so that colours are written once.
const DARK = matchMedia("(prefers-color-scheme: dark)");
const darkRules = [...document.styleSheets]
  .flatMap((sheet) => [...sheet.cssRules])
  .filter((rule) => rule.media?.mediaText.includes(DARK.media));

// Sets the page dark or light, and says which.
function setDark() {
  const chosen = remembered("assay-dark");
  const dark = chosen ? chosen === "yes" : DARK.matches;
  for (const rule of darkRules) rule.media.mediaText = dark ? "screen" : "not all";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  document.querySelector(".dark")?.setAttribute("aria-pressed", String(dark));
  return dark;
}

function theme() {
  DARK.addEventListener("change", setDark);
  document.querySelector(".dark").addEventListener("click", () => {
    remembered("assay-dark", setDark() ? "no" : "yes");
    setDark();
  });
  setDark();
}

// Opens what a place is folded into, and shows rows that a filter hid.
function reveal(place) {
  for (let part = place; part; part = part.parentElement) {
    if (part.localName === "details") part.open = true;
    if (part.localName === "tr" && part.hidden) part.closest(".block").unsift?.();
  }
}

function goTo(place) {
  reveal(place);
  place.scrollIntoView({ block: "center" });
  place.classList.add("flash");
  setTimeout(() => place.classList.remove("flash"), 2500);
}

function placeOf(hash) {
  const id = decodeURIComponent(hash.slice(1));
  return id ? document.getElementById(id) : null;
}

function links() {
  // A record that is named in a table leads to its row, as numbers do.
  for (const code of document.querySelectorAll("td:not([id]) > code[title]")) {
    const named = code.parentElement;
    const link = recordLink(code.textContent);
    if (link.localName !== "a") continue;
    link.title = code.title;
    named.replaceChildren(link);
  }
  const follow = () => {
    const place = placeOf(location.hash);
    if (!place) return;
    reveal(place);
    place.scrollIntoView({ block: place.localName === "td" ? "center" : "start" });
  };
  addEventListener("hashchange", follow);
  // A second click on one link changes no address.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && !event.defaultPrevented && link.hash === location.hash) follow();
  });
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
  follow();
}

// Marks in the contents the section that is read.
function contents() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [placeOf(a.hash), a]));
  const seen = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) seen.add(target);
      else seen.delete(target);
    }
    const current = [...links.keys()].find((section) => seen.has(section));
    if (!current) return;
    for (const [section, link] of links) {
      if (section === current) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of links.keys()) if (section) watch.observe(section);
}

// What can be gone to: kind, words, and where it is.
function places() {
  const found = [];
  const all = (selector, kind, words) => {
    for (const place of document.querySelectorAll(selector)) found.push({ kind, words: words(place), place });
  };
  const text = (place) => place.textContent.trim().replace(/\s+/g, " ");
  all("section", "Section", (s) => text(s.querySelector("h2")));
  all(".block", "Table", (b) => `${text(b.querySelector(".caption b"))} ${b.id}`);
  all("figure", "Figure", (f) => `${text(f.querySelector("figcaption b"))} ${f.id.slice("figure:".length)}`);
  all(".claims li", "Claim", text);
  all("[id^='record-']", "Record", (cell) => text(cell.parentElement));
  const ids = new Set();
  for (const number of document.querySelectorAll(".n[data-id]")) {
    const { id } = number.dataset;
    if (!ids.has(id)) found.push({ kind: "Number", words: id, place: number });
    ids.add(id);
  }
  for (const entry of found) entry.key = entry.words.toLowerCase();
  return found;
}

function jump() {
  // Of each kind, so that none hides the others.
  const MOST = 8;
  const box = document.getElementById("page:jump");
  const list = document.getElementById("page:found");
  let index = null;
  let hits = [];
  let at = -1;

  function close() {
    list.hidden = true;
    at = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function choose(next) {
    at = hits.length ? (next + hits.length) % hits.length : -1;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    const option = at < 0 ? null : list.children[at];
    option?.scrollIntoView({ block: "nearest" });
    if (option) box.setAttribute("aria-activedescendant", option.id);
  }

  function find() {
    index ??= places();
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return close();
    const shown = {};
    hits = index.filter(({ kind, key }) => words.every((word) => key.includes(word))
      && (shown[kind] = (shown[kind] ?? 0) + 1) <= MOST);
    list.replaceChildren(...hits.map(({ kind, words }, i) =>
      make("li", { role: "option", id: `page:found:${i}`, "aria-selected": "false" },
        make("span", {}, kind), make("span", {}, words))));
    if (!hits.length) list.append(make("li", { role: "option", class: "none", "aria-selected": "false" }, "Nothing has these words."));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    choose(0);
  }

  function go() {
    const hit = hits[at];
    if (list.hidden || !hit) return;
    close();
    const { place } = hit;
    goTo(place);
    // The keyboard goes on from there.
    if (!place.matches("a, [tabindex]")) place.setAttribute("tabindex", "-1");
    place.focus({ preventScroll: true });
  }

  box.addEventListener("input", find);
  box.addEventListener("focus", () => box.value && find());
  box.addEventListener("blur", close);
  box.addEventListener("keydown", (event) => {
    const act = { ArrowDown: () => choose(at + 1), ArrowUp: () => choose(at - 1), Enter: go, Escape: close }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  // Before the box loses its focus, which would close the list.
  list.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    const option = event.target.closest("li");
    if (!option || option.classList.contains("none")) return;
    at = [...list.children].indexOf(option);
    go();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea")) {
      event.preventDefault();
      box.focus();
    }
  });
}

// At once, so that no light page shows before a dark one.
setDark();
addEventListener("DOMContentLoaded", () => {
  document.querySelector(".bar").hidden = false;
  theme();
  tables();
  cards();
  contents();
  jump();
  links();
});
