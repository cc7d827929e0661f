//! The report of somebody else's run, in which models are called what would be
//! harm in a page.

use assay_record::{Made, Store, canonical_json, sha256_hex};
use serde_json::{Value, json};

use super::{Site, check_quiet};
use crate::bench::{Bench, run};
use crate::browser::chromium::Page;

const NAMES: [(&str, &str); 2] = [
    (
        "tiny-neox",
        "<script>document.title='taken'</script>\"'><img src=x onerror=\"document.title='taken'\">",
    ),
    (
        "tiny-llama",
        "</td></table></style><svg onload=document.title='taken'> \u{202e}a\u{1}|b `{{ x }}`",
    ),
];

/// Every text that is one of these is the other.
fn rename(value: &mut Value, names: &[(String, String)]) {
    match value {
        Value::String(text) => {
            if let Some((_, other)) = names.iter().find(|(one, _)| one == text) {
                other.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, names)),
        _ => (),
    }
}

/// A store whose every hash is right, and whose models have these names.
fn rewrite(bench: &Bench) {
    let mut names = NAMES
        .map(|(one, other)| (one.to_owned(), other.to_owned()))
        .to_vec();
    let store = Store::open(&bench.path("store")).unwrap();
    for (one, other) in NAMES {
        let path = bench.record_of("store", one);
        let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut record = store.read("h25-gain", &id).unwrap();
        other.clone_into(&mut record.key.model);
        other.clone_into(&mut record.key.family);
        let note = Made {
            at: 0,
            host: other.to_owned(),
            commit: other.to_owned(),
            command: vec![other.to_owned()],
            threads: 1,
            milliseconds: 0,
        };
        let renamed = store.commit(&record, &note).unwrap();
        std::fs::remove_file(path).unwrap();
        names.push((id, renamed));
    }
    let read = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(bench.path(path)).unwrap()).unwrap()
    };
    let mut summary = read("store/summaries/h25-gain.json");
    rename(&mut summary, &names);
    let text = summary.to_string();
    std::fs::write(bench.path("store/summaries/h25-gain.json"), &text).unwrap();
    let mut list = read("store/last-run.json");
    rename(&mut list, &names);
    list["run"]["summaries"]["h25-gain"] = json!(sha256_hex(text.as_bytes()));
    list["sha256"] = json!(sha256_hex(canonical_json(&list["run"]).unwrap().as_bytes()));
    std::fs::write(bench.path("store/last-run.json"), list.to_string()).unwrap();
}

#[test]
fn names_that_mean_harm_are_words() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    rewrite(&bench);
    run(bench.xtask(&["report", "--store", "store", "--out", "elsewhere"])).check(0, &[]);
    let html = std::fs::read_to_string(bench.path("elsewhere/report.html")).unwrap();
    let site = Site::of(&html);
    let mut page = Page::new();
    page.open(&site.file(), "");
    page.wait("!document.querySelector('.bar').hidden");
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
    // Pointing at things and searching for them put their names into the page
    // once more.
    page.point_at("a.n");
    page.point_at("[data-record]");
    page.type_into("#page\\:jump", "script");
    page.check("document.title === 'Published claims, measured again'");
    page.check("document.querySelectorAll('script').length === 1");
    page.check("document.querySelectorAll('img, iframe, object, embed, form, link').length === 0");
    page.check(
        "[...document.querySelectorAll('*')].every((e) => [...e.attributes].every((a) => !a.name.startsWith('on')))",
    );
    let words = page.words("document.body.textContent");
    assert!(words.contains(NAMES[0].1), "the name is there to be read");
    assert!(words.contains("[U+202E]a") && !words.contains('\u{202e}'));
    assert_eq!(page.reported("Network.requestWillBeSent").len(), 1);
    check_quiet(&page);
}
