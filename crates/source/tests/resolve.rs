//! From a name to verified files: what is here, what is missing, what is wrong.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_source::{
    FileRole, Lock, LockedFile, LockedModel, ModelCache, Origin, Registry, plan, resolve,
    sha256_bytes,
};
use tempfile::TempDir;

const REGISTRY: &str = r#"
version = 1
file_sets = { plain = { required = ["config.json"], optional = [] } }
revision_rules = { run = { prefix = "step", steps = [0, 5], powers_of_two_to = 0, ranges = [] } }
[[model]]
name = "tiny"
family = "toy"
default = true
gated = false
licence = "MIT"
must_accept = false
published_names = []
source = { kind = "hub", repo = "o/tiny", branch = "main", files = "plain" }
[[model]]
name = "packed"
family = "toy"
default = false
gated = false
licence = "MIT"
must_accept = true
published_names = []
source = { kind = "pip", file = "m.gguf", parts = [{ package = "p==1.2", member = "p/m" }] }
[[model]]
name = "own"
family = "toy"
default = false
gated = false
licence = "MIT"
must_accept = false
published_names = []
revisions = "run"
source = { kind = "local", path = "brought" }
"#;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", b"weights")];

struct World {
    folder: TempDir,
    registry: Registry,
    lock: Lock,
    cache: ModelCache,
}

/// A registry, an empty cache, and a lock that knows `tiny`.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let mut lock = Lock::default();
    let files = FILES.iter().map(|(name, bytes)| LockedFile {
        name: (*name).to_owned(),
        bytes: bytes.len() as u64,
        sha256: sha256_bytes(bytes),
    });
    lock.insert(LockedModel {
        name: "tiny".to_owned(),
        revision: "main".to_owned(),
        resolved: COMMIT.to_owned(),
        download_bytes: None,
        files: files.collect(),
    });
    World {
        registry: Registry::parse(REGISTRY, &folder.path().join("models.toml")).unwrap(),
        lock,
        cache: ModelCache::new(folder.path().join("models")),
        folder,
    }
}

