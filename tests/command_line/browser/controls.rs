//! What a reader can do with the report: sort, filter, follow, point and find.

use super::chromium::Page;
use super::{CARD, Site, check_quiet, fixture, opened, report};

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
    // Points of the first series, whose marker is a circle, lie on it.
    let off = page.js(
        "[...document.querySelectorAll('.hits > [data-series]:first-child > circle[data-name]')].map((hit) => {
           const [x, y] = [hit.getAttribute('cx'), hit.getAttribute('cy')];
           const drawn = hit.closest('svg').querySelector(`[role=img] circle[cx='${x}'][cy='${y}']`);
           return drawn ? 0 : 1;
         })",
    );
    let off = off.as_array().unwrap();
    assert!(off.len() > 5 && off.iter().all(|o| o == 0), "{off:?}");
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

/// A finger has no hover: its tap on a number shows the card, whose link leads
/// to the record.
#[test]
fn a_tap_shows_the_card() {
    let (mut page, _site) = opened();
    page.tap("#verdicts a.n");
    page.wait(&format!("!{CARD}.hidden"));
    page.check("location.hash === ''");
    page.tap(".card a");
    page.wait("location.hash.startsWith('#record-')");
    page.wait(&format!("{CARD}.hidden"));
    check_quiet(&page);
}

#[test]
fn a_cell_of_a_heat_map_says_what_it_is() {
    let site = fixture();
    let mut page = Page::new();
    page.open(&site.file(), "");
    page.point_at("[data-columns]");
    page.wait(&format!("!{CARD}.hidden"));
    let said = |page: &mut Page| {
        page.words(&format!(
            "[...{CARD}.querySelectorAll('dt, dd')].map((e) => e.textContent).join(' ')"
        ))
    };
    // Rows count from the bottom.
    assert_eq!(said(&mut page), "token 1 layer 1 depth 5");
    page.js("document.querySelector('[data-columns]').focus()");
    page.press("ArrowRight");
    assert_eq!(said(&mut page), "token 2 layer 1 depth 6");
    page.press("ArrowDown");
    page.press("ArrowDown");
    assert_eq!(said(&mut page), "token 2 layer 0 depth 3");
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
