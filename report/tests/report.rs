//! The report of a made-up experiment, looked at from outside.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod fixture;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use assay_record::{Cell, Format, RecordError};
use assay_report::{PdfOutcome, ReportError, ReportInput, write_report};

/// The files of a report by name. Set ASSAY_KEEP to a folder to look at them.
fn files(input: &ReportInput, keep: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let out = match std::env::var_os("ASSAY_KEEP") {
        Some(root) => Path::new(&root).join(keep),
        None => folder.path().to_path_buf(),
    };
    let written = write_report(
        &Arc::new(input.clone()),
        &fixture::read,
        &out,
        &mut |_, _, _| (),
    )
    .unwrap();
    assert_eq!(written.pdf == PdfOutcome::Written, has("latexmk"));
    written
        .files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&out).unwrap();
            let name = name.to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect()
}

fn has(program: &str) -> bool {
    Command::new(program).arg("-v").output().is_ok()
}

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn every_kind_of_content_reaches_markdown_and_latex() {
    let files = files(&fixture::input(), "report");
    insta::assert_snapshot!("report.md", text(&files, "report.md"));
    insta::assert_snapshot!("report.tex", text(&files, "report.tex"));
    insta::assert_snapshot!("macros.tex", text(&files, "macros.tex"));
    insta::assert_snapshot!("gain.csv", text(&files, "figures/fixture-gain-gain.csv"));
    let mut tables = files.keys().filter(|name| name.starts_with("tables/"));
    let name = tables.find(|name| name.ends_with(".csv")).unwrap();
    insta::assert_snapshot!("table.csv", text(&files, name));
    let tex = name.replace(".csv", ".tex");
    insta::assert_snapshot!("table.tex", text(&files, &tex));
    insta::assert_snapshot!("story.tex", text(&files, "tables/story-table.tex"));
}

