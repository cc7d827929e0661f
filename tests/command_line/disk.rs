//! Disks that are full or cannot be written: one sentence that names the
//! place, exit 2, and nothing half-written that a later run would take.

use std::ffi::CString;
use std::path::Path;

use crate::bench::{Bench, check_same, run};

/// A small disk in memory on a folder, seen by the calling thread and the
/// programs that it starts, and by nobody else; it goes with the thread.
pub(crate) struct Disk {
    folder: CString,
}

impl Disk {
    /// None, and a printed sentence, where mounting is not allowed.
    pub(crate) fn mount(folder: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir(folder).unwrap();
        let folder = CString::new(folder.to_str().unwrap()).unwrap();
        // SAFETY: unshare takes a flag and touches no memory of ours; mount
        // reads strings that end in zero and live through the call.
        let private = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    std::ptr::null(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
        };
        let disk = Self { folder };
        let mounted = private && disk.set(0, options).is_ok();
        if !mounted {
            let reason = std::io::Error::last_os_error();
            println!("a disk in memory cannot be mounted here ({reason}): not tested");
        }
        mounted.then_some(disk)
    }

    pub(crate) fn remount(&self, flags: libc::c_ulong, options: &str) {
        self.set(libc::MS_REMOUNT | flags, options).unwrap();
    }

    fn set(&self, flags: libc::c_ulong, options: &str) -> std::io::Result<()> {
        let options = CString::new(options).unwrap();
        // SAFETY: as above.
        let status = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                self.folder.as_ptr(),
                c"tmpfs".as_ptr(),
                flags,
                options.as_ptr().cast(),
            )
        };
        if status == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    }
}

/// A run with `folder` ("store" or "out") on a disk of `options` says `words`
/// and exits 2; once the disk has room, it ends as anywhere else.
#[track_caller]
fn check_full(folder: &'static str, options: &'static str, words: &'static [&'static str]) {
    // In a thread of its own, because the thread gets mounts of its own.
    let test = std::thread::spawn(move || {
        let bench = Bench::new();
        let models = bench.two_models();
        run(bench.reproduce_to(&models, "usual-store", "usual-out")).check(0, &[]);
        let usual = bench.results("usual-store", "usual-out");
        let Some(disk) = Disk::mount(&bench.path(folder), options) else {
            return;
        };
        run(bench.reproduce(&models)).check_refused(words);
        let left = crate::bench::files(&bench.path(folder));
        let half = left.keys().find(|name| name.contains(".tmp"));
        assert_eq!(half, None, "a temporary file is left");
        disk.remount(0, "size=64m,nr_inodes=0");
        run(bench.reproduce(&models)).check(0, &[]);
        check_same(&bench.results("store", "out"), &usual);
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

const FULL: &str = "No space left on device";
const SUMMARY: &str = "cannot write store/summaries/h25-gain.json";

#[test]
fn no_room_for_a_claim() {
    check_full("store", "size=64m,nr_inodes=1", &["store/claims", FULL]);
}

#[test]
fn no_room_for_a_record() {
    check_full(
        "store",
        "size=64k",
        &["cannot write store/records/h25-gain/", FULL],
    );
}

#[test]
fn no_room_for_the_summary() {
    check_full("store", "size=512k", &[SUMMARY, FULL]);
}

#[test]
fn no_room_for_the_report() {
    check_full("out", "size=256k", &["cannot write out/", FULL]);
}

#[test]
fn places_that_cannot_be_written() {
    let test = std::thread::spawn(|| {
        let bench = Bench::new();
        let models = bench.two_models();
        let Some(disk) = Disk::mount(&bench.path("disk"), "size=64m") else {
            return;
        };
        // A report that cannot be written leaves the records where they are.
        disk.remount(libc::MS_RDONLY, "");
        let read_only = "Read-only file system";
        let out = run(bench.reproduce_to(&models, "store", "disk/out"));
        out.check_refused(&["cannot create disk/out", read_only]);
        assert_eq!(bench.records("store").len(), 2);
        let store = run(bench.reproduce_to(&models, "disk/store", "out"));
        store.check_refused(&["cannot create disk/store", read_only]);
        assert!(!bench.path("out").exists());

        // A store that was written before can be reported, and not run on.
        disk.remount(0, "");
        run(bench.reproduce_to(&models, "disk/store", "disk/out")).check(0, &[]);
        let results = bench.results("disk/store", "disk/out");
        disk.remount(libc::MS_RDONLY, "");
        let again = run(bench.reproduce_to(&models, "disk/store", "out"));
        again.check_refused(&["disk/store/claims/last-run.claim", read_only]);
        run(bench.reproduce_to(&models, "store", "disk/out"))
            .check_refused(&["disk/out/", read_only]);
        run(bench.xtask(&["report", "--store", "disk/store", "--out", "out"])).check(0, &[]);
        check_same(&bench.results("disk/store", "out"), &results);
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
