//! Who waits lives; who hangs does not, also where a thread could still say so.
#![allow(clippy::unwrap_used)]

mod at_work;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use assay_record::Attempt;
use assay_record::wire::Event;
use at_work::{Work, said_within};

fn signs(events: &[Event]) -> usize {
    let alive = events.iter().filter(|e| matches!(e, Event::Alive));
    alive.count()
}

/// A read that never ends, as from a file server that is gone: nothing of the
/// process is stopped, and nothing goes on.
#[test]
fn a_worker_that_hangs_shows_no_sign_of_life() {
    let work = Work::new();
    let request = work.request();
    let path = work.path("tiny/model.safetensors");
    std::fs::remove_file(&path).unwrap();
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: mkfifo reads a string that ends in zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let events = said_within(&request, 6);
    // At most one for its beginning.
    assert!(signs(&events) <= 1, "{events:?}");
}

#[test]
fn a_worker_that_waits_for_another_shows_them() {
    let work = Work::new();
    let request = work.request();
    let Attempt::Claimed(_claim) = work.store().claim("tiny@local").unwrap() else {
        panic!("nobody else is here");
    };
    let events = said_within(&request, 6);
    assert!(signs(&events) >= 3, "{events:?}");
}
