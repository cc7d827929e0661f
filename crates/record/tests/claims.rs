//! Who is at work on what: one holder, and another when it is gone or hangs.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay_record::{Attempt, Store, UnitClaim};

const UNIT: &str = "tiny@local";

fn claimed(store: &Store) -> Option<UnitClaim> {
    match store.claim(UNIT).unwrap() {
        Attempt::Claimed(claim) => Some(claim),
        Attempt::Held(_) => None,
    }
}

#[test]
fn a_claim_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let held = claimed(&store).unwrap();
    match store.claim(UNIT).unwrap() {
        Attempt::Held(holder) => assert_eq!(holder.pid, std::process::id()),
        Attempt::Claimed(_) => panic!("claimed twice"),
    }
    let Attempt::Claimed(_other) = store.claim("tiny@main").unwrap() else {
        panic!("another unit is free");
    };
    drop(held);
    assert!(claimed(&store).is_some());
}

/// Names with separators stay inside the folder of claims.
#[test]
fn a_claim_is_a_file_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let _claim = store.claim("../../escape/é").unwrap();
    let claims = std::fs::read_dir(folder.path().join("store/claims")).unwrap();
    assert_eq!(claims.count(), 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Of many that ask at once one gets it, each time.
#[test]
fn of_many_at_once_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    for _ in 0..50 {
        let claims = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| claimed(&store))).collect();
            let ended = threads.into_iter().map(|t| t.join().unwrap());
            ended.collect::<Vec<_>>()
        });
        assert_eq!(claims.iter().flatten().count(), 1);
    }
}

/// Of many that find a dead one's claim at once, too.
#[test]
fn of_many_heirs_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let path = folder.path().join("claims/tiny@local.claim");
    let text = {
        let _held = claimed(&store).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    let own = format!("\"pid\":{}", std::process::id());
    let dead = text.replace(&own, &format!("\"pid\":{}", child.id()));
    assert_ne!(dead, text);
    child.wait().unwrap();
    for _ in 0..200 {
        std::fs::write(&path, &dead).unwrap();
        let claims = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| claimed(&store))).collect();
            let ended = threads.into_iter().map(|t| t.join().unwrap());
            ended.collect::<Vec<_>>()
        });
        let held: Vec<_> = claims.iter().flatten().collect();
        assert_eq!(held.len(), 1);
        assert!(held[0].is_ours());
    }
}

const HELD: &str = "claim held by a process of its own";

/// Run again as a child, this test takes the claim and waits to be killed.
fn child_that_holds(folder: &Path, test: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("ASSAY_TEST_CLAIM_FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let held = lines.map_while(Result::ok).any(|l| l.contains(HELD));
    assert!(held, "the child did not take the claim");
    child
}

/// Is this the child? Then it holds the claim until it is killed, and says
/// when it has lost it.
fn is_child() -> bool {
    let Some(folder) = std::env::var_os("ASSAY_TEST_CLAIM_FOLDER") else {
        return false;
    };
    let store = Store::open(Path::new(&folder)).unwrap();
    let claim = claimed(&store).unwrap();
    println!("{HELD}");
    while claim.is_ours() {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(claim);
    std::fs::write(Path::new(&folder).join("lost"), "").unwrap();
    true
}

#[test]
fn a_killed_process_lets_its_claim_go() {
    if is_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut child = child_that_holds(folder.path(), "a_killed_process_lets_its_claim_go");
    assert!(claimed(&store).is_none());
    child.kill().unwrap();
    // Dead and not yet waited for is dead.
    let patience = Instant::now() + Duration::from_secs(20);
    while claimed(&store).is_none() {
        assert!(Instant::now() < patience, "the dead hold on");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait().unwrap();
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: kill takes two integers and touches no memory.
    assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
}

/// A process that hangs loses its claim to one that has waited, and sees it
/// when it goes on; it does not take the other's claim with it.
#[test]
fn a_hung_process_is_taken_over() {
    if is_child() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_secs(3);
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    let mut child = child_that_holds(folder.path(), "a_hung_process_is_taken_over");
    signal(&child, libc::SIGSTOP);
    let begun = Instant::now();
    let mut told = 0;
    let claim = store
        .wait_for(UNIT, &mut |holder| {
            assert_eq!(holder.pid, child.id());
            told += 1;
        })
        .unwrap();
    assert!(begun.elapsed() >= patience, "it was not waited for");
    assert_eq!(told, 1);
    signal(&child, libc::SIGCONT);
    while !folder.path().join("lost").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait().unwrap();
    assert!(claim.is_ours());
    assert!(claimed(&store).is_none());
}

/// Whoever shares the store watches the claim, be it another user.
#[test]
fn everybody_may_read_a_claim() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let _claim = claimed(&store).unwrap();
    let file = std::fs::metadata(folder.path().join("claims/tiny@local.claim")).unwrap();
    // But for what the user's umask takes away from every file.
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let usual = std::fs::metadata(plain).unwrap().permissions().mode();
    assert_eq!(file.permissions().mode() & 0o444, usual & 0o444);
}

/// A name that can neither be made nor read is no endless search.
#[test]
fn a_link_that_leads_nowhere_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    std::fs::create_dir(folder.path().join("claims")).unwrap();
    let link = folder.path().join("claims/tiny@local.claim");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    let error = store.claim(UNIT).unwrap_err().to_string();
    assert!(
        error.contains("cannot claim") && error.contains("tiny@local.claim"),
        "{error}"
    );
}

/// One that counts on is waited for however long it takes, whatever the clock
/// of its file says.
#[test]
fn a_living_process_keeps_its_claim() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_secs(6);
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    let held = claimed(&store).unwrap();
    let path = folder.path().join("claims/tiny@local.claim");
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || store.wait_for(UNIT, &mut |_| ()).unwrap().is_ours()
    });
    // Clocks jump to and fro.
    for hours in [0, 500_000, 1, 100_000, 0, 500_000, 2, 9] {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(3600 * hours);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        std::thread::sleep(Duration::from_secs(1));
        assert!(held.is_ours() && !waiting.is_finished());
    }
    drop(held);
    assert!(waiting.join().unwrap());
}

#[test]
fn a_torn_claim_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    std::fs::create_dir(folder.path().join("claims")).unwrap();
    for text in ["", "{", "{\"host\":\"x\"}\n7"] {
        std::fs::write(folder.path().join("claims/tiny@local.claim"), text).unwrap();
        assert!(claimed(&store).is_some(), "{text:?}");
    }
}

/// Of another machine's holder nothing is known but that its count moves.
#[test]
fn another_machines_claim_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    let patience = Duration::from_secs(2);
    let store = Store::open(folder.path()).unwrap().with_patience(patience);
    drop(claimed(&store).unwrap());
    let line = r#"{"host":"far","realm":"another","pid":1,"started":"5"}"#;
    let path = folder.path().join("claims/tiny@local.claim");
    std::fs::write(&path, format!("{line}\n1")).unwrap();
    assert!(claimed(&store).is_none());
    let begun = Instant::now();
    store.wait_for(UNIT, &mut |_| ()).unwrap();
    assert!(begun.elapsed() >= patience);
}
