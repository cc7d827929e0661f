//! Equal files of several revisions: one file on disk.

use super::*;

/// Steps 0 and 1: the same configuration and tokenizer, other weights.
fn two_steps() -> Shelf {
    let mut shelf = Shelf::default();
    let tokenizer = Stored {
        name: "tokenizer.json",
        content: vec![b' '; 5000],
        pointer: false,
    };
    for (step, commit, weights) in [("step0", A, weights()), ("step1", B, vec![9; 100])] {
        shelf.revisions.insert(step.to_owned(), commit.to_owned());
        let mut files = files(weights);
        files.push(tokenizer.clone());
        shelf.commits.insert(commit.to_owned(), files);
    }
    shelf
}

/// The inode of a file of the cache.
fn inode(world: &World, commit: &str, file: &str) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let path = world.cache().file("tiny", commit, file).unwrap();
    std::fs::metadata(path).unwrap().ino()
}

#[track_caller]
pub(crate) fn check_shared(world: &World, file: &str, shared: bool) {
    assert_eq!(
        inode(world, A, file) == inode(world, B, file),
        shared,
        "{file}"
    );
}

#[test]
fn revisions_share_what_they_can_on_disk() {
    let (_server, world) = hub(two_steps(), sound());
    world.run(&["get", "tiny@step0", "tiny@step1"]).fetched();
    for (file, shared) in [
        ("config.json", true),
        ("tokenizer.json", true),
        (WEIGHTS, false),
    ] {
        check_shared(&world, file, shared);
    }
    let left = files_under(&world.path("models"));
    assert_eq!(left.len(), 6, "nothing else is left: {left:?}");
    let usage = world.cache().usage().unwrap();
    let config_and_tokenizer = CONFIG.len() as u64 + 5000;
    assert_eq!(usage.bytes, 200 + config_and_tokenizer);
    assert_eq!(usage.shared, config_and_tokenizer);
}

#[test]
fn files_from_before_are_shared_too() {
    let (_server, world) = hub(two_steps(), sound());
    world.run(&["get", "tiny@step0", "tiny@step1"]).fetched();
    let path = world.cache().file("tiny", B, "tokenizer.json").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    check_shared(&world, "tokenizer.json", false);
    assert_eq!(world.run(&["get", "tiny@step1"]).fetched(), 0);
    check_shared(&world, "tokenizer.json", true);
}

#[test]
fn a_damaged_file_that_two_revisions_share_is_fetched_once_for_both() {
    let (server, world) = hub(two_steps(), sound());
    world.run(&["get", "tiny@step0", "tiny@step1"]).fetched();
    let path = world.cache().file("tiny", A, "tokenizer.json").unwrap();
    // In place, so that both revisions see it.
    std::fs::write(&path, vec![b'?'; 5000]).unwrap();
    let registry = assay_source::Registry::load(&world.path("registry")).unwrap();
    for step in ["tiny@step0", "tiny@step1"] {
        let model = assay_source::resolve(&registry, &world.lock(), &world.cache(), step).unwrap();
        let refused = model.verify().unwrap_err().to_string();
        assert!(refused.contains("tokenizer.json has SHA-256"), "{refused}");
    }
    let before = server.ranges("tokenizer.json").len();
    assert_eq!(world.run(&["get", "tiny@step0"]).fetched(), 5000);
    assert_eq!(world.run(&["get", "tiny@step1"]).fetched(), 0);
    assert_eq!(server.ranges("tokenizer.json").len(), before + 1);
    check_shared(&world, "tokenizer.json", true);
    for step in ["tiny@step0", "tiny@step1"] {
        let model = assay_source::resolve(&registry, &world.lock(), &world.cache(), step).unwrap();
        model.verify().unwrap();
    }
}
