//! Faults at every step: processes killed at any moment, files torn and
//! flipped, disks of every size, stores merged, clocks that jump. Afterwards
//! the next run gives the bytes of one that nothing happened to, and what was
//! damaged has been named.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use assay_record::Store;

use crate::bench::{Bench, Ended, Files, check_same, run};
use crate::disk::Disk;

/// splitmix64: the same faults in every run of the tests.
struct Random(u64);

impl Random {
    /// Below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Names in the folders that the commit protocol writes to, temporary ones too.
fn names(store: &Path) -> BTreeSet<String> {
    let folders = [
        "claims",
        "made/h25-gain",
        "records/h25-gain",
        "summaries",
        ".",
    ];
    let mut names = BTreeSet::new();
    for folder in folders {
        let entries = std::fs::read_dir(store.join(folder)).into_iter().flatten();
        let entries = entries.filter_map(Result::ok);
        names.extend(entries.map(|e| format!("{folder}/{}", e.file_name().to_string_lossy())));
    }
    names
}

/// When a process is killed.
#[derive(Debug)]
enum Moment {
    /// After some time.
    After(Duration),
    /// So much after the n-th change of names in the store: between the making
    /// of a temporary file and its renaming, or just after.
    Change(u64, Duration),
}

impl Moment {
    /// One of four over the whole run, the others while something is committed.
    fn draw(random: &mut Random, whole: Duration) -> Self {
        match random.below(4) {
            0 => {
                let micros = u64::try_from(whole.as_micros()).unwrap();
                Self::After(Duration::from_micros(random.below(micros)))
            }
            _ => Self::Change(
                1 + random.below(24),
                Duration::from_micros(random.below(3000)),
            ),
        }
    }

    /// Waits for the moment; false if the process ended before it.
    fn comes(&self, child: &mut Child, store: &Path) -> bool {
        let begun = Instant::now();
        let (mut seen, mut changes) = (names(store), 0);
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            match self {
                Self::After(time) if begun.elapsed() >= *time => return true,
                Self::After(_) => std::thread::sleep(Duration::from_micros(200)),
                Self::Change(n, delay) => {
                    let now = names(store);
                    if now != seen {
                        (seen, changes) = (now, changes + 1);
                    }
                    if changes >= *n {
                        std::thread::sleep(*delay);
                        return true;
                    }
                }
            }
        }
    }
}

/// Nothing in the store that has its final name is torn.
#[track_caller]
fn check_whole(bench: &Bench) {
    let store = Store::open(&bench.path("store")).unwrap();
    let (records, damaged) = store.list("h25-gain").unwrap();
    assert!(damaged.is_empty(), "{damaged:?}");
    for record in records {
        let id = record.key.id().unwrap();
        let made = store.made("h25-gain", &id).unwrap();
        assert!(made.is_some(), "nothing is known of how {id} was made");
    }
}

/// Kills while something is committed, and after how many kills of any kind
/// the run is let through.
const KILLS: usize = 200;
const BURST: usize = 12;

#[test]
fn killed_two_hundred_times() {
    let bench = Bench::new();
    let models = bench.two_models();
    let begun = Instant::now();
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let whole = begun.elapsed();
    let usual = bench.results("usual", "usual-out");
    let store = bench.path("store");
    let mut random = Random(1);
    let (mut kills, mut committing, mut workers) = (0, 0, 0);
    while committing < KILLS {
        let target = kills + BURST;
        while kills < target {
            let moment = Moment::draw(&mut random, whole);
            let mut command = bench.reproduce(&models);
            command.args(["--workers", ["1", "2"][random.below(2) as usize]]);
            // Each line is kept, for a run that ends before its moment.
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            if !moment.comes(&mut child, &store) {
                Ended::from(child.wait_with_output().unwrap()).check(0, &[]);
                check_same(&bench.results("store", "out"), &usual);
                std::fs::remove_dir_all(&store).unwrap();
                continue;
            }
            let worker = bench.workers().first().copied();
            match (random.below(4), worker) {
                // The worker alone: its model is a row of the report.
                (0, Some(worker)) => {
                    // SAFETY: kill takes two integers and touches no memory.
                    unsafe { libc::kill(worker.cast_signed(), libc::SIGKILL) };
                    let ended = Ended::from(child.wait_with_output().unwrap());
                    assert!(matches!(ended.code, Some(0 | 2)), "{}", ended.text);
                    workers += 1;
                }
                _ => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    // The kernel ends the worker too.
                    while !bench.workers().is_empty() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
            kills += 1;
            committing += usize::from(matches!(moment, Moment::Change(..)));
            check_whole(&bench);
        }
        run(bench.reproduce(&models)).check(0, &[]);
        check_same(&bench.results("store", "out"), &usual);
        std::fs::remove_dir_all(&store).unwrap();
    }
    println!("{kills} kills, {committing} in the commit protocol, {workers} of the worker alone");
    assert!(workers > 0 && workers < kills);
}

/// A byte of a record is flipped, or it is torn, empty or another's: named,
/// computed again, and never shown.
#[test]
fn records_damaged_at_random() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let usual = bench.results("store", "out");
    let records = bench.records("store");
    let mut random = Random(2);
    for round in 0..24 {
        let record = &records[random.below(2) as usize];
        let whole = std::fs::read(record).unwrap();
        let mut bytes = whole.clone();
        let place = random.below(whole.len() as u64) as usize;
        match round % 4 {
            0 => bytes[place] ^= 1 << random.below(8),
            1 => bytes.truncate(place),
            2 => bytes[place..].fill(0),
            _ => bytes.extend_from_slice(&whole[place..]),
        }
        std::fs::write(record, bytes).unwrap();
        let ended = run(bench.reproduce(&models));
        ended.check(0, &["it is computed again", "measured in"]);
        check_same(&bench.results("store", "out"), &usual);
    }
}