/// Nobody leafs through thousands of rows; a screen finds them.
#[test]
fn long_tables_are_cut_on_paper_only() {
    let mut input = fixture::input();
    let table = &mut input.summaries[0].tables[0];
    let row = table.rows[0].clone();
    table.rows.resize(250, row);
    let table = &input.summaries[0].tables[0].id;
    let name = format!("{}-{table}", input.summaries[0].experiment);
    let files = files(&input, "long");
    let tex = text(&files, &format!("tables/{name}.tex"));
    let (_, body) = tex.split_once("\\endfoot").unwrap();
    let rows = body.lines().filter(|l| l.contains("\\mbox{")).count();
    assert_eq!(rows, 200);
    assert!(tex.contains("\\num{50} more rows are in report.html"));
    let html = text(&files, "report.html");
    let (_, table) = html.split_once(&format!("id=\"{name}\"")).unwrap();
    let (table, _) = table.split_once("</table>").unwrap();
    assert_eq!(table.matches("<tr>").count(), 1 + 250);
    let csv = text(&files, &format!("tables/{name}.csv"));
    assert_eq!(csv.lines().count(), 1 + 250);
    // Shorter ones are whole.
    assert!(!text(&files, "tables/records.tex").contains("more rows"));
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let once = files(&fixture::input(), "once");
    let again = files(&fixture::input(), "again");
    assert_eq!(
        once.keys().collect::<Vec<_>>(),
        again.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &once {
        assert!(*bytes == again[name], "{name} differs");
    }
}

#[test]
fn html_is_self_contained_and_names_the_origin_of_numbers() {
    let input = fixture::input();
    let files = files(&input, "html");
    let html = text(&files, "report.html");
    // The namespace of SVG is a name, not an address that is fetched.
    let addresses = html.replace("http://www.w3.org/2000/svg", "");
    for forbidden in [
        "http:", "https:", "<link", "src=", "@import", "url(", "fetch(", "import(",
    ] {
        assert!(!addresses.contains(forbidden), "{forbidden} in report.html");
    }
    let record = input.records[0].id().unwrap();
    let short = &record[..12];
    assert!(html.contains(&format!("<td id=\"record-{short}\">")));
    assert!(html.contains(&format!(
        "<a class=\"n\" href=\"#record-{short}\" data-id=\"fixture.gain.0\" \
         title=\"fixture.gain.0 = 1.2: gain of fixture-70m; records: {short}\">1.200</a>"
    )));
    assert!(html.contains("\u{2212}0.812"), "a real minus sign");
    assert!(html.contains("10<sup>\u{2212}8</sup>"));
    assert!(html.contains("p </a>") || html.contains("&lt; .001"));
    assert!(html.contains("role=\"img\" aria-label=\"Scatter of eight made-up models"));
    assert!(html.contains("prefers-color-scheme:dark"));
}

#[test]
fn no_number_is_typed_into_a_template() {
    let input = ReportInput {
        summaries: Vec::new(),
        records: Vec::new(),
        golden: Vec::new(),
        provenance: Vec::new(),
        command: "make it".to_owned(),
        headlines: Vec::new(),
        outcomes: Vec::new(),
    };
    let files = files(&input, "no-numbers");
    let html = text(&files, "report.html");
    let (_, body) = html.split_once("</script>").unwrap();
    let words: String = body
        .split('<')
        .filter_map(|tag| tag.split_once('>'))
        .map(|(_, words)| words)
        .collect();
    for words in [words, text(&files, "report.md")] {
        assert!(!words.contains(|c: char| c.is_ascii_digit()), "{words}");
    }
}

#[test]
fn figures_are_opaque_and_keep_their_words_in_pdf() {
    let folder = tempfile::tempdir().unwrap();
    let written = write_report(
        &Arc::new(fixture::input()),
        &fixture::read,
        folder.path(),
        &mut |_, _, _| (),
    )
    .unwrap();
    let figures = written
        .files
        .iter()
        .filter(|p| p.parent().unwrap().ends_with("figures"));
    let mut seen = 0;
    for path in figures {
        let bytes = std::fs::read(path).unwrap();
        match path.extension().unwrap().to_str().unwrap() {
            "svg" => assert!(!String::from_utf8(bytes).unwrap().contains("opacity")),
            "pdf" => {
                let raw = String::from_utf8_lossy(&bytes);
                assert!(raw.contains("/FontFile") || raw.contains("/ToUnicode"));
                seen += 1;
            }
            _ => {}
        }
    }
    // Four of the fixture, and that of the first page.
    assert_eq!(seen, 5);
    if !has("pdftotext") {
        println!("pdftotext is not installed: the words of the figures were not read back");
        return;
    }
    let pdf = folder.path().join("figures/fixture-gain-gain.pdf");
    let output = Command::new("pdftotext")
        .arg(pdf)
        .arg("-")
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "fixture-2.8b",
        "head density ρ",
        "p < .001",
        "\u{2212}0.812",
    ] {
        assert!(words.contains(expected), "{expected:?} is not in {words}");
    }
}

#[test]
fn archive_holds_results_and_their_hashes() {
    let files = files(&fixture::input(), "zip");
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&files["results.zip"])).unwrap();
    let mut contents = BTreeMap::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).unwrap();
        assert_eq!(entry.last_modified(), Some(zip::DateTime::default()));
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        contents.insert(name, bytes);
    }
    let manifest = contents.remove("manifest.json").unwrap();
    let hashes: BTreeMap<String, String> = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        hashes.keys().collect::<Vec<_>>(),
        contents.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &contents {
        assert_eq!(hashes[name], assay_record::sha256_hex(bytes), "{name}");
    }
    assert_eq!(
        contents["figures/fixture-gain-gain.svg"],
        files["figures/fixture-gain-gain.svg"]
    );
    assert_eq!(
        contents
            .keys()
            .filter(|n| n.starts_with("records/"))
            .count(),
        8
    );
    assert!(contents.contains_key("summaries/fixture-gain.json"));
}

