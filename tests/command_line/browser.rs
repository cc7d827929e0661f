//! report.html in a real browser: what it shows, and what a reader can do.

mod chromium;

use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::json;

use self::chromium::Page;
use crate::bench::{Bench, run};

/// The report of two tiny models, made once for all tests.
fn report() -> &'static str {
    static REPORT: OnceLock<String> = OnceLock::new();
    REPORT.get_or_init(|| {
        let bench = Bench::new();
        let models = bench.two_models();
        run(bench.reproduce(&models)).check(0, &["report: out"]);
        std::fs::read_to_string(bench.path("out/report.html")).unwrap()
    })
}

/// A file in a folder of its own that goes when the test ends.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn of(html: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(folder.path().join("report.html"), html).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("report.html")
    }
}

/// The report, opened.
fn opened() -> (Page, Site) {
    let site = Site::of(report());
    let mut page = Page::new();
    page.open(&site.file(), "");
    (page, site)
}

/// No error and no exception was reported.
#[track_caller]
fn check_quiet(page: &Page) {
    let errors = |list: Vec<&serde_json::Value>, level: &str| {
        let bad = list
            .into_iter()
            .filter(|e| e.pointer(level) == Some(&json!("error")));
        bad.cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        errors(page.reported("Log.entryAdded"), "/entry/level"),
        [json!(null); 0]
    );
    assert_eq!(
        errors(page.reported("Runtime.consoleAPICalled"), "/type"),
        [json!(null); 0]
    );
    assert_eq!(page.reported("Runtime.exceptionThrown"), [&json!(null); 0]);
}

#[test]
fn it_is_one_file_without_a_fault() {
    let (mut page, _site) = opened();
    // Everything that starts late has started.
    page.wait("!document.querySelector('.bar').hidden");
    check_quiet(&page);
    let asked = page.reported("Network.requestWillBeSent");
    let asked: Vec<_> = asked
        .iter()
        .map(|r| r["request"]["url"].as_str().unwrap())
        .collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("file://") && asked[0].ends_with("/report.html"));
    let twice = page.js("[...document.querySelectorAll('[id]')].map((e) => e.id)
           .filter((id, i, all) => all.indexOf(id) !== i)");
    assert_eq!(twice, json!([]), "ids that stand twice");
    let lost = page.js(
        "[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))
           .filter((h) => !h.startsWith('#') || !document.getElementById(decodeURIComponent(h.slice(1))))",
    );
    assert_eq!(lost, json!([]), "links that lead nowhere");
    assert!(page.number("document.querySelectorAll('a').length") > 50.0);
    // Headings go down by one step.
    page.check(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => +h.localName[1])
           .every((level, i, all) => i === 0 ? level === 1 : level <= all[i - 1] + 1)",
    );
}

#[test]
fn everything_that_can_be_used_has_a_name() {
    let (mut page, _site) = opened();
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    let tree = page.call("Accessibility.getFullAXTree", json!({}));
    let mut named = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let properties = node["properties"].as_array().cloned().unwrap_or_default();
        let focusable = properties
            .iter()
            .any(|p| p["name"] == json!("focusable") && p["value"]["value"] == json!(true));
        let must = focusable || ["image", "button", "link", "table", "group"].contains(&role);
        // The document itself, whose name is its title, can be focused too.
        if node["ignored"] == json!(true) || !must {
            continue;
        }
        // Groups that are no landmarks may go unnamed: details are such.
        let name = node["name"]["value"].as_str().unwrap_or_default();
        assert!(
            !name.trim().is_empty() || role == "group",
            "no name: {node}"
        );
        named += 1;
    }
    assert!(named > 100, "{named} named nodes");
    for landmark in ["banner", "navigation", "main", "search"] {
        let is = |n: &&serde_json::Value| n["role"]["value"] == json!(landmark);
        let found = tree["nodes"].as_array().unwrap().iter().filter(is).count();
        assert_eq!(found, 1, "{landmark}");
    }
    page.check(
        "[...document.querySelectorAll('figure')].every((f) =>
           f.querySelector('svg > [role=img]').getAttribute('aria-label').length > 20)",
    );
}