/// Copies a store into another, as with cp: what is there is written over.
fn merge(from: &Path, into: &Path) {
    for (name, bytes) in crate::bench::files(from) {
        let path = into.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn merged_stores_are_one() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
    let usual = bench.results("usual", "usual-out");
    run(bench.reproduce_to(&models[..1], "first", "first-out")).check(0, &[]);
    run(bench.reproduce_to(&models[1..], "second", "second-out")).check(0, &[]);
    for from in ["first", "second"] {
        merge(&bench.path(from), &bench.path("store"));
    }
    let ended = run(bench.reproduce(&models));
    ended.check(0, &["0 of 2 units are to be computed"]);
    check_same(&bench.results("store", "out"), &usual);
    // A copy that was damaged on the way, over one that was whole.
    let record = bench.record_of("second", "tiny-llama");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replacen("\"rho\": ", "\"rho\": 1", 1)).unwrap();
    merge(&bench.path("second"), &bench.path("store"));
    let ended = run(bench.reproduce(&models));
    ended.check(
        0,
        &["it is computed again", "1 of 2 units are to be computed"],
    );
    check_same(&bench.results("store", "out"), &usual);
}

/// Times of files say nothing: neither what is new nor who is alive.
#[test]
fn clocks_may_jump() {
    let bench = Bench::new();
    let models = bench.two_models();
    run(bench.reproduce(&models)).check(0, &[]);
    let usual = bench.results("store", "out");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for seconds in [0, now / 2, 2 * now] {
        for name in crate::bench::files(&bench.path("store")).keys() {
            let file = std::fs::File::options()
                .write(true)
                .open(bench.path("store").join(name))
                .unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        }
        run(bench.reproduce(&models)).check(0, &["0 of 2 units are to be computed"]);
        check_same(&bench.results("store", "out"), &usual);
        run(bench.xtask(&["stats", "--store", "store"])).check(0, &[]);
        check_same(&bench.results("store", "out"), &usual);
    }
}

/// A disk that is full at any point: one sentence, nothing torn, and the usual
/// bytes once there is room.
#[test]
fn disks_of_every_size() {
    let test = std::thread::spawn(|| {
        let bench = Bench::new();
        let models = bench.two_models();
        run(bench.reproduce_to(&models, "usual", "usual-out")).check(0, &[]);
        let usual: Files = bench.results("usual", "usual-out");
        let Some(disk) = Disk::mount(&bench.path("store"), "size=4k") else {
            return;
        };
        let mut refused = 0;
        for kib in [4, 16, 40, 64, 100, 160, 256, 400, 560, 800, 4096] {
            disk.remount(0, &format!("size={kib}k"));
            let ended = run(bench.reproduce(&models));
            if ended.code != Some(0) {
                ended.check_refused(&["No space left on device"]);
                refused += 1;
            }
            check_whole(&bench);
        }
        run(bench.reproduce(&models)).check(0, &[]);
        check_same(&bench.results("store", "out"), &usual);
        assert!(refused >= 4, "only {refused} disks were too small");
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}