#[test]
fn hostile_names_are_harmless() {
    let hostile = "</script><img src=x> \\input{/etc/hostname} a|b $x^2$ `c` %d #e ~f & 中文";
    let mut input = fixture::input();
    let s = &mut input.summaries[0];
    s.not_run[0].reason = hostile.to_owned();
    s.not_run[0].model = hostile.to_owned();
    s.spec.title = hostile.to_owned();
    s.verdicts[0].data = hostile.to_owned();
    s.tables[0].title = hostile.to_owned();
    s.tables[0].rows[0][0] = Cell::Text(hostile.to_owned());
    s.figures[0].alt = hostile.to_owned();
    s.figures[0].panels[0].title = hostile.to_owned();
    s.models[0].model = hostile.to_owned();
    input.golden[0].failures = vec![hostile.to_owned()];
    // latexmk, where there is one, runs here too and must not stop.
    let files = files(&input, "hostile");
    let html = text(&files, "report.html");
    let scripts = html.matches("</script>").count();
    assert!(
        !html.contains("<img") && scripts == 1,
        "one script, the page's own"
    );
    let tex = text(&files, "report.tex");
    for taken in tex.split("\\input{").skip(1) {
        let own = ["preamble.tex", "macros.tex", "tables/"];
        assert!(own.iter().any(|name| taken.starts_with(name)), "{taken}");
    }
    for (name, bytes) in files.iter().filter(|(n, _)| n.starts_with("tables/")) {
        let words = String::from_utf8_lossy(bytes);
        assert!(
            !name.ends_with(".tex") || !words.contains("\\input{"),
            "{name}"
        );
    }
    // In a code span, whose fence is longer than any in it, words are safe.
    let md = text(&files, "report.md");
    let prose: String = md.split("``").step_by(2).collect();
    assert!(!prose.contains("<img") && !md.contains("a|b"));
    let svg = text(&files, "figures/fixture-gain-gain.svg");
    assert!(!svg.contains("<img"));
}

#[track_caller]
fn check_error(change: impl FnOnce(&mut ReportInput), expected: &str) -> ReportError {
    let mut input = fixture::input();
    change(&mut input);
    let folder = tempfile::tempdir().unwrap();
    let error = write_report(
        &Arc::new(input),
        &fixture::read,
        folder.path(),
        &mut |_, _, _| (),
    )
    .unwrap_err();
    assert_eq!(error.to_string(), expected);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is written when something is wrong");
    error
}

#[test]
fn a_number_that_is_not_there_is_an_error() {
    let error = check_error(
        |input| input.summaries[0].tables[0].rows[0][1] = Cell::Number("fixture.absent".to_owned()),
        "there is no number named fixture.absent, which table gains of fixture-gain refers to",
    );
    assert!(matches!(
        error,
        ReportError::Record(RecordError::Missing { kind: "number", .. })
    ));
    check_error(
        |input| input.summaries[0].errata[0].truth = "{fixture.absent}".to_owned(),
        "the text \"{fixture.absent}\" refers to {fixture.absent}, which is no number of this \
         report",
    );
}

#[test]
fn a_placeholder_in_a_plain_field_is_an_error() {
    check_error(
        |input| input.summaries[0].spec.hypothesis = "r is {fixture.r}".to_owned(),
        "{fixture.r} was left unreplaced in report.md: the field it stands in holds no \
         placeholders",
    );
}

#[test]
fn a_number_from_an_unknown_record_is_an_error() {
    check_error(
        |input| {
            let number = fixture::number(1.0, "x", Format::Fixed(1), &["0".repeat(64)]);
            input.summaries[0].number("fixture.x", number).unwrap();
        },
        &format!(
            "number fixture.x is said to come from record {}, which is not among the report's \
             records",
            "0".repeat(64)
        ),
    );
}

#[test]
fn names_cannot_leave_the_folder() {
    check_error(
        |input| input.summaries[0].figures[0].id = "../../x".to_owned(),
        "figure \"../../x\" must be made of ASCII letters, digits, dots and dashes",
    );
}

#[test]
fn data_that_cannot_be_drawn_is_an_error() {
    check_error(
        |input| input.summaries[0].figures[0].panels[0].y_lines[0].0 = f64::NAN,
        "figure gain cannot be drawn: panel \"Head density and gain\": the value NaN is not \
         finite",
    );
}

#[test]
fn a_p_value_above_one_is_an_error() {
    check_error(
        |input| {
            let number = fixture::number(1.5, "x", Format::PValue, &[]);
            input.summaries[0].number("fixture.x", number).unwrap();
        },
        "number fixture.x is 1.5, which is not a probability",
    );
}