impl World {
    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.cache.file("tiny", COMMIT, name).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[track_caller]
    fn check_error(&self, request: &str, expected: &[&str]) {
        let error = resolve(&self.registry, &self.lock, &self.cache, request)
            .and_then(|model| model.verify())
            .unwrap_err()
            .to_string();
        for part in expected {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }
}

#[test]
fn a_fetched_model_resolves_and_verifies() {
    let world = world();
    FILES
        .iter()
        .for_each(|(name, bytes)| world.put(name, bytes));
    let model = resolve(&world.registry, &world.lock, &world.cache, "tiny").unwrap();
    assert_eq!(
        (model.family.as_str(), model.resolved.as_str()),
        ("toy", COMMIT)
    );
    assert_eq!(model.origin, Origin::Hub("o/tiny".to_owned()));
    assert_eq!(model.bytes(), 9);
    assert_eq!(
        model.file("model.safetensors").unwrap().role,
        FileRole::Weights
    );
    assert_eq!(
        model.location(),
        world.cache.folder("tiny", COMMIT).unwrap()
    );
    assert_eq!(model.verify().unwrap(), model);
    // Digests are those of the lines `sha256 name`; without a tokenizer of its
    // own the model's files stand for it.
    let digests = model.digests().unwrap();
    let lines: Vec<String> = (model.files.iter())
        .map(|f| format!("{} {}\n", f.sha256.as_ref().unwrap(), f.name))
        .collect();
    let mut sorted = lines.clone();
    sorted.sort();
    let all = sha256_bytes(sorted.concat().as_bytes());
    assert_eq!((digests.weights, digests.tokenizer), (all.clone(), all));
}

#[test]
fn each_fault_is_named_with_its_cure() {
    let world = world();
    world.check_error(
        "packed",
        &["packed is not fetched", "cargo xtask fetch packed"],
    );
    world.check_error(
        "tiny",
        &["config.json is missing", "cargo xtask fetch tiny"],
    );
    world.put("config.json", b"{}");
    world.put("model.safetensors", b"wei");
    world.check_error(
        "tiny",
        &["model.safetensors has 3 bytes", "the lock says 7"],
    );
    world.put("model.safetensors", b"WEIGHTS");
    world.check_error(
        "tiny",
        &[&sha256_bytes(b"WEIGHTS"), &sha256_bytes(b"weights")],
    );
    world.check_error("nobody", &["\"nobody\"", "cargo xtask models"]);
    world.check_error("../nobody", &["../nobody"]);
    world.check_error("nobody.gguf", &["failed to read nobody.gguf"]);
    world.check_error("tiny@step1", &["no revision \"step1\""]);
}

#[test]
fn a_folder_and_a_gguf_file_are_models_too() {
    let world = world();
    let folder = world.folder.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    world.check_error(
        folder.to_str().unwrap(),
        &["holds no model", ".safetensors"],
    );
    for name in [
        "config.json",
        "model.safetensors",
        "model.safetensors.partial",
        ".hidden",
    ] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let resolved = resolve(
        &world.registry,
        &world.lock,
        &world.cache,
        folder.to_str().unwrap(),
    )
    .unwrap();
    let names: Vec<_> = resolved
        .files
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    assert_eq!(
        (resolved.name.as_str(), resolved.revision.as_str()),
        ("mine", "local")
    );
    assert_eq!(resolved.digests(), None, "nothing is hashed before verify");
    let verified = resolved.verify().unwrap();
    assert_eq!(
        verified.file("config.json").unwrap().sha256,
        Some(sha256_bytes(b"config.json"))
    );

    let gguf = world.folder.path().join("some.Q4_1.gguf");
    std::fs::write(&gguf, b"GGUF").unwrap();
    let resolved = resolve(
        &world.registry,
        &world.lock,
        &world.cache,
        gguf.to_str().unwrap(),
    )
    .unwrap();
    assert_eq!(resolved.name, "some.Q4_1");
    assert_eq!(resolved.location(), gguf);
    let other = world.folder.path().join("notes.txt");
    std::fs::write(&other, b"x").unwrap();
    world.check_error(other.to_str().unwrap(), &["must be a .gguf"]);
}

/// By its registry name and by its folder.
#[test]
fn a_checkpoint_of_a_local_model_lies_beside_it() {
    let world = world();
    for folder in ["brought", "brought@step5"] {
        let folder = world.folder.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("model.safetensors"), b"x").unwrap();
    }
    let folder = world.folder.path().join("brought@step5");
    for (request, name, revision) in [
        ("own", "own", "local"),
        ("own@step5", "own", "step5"),
        (folder.to_str().unwrap(), "brought", "step5"),
    ] {
        let found = resolve(&world.registry, &world.lock, &world.cache, request).unwrap();
        let said = (found.name.as_str(), found.revision.as_str());
        assert_eq!(said, (name, revision), "{request}");
        assert_eq!(found.resolved, revision, "{request}");
    }
    world.check_error("own@step0", &["brought@step0"]);
    world.check_error("own@step7", &["step0", "step5"]);
}

#[test]
fn a_file_that_changes_between_resolve_and_verify_is_found() {
    let world = world();
    FILES
        .iter()
        .for_each(|(name, bytes)| world.put(name, bytes));
    let model = resolve(&world.registry, &world.lock, &world.cache, "tiny").unwrap();
    world.put("model.safetensors", b"longer than before");
    let error = model.verify().unwrap_err().to_string();
    assert!(
        error.contains("18 bytes") && error.contains("says 7"),
        "{error}"
    );
}

#[test]
fn a_plan_counts_what_is_here() {
    let world = world();
    let planned = |name| plan(&world.registry, &world.lock, &world.cache, name).unwrap();
    let before = planned("tiny");
    assert_eq!(
        (
            before.locked,
            before.bytes,
            before.bytes_present,
            before.bytes_to_fetch
        ),
        (true, Some(9), 0, Some(9))
    );
    world.put("config.json", b"{}");
    world.put("model.safetensors", b"cut");
    assert_eq!(planned("tiny").bytes_present, 2);
    assert_eq!(planned("tiny").bytes_to_fetch, Some(7));
    let unlocked = planned("packed");
    assert_eq!(
        (unlocked.locked, unlocked.bytes, unlocked.bytes_to_fetch),
        (false, None, None)
    );
    assert!(unlocked.must_accept);
}

#[test]
fn the_cache_keeps_names_inside() {
    let cache = ModelCache::new(Path::new("cache").to_owned());
    assert_eq!(cache.file("m", "r", "f").unwrap(), Path::new("cache/m/r/f"));
    assert!(cache.folder("..", "r").is_err());
    assert!(cache.folder("m", "a/b").is_err());
    assert!(cache.file("m", "r", "../f").is_err());
}