/// The values that a column shows, from top to bottom, by their full digits.
const COLUMN: &str = "(() => {
  const table = [...document.querySelectorAll('.block table')].find((t) =>
    [...t.tHead.rows[0].cells].some((head, i) => head.classList.contains('r') &&
      new Set([...t.tBodies[0].rows].map((r) => r.cells[i].textContent)).size > 4));
  const column = [...table.tHead.rows[0].cells].findIndex((head, i) => head.classList.contains('r') &&
      new Set([...table.tBodies[0].rows].map((r) => r.cells[i].textContent)).size > 4);
  table.id = 'sorted';
  table.tHead.rows[0].cells[column].id = 'by';
  return [...table.tBodies[0].rows].map((r) => r.cells[column].querySelector('[data-id]'))
    .filter(Boolean).map((n) => Number.parseFloat((n.dataset.about ?? n.title).split(' = ')[1]));
})()";

#[test]
fn a_click_on_a_heading_sorts_by_value() {
    let (mut page, _site) = opened();
    let values = |page: &mut Page| -> Vec<f64> {
        let list = page.js(COLUMN);
        list.as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect()
    };
    let written = values(&mut page);
    let mut up = written.clone();
    up.sort_by(f64::total_cmp);
    let down: Vec<f64> = up.iter().rev().copied().collect();
    assert!(
        written.len() > 4 && written != up && written != down,
        "{written:?}"
    );
    // By mouse, then by keyboard, then back as it was written.
    page.click("#by button");
    assert_eq!(values(&mut page), up);
    assert_eq!(
        page.words("document.querySelector('#by').ariaSort"),
        "ascending"
    );
    page.press("Enter");
    assert_eq!(values(&mut page), down);
    assert_eq!(
        page.words("document.querySelector('#by').ariaSort"),
        "descending"
    );
    page.click("#sorted th:not(#by) button");
    assert_eq!(
        page.number("document.querySelectorAll('#sorted [aria-sort]').length"),
        1.0
    );
    page.check("document.querySelector('#by').ariaSort === null");
    for _ in 0..3 {
        page.click("#by button");
    }
    assert_eq!(values(&mut page), written);
    check_quiet(&page);
}

#[test]
fn a_filter_hides_rows_and_counts_the_rest() {
    let (mut page, _site) = opened();
    let rows = page.number("document.querySelectorAll('#verdicts tbody tr').length");
    let seen =
        "[...document.querySelectorAll('#verdicts tbody tr')].filter((r) => r.checkVisibility())";
    let count = "document.querySelector('#verdicts output').textContent";
    assert_eq!(page.words(count), format!("{rows} of {rows} rows"));
    page.type_into("#verdicts input", "Tiny-Llama");
    let shown = page.number(&format!("{seen}.length"));
    assert!(shown > 0.0 && shown < rows, "{shown} of {rows}");
    page.check(&format!(
        "{seen}.every((r) => r.textContent.includes('tiny-llama'))"
    ));
    assert_eq!(page.words(count), format!("{shown} of {rows} rows"));
    page.type_into("#verdicts input", " no such words");
    assert_eq!(page.words(count), format!("0 of {rows} rows"));
    page.js(
        "(() => { const box = document.querySelector('#verdicts input');
             box.value = ''; box.dispatchEvent(new Event('input')); })()",
    );
    page.click("#verdicts .chip");
    page.check("document.querySelector('#verdicts .chip').ariaPressed === 'true'");
    let chip = page.words("document.querySelector('#verdicts .chip').textContent");
    let (verdict, of) = chip.rsplit_once(' ').unwrap();
    assert_eq!(page.words(count), format!("{of} of {rows} rows"));
    page.check(&format!(
        "{seen}.every((r) => r.textContent.includes({verdict:?}))"
    ));
    check_quiet(&page);
}

