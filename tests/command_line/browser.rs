//! report.html in a real browser: what it shows, and what a reader can do.

mod chromium;
mod controls;
mod hostile;

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

/// The card that says what something is.
const CARD: &str = "document.querySelector('.card')";

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

/// A fixed page with the style and the script of the report.
fn fixture() -> Site {
    let part = |name: &str| {
        let (_, rest) = report().split_once(&format!("<{name}>")).unwrap();
        rest.split_once(&format!("</{name}>")).unwrap().0
    };
    let html = include_str!("browser/fixture.html")
        .replace("/* style */", part("style"))
        .replace("/* script */", part("script"));
    Site::of(&html)
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
    let site = fixture();
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
