//! Fetching from a hub: what arrives, what goes wrong, and what is left behind.
#![allow(clippy::unwrap_used)]

mod shared;
#[path = "../world/mod.rs"]
mod world;

use assay_source::protocol::{ErrorKind, Event};
use assay_source::{Lock, LockStatus, sha256_bytes};
use world::server::{Answer, Asked, Fault, Server, Shelf, Stored};
use world::{World, files_under, finish};

const REGISTRY: &str = r#"
version = 1
file_sets = { plain = { required = ["config.json", "model*.safetensors"], optional = ["tokenizer.json"] } }
revision_rules = { run = { prefix = "step", steps = [0, 1], powers_of_two_to = 0, ranges = [] } }
[[model]]
name = "tiny"
family = "toy"
default = true
gated = false
licence = "MIT"
must_accept = false
published_names = []
revisions = "run"
source = { kind = "hub", repo = "o/tiny", branch = "main", files = "plain" }
[[model]]
name = "other"
family = "toy"
default = false
gated = false
licence = "MIT"
must_accept = false
published_names = []
source = { kind = "hub", repo = "o/other", branch = "main", files = "plain" }
"#;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const CONFIG: &[u8] = b"{\"model_type\":\"toy\"}";
const WEIGHTS: &str = "model.safetensors";

/// 100 bytes, each different from its neighbours.
fn weights() -> Vec<u8> {
    (0..100).collect()
}

fn files(weights: Vec<u8>) -> Vec<Stored> {
    let file = |name, content: Vec<u8>, pointer| Stored {
        name,
        content,
        pointer,
    };
    vec![
        file("README.md", b"not wanted".to_vec(), false),
        file("config.json", CONFIG.to_vec(), false),
        file(WEIGHTS, weights, true),
    ]
}

/// `main` is at commit A.
fn shelf() -> Shelf {
    let mut shelf = Shelf::default();
    shelf.revisions.insert("main".to_owned(), A.to_owned());
    shelf.commits.insert(A.to_owned(), files(weights()));
    shelf
}

fn sound() -> Box<Fault> {
    Box::new(|_, _, _| None)
}

/// A fault in the answers to GET requests of the weights.
fn in_weights(
    fault: impl Fn(usize, &Answer) -> Option<Answer> + Send + Sync + 'static,
) -> Box<Fault> {
    Box::new(move |asked: &Asked, before, proper| {
        let hit = asked.method == "GET" && asked.path.ends_with(WEIGHTS);
        hit.then(|| fault(before, proper)).flatten()
    })
}

/// A fault in the answers to every request.
fn in_all(fault: impl Fn(usize) -> Option<Answer> + Send + Sync + 'static) -> Box<Fault> {
    Box::new(move |_, before, _| fault(before))
}

fn hub(shelf: Shelf, fault: Box<Fault>) -> (Server, World) {
    let server = Server::start(shelf, fault);
    let world = World::new(REGISTRY, &server.endpoint());
    (server, world)
}

#[track_caller]
fn check_complete(world: &World, commit: &str, weights: &[u8]) {
    let folder = world.cache().folder("tiny", commit).unwrap();
    assert_eq!(files_under(&folder), ["config.json", WEIGHTS]);
    assert_eq!(std::fs::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(std::fs::read(folder.join(WEIGHTS)).unwrap(), weights);
}

/// Nothing lies under the weights' final name, and nothing was locked.
#[track_caller]
fn check_nothing_wrong_left(world: &World) {
    let left = files_under(&world.path("models"));
    assert!(!left.iter().any(|file| file.ends_with(WEIGHTS)), "{left:?}");
    assert_eq!(world.lock().status("tiny", "main"), LockStatus::Unlocked);
}

/// Fetch against a fault that never ends; the kind of error and the message.
#[track_caller]
fn check_fails(fault: Box<Fault>, expected: ErrorKind, says: &str) {
    let (_server, world) = hub(shelf(), fault);
    let message = world.run(&["get", "tiny"]).failed(expected);
    assert!(message.contains(says), "{message:?} does not say {says:?}");
    check_nothing_wrong_left(&world);
}

#[test]
fn a_model_is_fetched_checked_and_locked_once() {
    let (server, world) = hub(shelf(), sound());
    let run = world.run(&["get", "tiny"]);
    assert_eq!(run.fetched(), 100 + CONFIG.len() as u64);
    assert_eq!(run.retries(), []);
    check_complete(&world, A, &weights());
    let lock = world.lock();
    let locked = lock.get("tiny", "main").unwrap();
    assert_eq!(locked.resolved, A);
    let hashes: Vec<_> = locked
        .files
        .iter()
        .map(|file| file.sha256.clone())
        .collect();
    assert_eq!(hashes, [sha256_bytes(CONFIG), sha256_bytes(&weights())]);
    let asked = server.asked().len();
    assert_eq!(world.run(&["get", "tiny"]).fetched(), 0);
    assert_eq!(
        server.asked().len(),
        asked,
        "a complete model needs no request"
    );
    assert_eq!(world.run(&["--offline", "get", "tiny"]).fetched(), 0);
}

#[test]
fn no_request_asks_for_more_than_a_piece() {
    let (server, world) = hub(shelf(), sound());
    let run = world.run(&["--piece-bytes", "30", "get", "tiny"]);
    run.fetched();
    check_complete(&world, A, &weights());
    assert_eq!(server.ranges(WEIGHTS), [0..30, 30..60, 60..90, 90..100]);
    let done = run.events.iter().rev().find_map(|event| match event {
        Event::Progress {
            file, done, total, ..
        } if file == WEIGHTS => Some((*done, *total)),
        _ => None,
    });
    assert_eq!(done, Some((100, Some(100))));
}

#[test]
fn a_body_cut_short_is_continued() {
    let fault = in_weights(|before, proper| (before == 0).then(|| proper.clone().cut(37)));
    let (server, world) = hub(shelf(), fault);
    let run = world.run(&["get", "tiny"]);
    assert_eq!(run.fetched(), 100 + CONFIG.len() as u64);
    assert_eq!(run.retries(), [ErrorKind::Truncated]);
    assert_eq!(server.ranges(WEIGHTS), [0..100, 37..100]);
    check_complete(&world, A, &weights());
}

#[test]
fn a_body_cut_short_for_ever_is_an_error_and_the_next_run_continues() {
    // The first five requests bring 10 bytes each, later ones all.
    let fault = in_weights(|before, proper| (before < 5).then(|| proper.clone().cut(10)));
    let (server, world) = hub(shelf(), fault);
    let run = world.run(&["get", "tiny"]);
    assert!(
        run.failed(ErrorKind::Truncated)
            .contains("given up after 5 attempts")
    );
    check_nothing_wrong_left(&world);
    let run = world.run(&["get", "tiny"]);
    assert_eq!(run.fetched(), 50, "only the missing half is fetched");
    assert_eq!(server.ranges(WEIGHTS).last(), Some(&(50..100)));
    check_complete(&world, A, &weights());
}

#[test]
fn a_body_that_never_comes_is_an_error() {
    check_fails(
        in_weights(|_, proper| Some(proper.clone().cut(0))),
        ErrorKind::Truncated,
        "bytes 0 to 100",
    );
}

#[test]
fn a_start_left_by_something_else_is_fetched_anew() {
    let (server, world) = hub(shelf(), sound());
    let folder = world.cache().folder("tiny", A).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{WEIGHTS}.partial")), [255; 40]).unwrap();
    world.run(&["get", "tiny"]).fetched();
    check_complete(&world, A, &weights());
    assert_eq!(server.ranges(WEIGHTS), [40..100, 0..100]);
}

#[test]
fn a_partial_longer_than_the_file_is_begun_anew() {
    let (_server, world) = hub(shelf(), sound());
    let folder = world.cache().folder("tiny", A).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{WEIGHTS}.partial")), [1; 400]).unwrap();
    world.run(&["get", "tiny"]).fetched();
    check_complete(&world, A, &weights());
}

#[test]
fn a_gated_repository_names_the_token() {
    let refuse = |status| {
        in_all(move |_| {
            Some(Answer::new(status, "{\"error\":\"ask\"}").with("X-Error-Code", "GatedRepo"))
        })
    };
    check_fails(refuse(401), ErrorKind::Gated, "HF_TOKEN");
    check_fails(refuse(403), ErrorKind::Gated, "HF_TOKEN");
}

#[test]
fn a_token_opens_a_gated_repository_and_is_never_printed() {
    let secret = "hf_veryMuchASecret";
    let fault: Box<Fault> = Box::new(move |asked: &Asked, _, _| {
        let right = asked.token.as_deref() == Some("Bearer hf_veryMuchASecret");
        // An answer that repeats the token would be the server's leak, not ours;
        // this one fails after the token was accepted.
        if right && asked.path.ends_with(WEIGHTS) && asked.method == "GET" {
            return Some(Answer::new(500, "{\"error\":\"broken\"}"));
        }
        (!right).then(|| Answer::new(401, "{\"error\":\"no\"}").with("X-Error-Code", "GatedRepo"))
    });
    let (server, world) = hub(shelf(), fault);
    let run = world.run_with(&["get", "tiny"], &[("HF_TOKEN", secret)]);
    run.failed(ErrorKind::Server);
    assert!(server.asked().iter().all(|asked| asked.token.is_some()));
    assert!(!run.text.contains(secret), "the token was printed");
}

/// A text that no file under a folder, and nothing that was printed, may hold.
#[track_caller]
fn check_nowhere(world: &World, run: &world::Run, secret: &str) {
    assert!(!run.text.contains(secret), "printed: {}", run.text);
    for name in files_under(&world.path("")) {
        let bytes = std::fs::read(world.path(&name)).unwrap();
        let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!found, "{name} holds the secret");
    }
}

#[test]
fn a_server_that_repeats_the_token_gives_it_to_nobody() {
    let secret = "hf_veryMuchASecret";
    let fault = in_weights(move |_, _| {
        let said = format!("{{\"error\":\"your token {secret} may not read this\"}}");
        Some(Answer::new(403, said))
    });
    let (_server, world) = hub(shelf(), fault);
    let run = world.run_with(&["get", "tiny"], &[("HF_TOKEN", secret)]);
    let message = run.failed(ErrorKind::Gated);
    assert!(message.contains("your token [hidden] may not"), "{message}");
    check_nowhere(&world, &run, secret);
    // The token of a file is one, too.
    std::fs::create_dir_all(world.path("hf")).unwrap();
    std::fs::write(world.path("hf/token"), secret).unwrap();
    let run = world.run(&["get", "tiny"]);
    std::fs::remove_file(world.path("hf/token")).unwrap();
    run.failed(ErrorKind::Gated);
    check_nowhere(&world, &run, secret);
}

#[test]
fn what_a_token_opened_does_not_hold_it() {
    let secret = "hf_veryMuchASecret";
    let (server, world) = hub(shelf(), sound());
    let run = world.run_with(&["get", "tiny"], &[("HF_TOKEN", secret)]);
    run.fetched();
    assert!(server.asked().iter().all(|asked| asked.token.is_some()));
    check_nowhere(&world, &run, secret);
}

#[test]
fn a_password_in_the_hubs_address_is_not_repeated() {
    let (server, world) = hub(shelf(), in_all(|_| Some(Answer::new(500, ""))));
    let address = server.endpoint().replace("://", "://me:swordfish@");
    let run = world.run_with(&["get", "tiny"], &[("HF_ENDPOINT", &address)]);
    assert_ne!(run.code, 0);
    check_nowhere(&world, &run, "swordfish");
}

/// A listing with a file of this name beside the model's own.
#[track_caller]
fn check_listed_name(name: &'static str) {
    let mut shelf = shelf();
    let more = Stored {
        name,
        content: vec![7; 10],
        pointer: true,
    };
    shelf.commits.get_mut(A).unwrap().push(more);
    let (_server, world) = hub(shelf, sound());
    let run = world.run(&["get", "tiny"]);
    let files = files_under(&world.path(""));
    let outside = files.iter().filter(|f| {
        let known = [
            format!("models/tiny/{A}/config.json"),
            format!("models/tiny/{A}/{WEIGHTS}"),
        ];
        !known.contains(f) && !f.starts_with("registry/")
    });
    assert_eq!(outside.count(), 0, "{name}: {files:?}");
    // It is passed over or refused; never is it locked.
    if run.code == 0 {
        let lock = world.lock();
        let locked = &lock.get("tiny", "main").unwrap().files;
        assert!(locked.iter().all(|file| file.name != name), "{name}");
    }
}

#[test]
fn a_name_in_a_listing_cannot_leave_the_folder() {
    for name in [
        "../model-evil.safetensors",
        "../../../model.safetensors",
        "/model-evil.safetensors",
        "model/../../x.safetensors",
        "model..\\\\..\\\\x.safetensors",
        "model\\u0000.safetensors",
        "model\\nx.safetensors",
        "model:stream.safetensors",
        ".safetensors",
        "model .safetensors",
    ] {
        check_listed_name(name);
    }
}

#[test]
fn names_that_differ_in_case_only_are_not_both_taken() {
    for (name, wanted) in [("MODEL.safetensors", false), ("model-A.safetensors", true)] {
        let mut shelf = shelf();
        let more = |name| Stored {
            name,
            content: vec![7; 10],
            pointer: true,
        };
        let files = shelf.commits.get_mut(A).unwrap();
        files.extend([more(name), more("model-a.safetensors")]);
        let (_server, world) = hub(shelf, sound());
        let run = world.run(&["get", "tiny"]);
        // The registry asks for model*.safetensors, in this case.
        assert_eq!(run.code != 0, wanted, "{name}: {}", run.text);
        assert_eq!(run.text.contains("is listed twice"), wanted, "{}", run.text);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let (_server, world) = hub(shelf(), sound());
    let message = world.run(&["get", "other"]).failed(ErrorKind::NotFound);
    assert!(message.contains("o/other"), "{message}");
    let message = world.run(&["get", "nobody"]).failed(ErrorKind::NotFound);
    assert!(message.contains("\"nobody\""), "{message}");
    // A branch that the hub does not have is not a vanished commit.
    world
        .run(&["get", "tiny@step0"])
        .failed(ErrorKind::NotFound);
    // Without a token the hub hides a missing repository behind 401.
    let hidden = in_all(|_| Some(Answer::new(401, "").with("X-Error-Code", "RepoNotFound")));
    check_fails(hidden, ErrorKind::NotFound, "no such repository");
    let gone = in_weights(|_, _| Some(Answer::new(404, "").with("X-Error-Code", "EntryNotFound")));
    check_fails(gone, ErrorKind::NotFound, WEIGHTS);
}

#[test]
fn a_repository_without_safetensors_says_what_there_is() {
    let mut shelf = shelf();
    let only = Stored {
        name: "pytorch_model.bin",
        content: b"x".to_vec(),
        pointer: true,
    };
    let config = Stored {
        name: "config.json",
        content: CONFIG.to_vec(),
        pointer: false,
    };
    shelf.commits.insert(A.to_owned(), vec![only, config]);
    let (_server, world) = hub(shelf, sound());
    let message = world.run(&["get", "tiny"]).failed(ErrorKind::NotFound);
    assert!(message.contains("model*.safetensors") && message.contains("pytorch_model.bin"));
    check_nothing_wrong_left(&world);
}

#[test]
fn a_wait_the_hub_asks_for_is_kept() {
    let busy = |before| (before == 0).then(|| Answer::new(429, "{}").with("Retry-After", "1"));
    let fault: Box<Fault> = Box::new(move |asked: &Asked, before, _| {
        (asked.path.contains("/revision/main"))
            .then(|| busy(before))
            .flatten()
    });
    let (_server, world) = hub(shelf(), fault);
    let began = std::time::Instant::now();
    let run = world.run(&["get", "tiny"]);
    run.fetched();
    assert_eq!(run.retries(), [ErrorKind::RateLimited]);
    // The backoff of these tests is 1 ms: only the header makes it a second.
    assert!(began.elapsed().as_secs_f64() >= 1.0);
}

#[test]
fn a_wait_that_is_too_long_or_too_frequent_is_an_error() {
    let long = in_weights(|_, _| Some(Answer::new(429, "").with("Retry-After", "86400")));
    check_fails(long, ErrorKind::RateLimited, "86400 s");
    let often = in_all(|_| Some(Answer::new(429, "").with("Retry-After", "0")));
    check_fails(often, ErrorKind::RateLimited, "5 attempts");
}

#[test]
fn a_server_that_recovers_is_asked_again() {
    let fault = in_all(|before| (before < 2).then(|| Answer::new(503, "")));
    let (_server, world) = hub(shelf(), fault);
    let run = world.run(&["get", "tiny"]);
    run.fetched();
    assert!(run.retries().iter().all(|kind| *kind == ErrorKind::Server));
    assert!(run.retries().len() >= 2);
    check_complete(&world, A, &weights());
}

#[test]
fn a_server_that_does_not_recover_is_an_error() {
    check_fails(
        in_all(|_| Some(Answer::new(500, ""))),
        ErrorKind::Server,
        "5 attempts",
    );
    check_fails(
        in_weights(|_, _| Some(Answer::new(502, ""))),
        ErrorKind::Server,
        "5 attempts",
    );
}

#[test]
fn a_server_that_ignores_ranges_is_an_error() {
    let fault = in_weights(|_, _| Some(Answer::new(200, weights())));
    let (_server, world) = hub(shelf(), fault);
    let run = world.run(&["--piece-bytes", "30", "get", "tiny"]);
    assert!(
        run.failed(ErrorKind::Server)
            .contains("ignores byte ranges")
    );
    check_nothing_wrong_left(&world);
}

#[test]
fn bytes_that_are_not_the_listed_ones_are_thrown_away() {
    let wrong = |proper: &Answer| Answer::new(206, vec![7; proper.body.len()]);
    check_fails(
        in_weights(move |_, p| Some(wrong(p))),
        ErrorKind::HashMismatch,
        "git identity",
    );
    let fault: Box<Fault> = Box::new(move |asked: &Asked, _, proper| {
        (asked.method == "GET" && asked.path.ends_with("config.json")).then(|| wrong(proper))
    });
    check_fails(
        fault,
        ErrorKind::HashMismatch,
        "config.json has the git identity",
    );
    let (_server, world) = hub(shelf(), in_weights(move |_, p| Some(wrong(p))));
    world.run(&["get", "tiny"]).failed(ErrorKind::HashMismatch);
    let folder = world.cache().folder("tiny", A).unwrap();
    assert_eq!(
        files_under(&folder),
        ["config.json"],
        "no partial file is left either"
    );
}

/// A lock written by a sound fetch from `shelf`.
fn lock_of(shelf: Shelf) -> Lock {
    let (_server, world) = hub(shelf, sound());
    world.run(&["get", "tiny"]).fetched();
    world.lock()
}

#[test]
fn bytes_that_are_not_the_locked_ones_are_thrown_away() {
    let lock = lock_of(shelf());
    let mut changed = shelf();
    let other: Vec<u8> = weights().into_iter().rev().collect();
    changed.commits.insert(A.to_owned(), files(other.clone()));
    let (_server, world) = hub(changed, sound());
    world.set_lock(&lock);
    let message = world.run(&["get", "tiny"]).failed(ErrorKind::HashMismatch);
    assert!(message.contains(&sha256_bytes(&weights())) && message.contains(&sha256_bytes(&other)));
    assert_eq!(
        files_under(&world.cache().folder("tiny", A).unwrap()),
        ["config.json"]
    );
    assert_eq!(world.lock(), lock, "the lock is as it was");
}

#[test]
fn a_length_that_is_not_the_locked_one_is_refused_before_anything_is_fetched() {
    let lock = lock_of(shelf());
    let mut changed = shelf();
    changed.commits.insert(A.to_owned(), files(vec![1; 99]));
    let (server, world) = hub(changed, sound());
    world.set_lock(&lock);
    let message = world.run(&["get", "tiny"]).failed(ErrorKind::HashMismatch);
    assert!(
        message.contains("99") && message.contains("100"),
        "{message}"
    );
    assert_eq!(server.ranges(WEIGHTS), []);
}

#[test]
fn a_commit_that_is_gone_is_named() {
    let lock = lock_of(shelf());
    let mut moved = Shelf::default();
    moved.revisions.insert("main".to_owned(), B.to_owned());
    moved.commits.insert(B.to_owned(), files(weights()));
    let (_server, world) = hub(moved, sound());
    world.set_lock(&lock);
    let message = world
        .run(&["get", "tiny"])
        .failed(ErrorKind::VanishedRevision);
    assert!(message.contains(A), "{message}");
    assert_eq!(world.lock(), lock);
}

#[test]
fn a_branch_that_moved_is_told_and_the_locked_commit_fetched() {
    let lock = lock_of(shelf());
    let newer: Vec<u8> = vec![9; 50];
    let mut moved = shelf();
    moved.revisions.insert("main".to_owned(), B.to_owned());
    moved.commits.insert(B.to_owned(), files(newer.clone()));
    let (_server, world) = hub(moved, sound());
    world.set_lock(&lock);
    let run = world.run(&["get", "tiny"]);
    run.fetched();
    check_complete(&world, A, &weights());
    let told = run.events.iter().find_map(|event| match event {
        Event::MovedBranch { locked, now, .. } => Some((locked.as_str(), now.as_str())),
        _ => None,
    });
    assert_eq!(told, Some((A, B)));
    assert_eq!(world.lock(), lock);
    // Only --update-lock follows the branch.
    world.run(&["get", "tiny", "--update-lock"]).fetched();
    check_complete(&world, B, &newer);
    assert_eq!(world.lock().get("tiny", "main").unwrap().resolved, B);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let (server, world) = hub(shelf(), sound());
    world.run(&["get", "tiny"]).fetched();
    let path = world.cache().file("tiny", A, WEIGHTS).unwrap();
    std::fs::write(&path, [0; 100]).unwrap();
    assert_eq!(world.run(&["get", "tiny"]).fetched(), 100);
    check_complete(&world, A, &weights());
    assert_eq!(
        server.ranges("config.json").len(),
        1,
        "the sound file is left alone"
    );
    std::fs::write(&path, [0; 100]).unwrap();
    let message = world
        .run(&["--offline", "get", "tiny"])
        .failed(ErrorKind::HashMismatch);
    assert!(message.contains(WEIGHTS), "{message}");
}

#[test]
fn a_hub_that_is_not_there_is_unreachable_at_once_for_all() {
    // Bound and dropped: nothing listens on the port any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let world = World::new(REGISTRY, &format!("http://{port}"));
    let run = world.run(&["get", "tiny", "other"]);
    assert!(
        run.failed(ErrorKind::Unreachable)
            .contains("no answer from the hub")
    );
    assert_eq!(
        run.retries().len(),
        1,
        "the second model does not wait again"
    );
    let errors = run
        .events
        .iter()
        .filter(|event| matches!(event, Event::Error { .. }))
        .count();
    assert_eq!(errors, 2);
}

#[test]
fn offline_asks_nobody() {
    let (server, world) = hub(shelf(), sound());
    world
        .run(&["--offline", "get", "tiny"])
        .failed(ErrorKind::Offline);
    world.set_lock(&lock_of(shelf()));
    let message = world
        .run(&["--offline", "get", "tiny"])
        .failed(ErrorKind::Offline);
    assert!(message.contains("config.json is missing"), "{message}");
    let run = world.run(&["--offline", "plan", "tiny"]);
    assert_eq!(run.code, 0, "{}", run.text);
    assert_eq!(server.asked(), []);
}

#[test]
fn what_the_hubs_own_cache_holds_is_not_fetched() {
    let (server, world) = hub(shelf(), sound());
    let snapshot = world.path("hf/hub/models--o--tiny/snapshots").join(A);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::write(snapshot.join(WEIGHTS), weights()).unwrap();
    // A wrong copy is not believed.
    std::fs::write(snapshot.join("config.json"), vec![b'?'; CONFIG.len()]).unwrap();
    assert_eq!(world.run(&["get", "tiny"]).fetched(), CONFIG.len() as u64);
    check_complete(&world, A, &weights());
    assert_eq!(server.ranges(WEIGHTS), []);
}

#[test]
fn one_checkpoint_under_two_revisions_is_reported() {
    let mut shelf = shelf();
    shelf.revisions.insert("step0".to_owned(), A.to_owned());
    shelf.revisions.insert("step1".to_owned(), B.to_owned());
    shelf.commits.insert(B.to_owned(), files(weights()));
    let (server, world) = hub(shelf, sound());
    let run = world.run(&["get", "tiny@step0", "tiny@step1"]);
    run.fetched();
    assert_eq!(
        server.ranges(WEIGHTS).len(),
        1,
        "they cross the network once"
    );
    shared::check_shared(&world, WEIGHTS, true);
    let equal = run.events.iter().find_map(|event| match event {
        Event::EqualWeights {
            sha256, holders, ..
        } => Some((sha256.clone(), holders.clone())),
        _ => None,
    });
    let (sha256, holders) = equal.unwrap();
    assert_eq!(sha256, sha256_bytes(&weights()));
    let revisions: Vec<_> = holders
        .iter()
        .map(|holder| holder.revision.as_str())
        .collect();
    assert_eq!(revisions, ["step0", "step1"]);
}

#[test]
fn a_plan_asks_for_sizes_only_while_they_are_unknown() {
    let (server, world) = hub(shelf(), sound());
    let sizes = |run: &world::Run| match run.events.as_slice() {
        [
            Event::Plan {
                locked,
                bytes,
                bytes_present,
                bytes_to_fetch,
                ..
            },
        ] => (*locked, *bytes, *bytes_present, *bytes_to_fetch),
        _ => panic!("{}", run.text),
    };
    let all = 100 + CONFIG.len() as u64;
    assert_eq!(
        sizes(&world.run(&["plan", "tiny"])),
        (false, Some(all), 0, Some(all))
    );
    assert_eq!(
        files_under(&world.path("models")),
        [""; 0],
        "a plan fetches nothing"
    );
    world.run(&["get", "tiny"]).fetched();
    let asked = server.asked().len();
    assert_eq!(
        sizes(&world.run(&["plan", "tiny"])),
        (true, Some(all), all, Some(0))
    );
    assert_eq!(server.asked().len(), asked);
    // A model whose size nobody can tell still has a plan, and an error beside it.
    let run = world.run(&["plan", "other"]);
    run.failed(ErrorKind::NotFound);
    assert!(
        matches!(run.events.first(), Some(Event::Plan { bytes: None, .. })),
        "{}",
        run.text
    );
}

#[test]
fn two_fetches_of_one_model_at_once_both_succeed() {
    let (_server, world) = hub(shelf(), sound());
    let first = world.command(&["get", "tiny"]).spawn().unwrap();
    let second = world.command(&["get", "tiny"]).spawn().unwrap();
    let fetched = finish(first).fetched() + finish(second).fetched();
    assert_eq!(fetched, 100 + CONFIG.len() as u64, "the bytes crossed once");
    check_complete(&world, A, &weights());
}

#[test]
fn a_wrong_command_line_or_registry_is_not_an_event() {
    let world = World::new("version = 9", "http://127.0.0.1:9");
    let run = world.run(&["get", "tiny"]);
    assert_eq!((run.code, run.events.len()), (2, 0), "{}", run.text);
    assert!(run.text.contains("models.toml"), "{}", run.text);
    assert_eq!(
        world
            .run(&["--piece-bytes", "999999999", "get", "tiny"])
            .code,
        2
    );
}