#[test]
fn a_link_to_a_record_opens_what_it_is_in() {
    let (mut page, _site) = opened();
    let record = page.words("document.querySelector('a.n').hash");
    let cell = format!("document.getElementById({:?})", &record[1..]);
    page.check(&format!("!{cell}.checkVisibility()"));
    page.click("a.n");
    let in_view = format!(
        "(() => {{ const b = {cell}.getBoundingClientRect();
         return {cell}.checkVisibility() && b.top >= 0 && b.bottom <= innerHeight; }})()"
    );
    page.wait(&in_view);
    page.check(&format!(
        "location.hash === {record:?} && {cell}.matches(':target')"
    ));
    // Closed again, the same link opens it again; so does an address.
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = false; })");
    page.click("a.n");
    page.wait(&in_view);
    let elsewhere = Site::of(report());
    page.open(&elsewhere.file(), &record);
    page.wait(&in_view);
    check_quiet(&page);
}

const CARD: &str = "document.querySelector('.card')";

#[test]
fn a_number_says_where_it_comes_from() {
    let (mut page, _site) = opened();
    let number = "#verdicts a.n";
    let title = page.words(&format!("document.querySelector('{number}').title"));
    let (id, rest) = title.split_once(" = ").unwrap();
    let (value, _) = rest.split_once(": ").unwrap();
    page.point_at(number);
    page.wait(&format!("!{CARD}.hidden"));
    let card = page.words(&format!("{CARD}.textContent"));
    let command = format!("cargo xtask explain {id}");
    for words in [id, value, &command] {
        assert!(card.contains(words), "no {words:?} in {card}");
    }
    page.check(&format!(
        "{CARD}.querySelector('a').hash === document.querySelector('{number}').hash"
    ));
    page.check(&format!("!!{CARD}.querySelector('button')"));
    page.press("Escape");
    page.check(&format!("{CARD}.hidden"));
    // By keyboard: the card shows, Tab goes into it, Escape leads back.
    page.js(&format!("document.querySelector('{number}').focus()"));
    page.press("ArrowRight");
    page.check(&format!(
        "!{CARD}.hidden && document.activeElement.matches('.n')"
    ));
    page.press("Tab");
    page.check(&format!("{CARD}.contains(document.activeElement)"));
    page.press("Escape");
    page.check(&format!(
        "{CARD}.hidden && document.activeElement.matches('.n')"
    ));
    // No trap: from the last control of a card, Tab goes on.
    for _ in 0..9 {
        page.press("Tab");
    }
    page.check("!document.activeElement.closest('.card, #verdicts tbody')");
    check_quiet(&page);
}

#[test]
fn a_point_of_a_figure_says_what_it_is() {
    let (mut page, _site) = opened();
    // Every point lies where something is drawn, and can be pointed at.
    let point = "figure circle[data-record]";
    let name = page.words(&format!("document.querySelector('{point}').dataset.name"));
    page.point_at(point);
    page.wait(&format!("!{CARD}.hidden"));
    let card = page.words(&format!("{CARD}.textContent"));
    assert!(card.contains(&name) && card.contains("gain"), "{card}");
    page.check(&format!(
        "document.getElementById({CARD}.querySelector('a').hash.slice(1)).localName === 'td'"
    ));
    page.js("document.querySelector('figure .hits [tabindex=\"0\"]').focus()");
    page.press("ArrowRight");
    page.check(
        "document.activeElement.ariaLabel.length > 5 && document.activeElement.matches('.on-card')",
    );
    // One stop of the tab key for each panel.
    page.check("[...document.querySelectorAll('.hits')].every((p) => p.querySelectorAll('[tabindex=\"0\"]').length === 1)");
    check_quiet(&page);
}

#[test]
fn the_box_leads_to_numbers_and_tables() {
    let (mut page, _site) = opened();
    page.type_into("#page\\:jump", "verdicts");
    page.check("document.activeElement.ariaExpanded === 'true'");
    let id = page.words("document.querySelector('tbody .n').dataset.id");
    page.js("document.activeElement.value = ''");
    page.type_into("#page\\:jump", &id);
    page.press("Enter");
    page.wait(&format!("document.activeElement.dataset.id === {id:?}"));
    check_quiet(&page);
}

