//! The lock's format, its refusals, and equal contents under different names.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_source::{FileRole, Lock, LockStatus, LockedFile, LockedModel, Registry, sha256_bytes};

const REGISTRY: &str = r#"
version = 1
file_sets = { plain = { required = ["config.json"], optional = [] } }
revision_rules = {}
[[model]]
name = "a"
family = "f"
default = false
gated = false
licence = "MIT"
must_accept = false
published_names = []
source = { kind = "hub", repo = "o/a", branch = "main", files = "plain" }
[[model]]
name = "b"
family = "f"
default = false
gated = false
licence = "MIT"
must_accept = false
published_names = []
source = { kind = "hub", repo = "o/b", branch = "main", files = "plain" }
[[model]]
name = "here"
family = "f"
default = false
gated = false
licence = "MIT"
must_accept = false
published_names = []
source = { kind = "local", path = "here" }
"#;

fn registry() -> Registry {
    Registry::parse(REGISTRY, Path::new("models.toml")).unwrap()
}

fn locked(name: &str, revision: &str, files: &[(&str, &[u8])]) -> LockedModel {
    LockedModel {
        name: name.to_owned(),
        revision: revision.to_owned(),
        resolved: "0".repeat(40),
        download_bytes: None,
        files: files
            .iter()
            .map(|(name, content)| LockedFile {
                name: (*name).to_owned(),
                bytes: content.len() as u64,
                sha256: sha256_bytes(content),
            })
            .collect(),
    }
}

#[test]
fn a_lock_survives_writing_and_reading() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Lock::load(folder.path()).unwrap(), Lock::default());
    let mut lock = Lock::default();
    lock.insert(locked(
        "a",
        "main",
        &[("z.bin", b"z"), ("config.json", b"{}")],
    ));
    lock.save(folder.path(), &registry()).unwrap();
    let read = Lock::load(folder.path()).unwrap();
    assert_eq!(read, lock);
    assert_eq!(read.status("a", "main"), LockStatus::Locked);
    assert_eq!(read.status("a", "step0"), LockStatus::Unlocked);
    assert_eq!(read.get("a", "main").unwrap().bytes(), 3);
    assert_eq!(
        read.get("a", "main").unwrap().files.first().unwrap().name,
        "config.json"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "a temporary file is left"
    );
}

#[test]
fn unlocked_models_are_named_and_local_ones_need_no_lock() {
    let mut lock = Lock::default();
    assert!(
        lock.render(&registry())
            .unwrap()
            .contains("unlocked = [\n    \"a\",\n    \"b\",\n]")
    );
    lock.insert(locked("b", "main", &[("config.json", b"{}")]));
    assert!(
        lock.render(&registry())
            .unwrap()
            .contains("unlocked = [\"a\"]")
    );
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = Lock::parse(text, Path::new("models.lock.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(expected),
        "{error:?} does not say {expected:?}"
    );
}

#[test]
fn what_a_lock_may_not_say() {
    let hash = sha256_bytes(b"");
    let entry = |name: &str, file: &str, hash: &str| {
        format!(
            "[[model]]\nname = '{name}'\nrevision = 'r'\nresolved = 'r'\n[[model.file]]\nname = '{file}'\nbytes = 0\nsha256 = '{hash}'\n"
        )
    };
    let head = "version = 1\nunlocked = []\n";
    check_refused("version = 2\nunlocked = []\n", "version is 2");
    check_refused("version = 1\nunlocked = []\nkey = 1\n", "key");
    check_refused(
        &format!("{head}{}", entry("../a", "f", &hash)),
        "model \"../a\"",
    );
    check_refused(
        &format!("{head}{}", entry("a", "../f", &hash)),
        "file \"../f\"",
    );
    check_refused(&format!("{head}{}", entry("a", "f", "00")), "sha256 of f");
    let twice = entry("a", "f", &hash).repeat(2);
    check_refused(&format!("{head}{twice}"), "listed twice");
    check_refused(
        &format!("{head}[[model]]\nname = 'a'\nrevision = 'r'\nresolved = 'r'\nfile = []\n"),
        "no files",
    );
}

#[test]
fn one_checkpoint_served_under_two_revisions_is_found() {
    let mut lock = Lock::default();
    lock.insert(locked(
        "a",
        "step1",
        &[("config.json", b"{}"), ("model.safetensors", b"w1")],
    ));
    lock.insert(locked(
        "a",
        "step2",
        &[("config.json", b"{}"), ("model.safetensors", b"w1")],
    ));
    lock.insert(locked(
        "a",
        "step4",
        &[("config.json", b"{ }"), ("model.safetensors", b"w4")],
    ));
    let equal = lock.equal_files();
    let seen: Vec<_> = equal
        .iter()
        .map(|equal| {
            let revisions: Vec<_> = equal.holders.iter().map(|h| h.revision.as_str()).collect();
            (equal.role, revisions)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (FileRole::Config, vec!["step1", "step2"]),
            (FileRole::Weights, vec!["step1", "step2"])
        ]
    );
    assert_eq!(equal.last().unwrap().sha256, sha256_bytes(b"w1"));
}

#[test]
fn equal_files_inside_one_revision_are_ordinary() {
    let mut lock = Lock::default();
    lock.insert(locked(
        "a",
        "main",
        &[("vocab.json", b"{}"), ("config.json", b"{}")],
    ));
    assert_eq!(lock.equal_files(), []);
}