/// Contrast of an element's words with the page, by WCAG.
const CONTRAST: &str = "((selector) => {
  const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const of = (element) => {
    let under = element;
    while (getComputedStyle(under).backgroundColor === 'rgba(0, 0, 0, 0)') under = under.parentElement;
    const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(under).backgroundColor)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  return Math.min(...[...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).map(of));
})";

#[test]
fn light_and_dark_pages_can_be_read() {
    let (mut page, site) = opened();
    let mut means = Vec::new();
    for scheme in ["light", "dark"] {
        page.prefer(scheme);
        page.wait(&format!(
            "document.documentElement.style.colorScheme === '{scheme}'"
        ));
        let all = "p, li, dd, dt, td, th, h1, h2, h3, a, code, span, button, figcaption, output";
        let contrast = page.number(&format!("{CONTRAST}({all:?})"));
        assert!(contrast >= 4.5, "{contrast} on a {scheme} page");
        means.push(page.luminance(1, 1)[0]);
    }
    assert!(means[0] > 0.8 && means[1] < 0.25, "{means:?}");
    // The button turns it, whatever the system says, and is remembered.
    page.click("button.dark");
    page.wait("document.documentElement.style.colorScheme === 'light'");
    assert!(page.luminance(1, 1)[0] > 0.8);
    page.open(&site.file(), "");
    page.check("document.querySelector('button.dark').ariaPressed === 'false'");
    assert!(page.luminance(1, 1)[0] > 0.8);
    check_quiet(&page);
}

#[test]
fn nothing_is_wider_than_the_window() {
    let (mut page, _site) = opened();
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    for (width, height) in [(1280, 900), (390, 844)] {
        page.size(width, height);
        page.wait(&format!("innerWidth === {width}"));
        page.check("document.documentElement.scrollWidth <= innerWidth");
        // A card fits too, wherever its number stands.
        page.point_at("#verdicts a.n");
        page.wait(&format!("!{CARD}.hidden"));
        page.check("document.documentElement.scrollWidth <= innerWidth");
        page.press("Escape");
    }
}

#[test]
fn without_scripts_everything_is_there() {
    let site = Site::of(report());
    let mut page = Page::new();
    page.call(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    page.open(&site.file(), "");
    let tree = page.call("Accessibility.getFullAXTree", json!({}));
    let roles = |role: &str| {
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes
            .filter(|n| n["ignored"] == json!(false) && n["role"]["value"] == json!(role))
            .count()
    };
    assert!(roles("table") > 5 && roles("image") > 0);
    assert_eq!(
        roles("button") + roles("combobox") + roles("dialog"),
        0,
        "controls that do nothing"
    );
}

/// A fixed page in the report's style and script against a grid of mean
/// luminances that was written down when it looked right. Typefaces differ from
/// machine to machine and move single letters, so cells are large and a cell
/// may be off by a tenth; a column that is gone, a panel of another colour, or
/// a rule that no longer applies changes cells by more.
#[test]
fn a_fixed_page_looks_as_it_did() {
    const GRID: (usize, usize) = (8, 6);
    const OFF: f64 = 0.1;
    let part = |name: &str| {
        let (_, rest) = report().split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0
    };
    let html = include_str!("browser/fixture.html")
        .replace("/* style */", part("style"))
        .replace("/* script */", part("script"));
    let site = Site::of(&html);
    let mut page = Page::new();
    for (scheme, expected) in [
        ("light", include_str!("browser/light.txt")),
        ("dark", include_str!("browser/dark.txt")),
    ] {
        page.prefer(scheme);
        page.open(&site.file(), "");
        page.wait("document.fonts.status === 'loaded'");
        let found = page.luminance(GRID.0, GRID.1);
        let rows = found.chunks(GRID.0).map(|row| {
            let cells: Vec<_> = row.iter().map(|cell| format!("{cell:.2}")).collect();
            cells.join(" ") + "\n"
        });
        let text: String = rows.collect();
        let expected: Vec<f64> = expected
            .split_whitespace()
            .map(|cell| cell.parse().unwrap())
            .collect();
        assert_eq!(expected.len(), found.len());
        let far = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(
            far <= OFF,
            "{scheme} differs by {far:.2}; it is now\n{text}"
        );
    }
    check_quiet(&page);
}
