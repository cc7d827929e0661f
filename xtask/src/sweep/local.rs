//! A sweep on this machine: some workers side by side.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::{Attempted, How, attempt};
use super::{Outcome, Sweep};
use crate::bars::{Bar, human_seconds};
use crate::say::say;

/// How a sweep runs on this machine.
#[derive(clap::Args, Clone)]
pub(crate) struct Workers {
    /// Models measured side by side; the processors are shared among them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) workers: usize,
    /// Seconds without a sign of life after which another's work is taken over,
    /// and a worker of one's own is ended and started again.
    #[arg(long, value_name = "SECONDS", default_value_t = assay_record::PATIENCE.as_secs(), value_parser = some_seconds)]
    pub(crate) patience: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number of workers: give 1 or more")),
        Ok(n) => Ok(n),
    }
}

/// A worker says each second that it lives.
const SHORTEST: u64 = 3;

fn some_seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seconds) if seconds >= SHORTEST => Ok(seconds),
        _ => Err(format!(
            "{text:?} is no patience: give {SHORTEST} seconds or more, since a worker says each second that it lives"
        )),
    }
}

impl Workers {
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// What the workers share.
struct Shared {
    /// Units that nobody has begun.
    open: VecDeque<usize>,
    /// Units that another process was at work on; looked at again at the end.
    held: VecDeque<usize>,
    outcomes: BTreeMap<usize, Outcome>,
    /// Bytes that the units at work need.
    memory: u64,
    /// What the attempts took together.
    computing: Duration,
    /// Shows how many of the units are behind, if there are several.
    bar: Option<Bar>,
    total: u64,
    failure: Option<anyhow::Error>,
}

/// Computes the open units of a sweep. Together they take at most `limit`
/// bytes of memory, if one alone does.
pub(crate) fn run(
    sweep: &Sweep,
    worker: &Path,
    workers: &Workers,
    limit: Option<u64>,
) -> anyhow::Result<BTreeMap<usize, Outcome>> {
    let open: VecDeque<usize> = sweep.open().into();
    let total = open.len() as u64;
    let side_by_side = workers.workers.min(open.len().max(1));
    let how = How {
        worker,
        threads: threads(side_by_side),
        patience: workers.patience(),
        wait: false,
    };
    let state = Mutex::new(Shared {
        open,
        held: VecDeque::new(),
        outcomes: BTreeMap::new(),
        memory: 0,
        computing: Duration::ZERO,
        bar: (total > 1).then(|| Bar::new("sweep")),
        total,
        failure: None,
    });
    let begun = Instant::now();
    let freed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..side_by_side {
            scope.spawn(|| work(sweep, how, (&state, &freed), limit));
        }
    });
    let mut shared = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    drop(shared.bar.take());
    if shared.outcomes.len() > 1 {
        say!(
            "{} units computed in {}; their workers ran for {:.1} s in all",
            shared.outcomes.len(),
            human_seconds(begun.elapsed().as_secs_f64()),
            shared.computing.as_secs_f64()
        );
    }
    match shared.failure {
        Some(error) => Err(error),
        None => Ok(shared.outcomes),
    }
}

/// Takes units until there are none.
fn work(sweep: &Sweep, how: How, (state, freed): (&Mutex<Shared>, &Condvar), limit: Option<u64>) {
    while let Some((i, wait)) = next(sweep, (state, freed), limit) {
        let at_work = AtWork {
            shared: (state, freed),
            memory: memory(sweep, i),
        };
        let begun = Instant::now();
        let attempted = attempt(&sweep.units[i], How { wait, ..how });
        let mut shared = lock(state);
        shared.computing += begun.elapsed();
        match attempted {
            Ok(Attempted::Ended(outcome)) => {
                shared.outcomes.insert(i, outcome);
                let (done, total) = (shared.outcomes.len() as u64, shared.total);
                if let Some(bar) = &mut shared.bar {
                    bar.steps("units", done, total);
                }
            }
            Ok(Attempted::Held) => shared.held.push_back(i),
            Err(error) => shared.failure = Some(error),
        }
        drop(shared);
        drop(at_work);
    }
}

/// A unit at work, whose memory others wait for, however the work ends.
struct AtWork<'a> {
    shared: (&'a Mutex<Shared>, &'a Condvar),
    memory: u64,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let (state, freed) = self.shared;
        lock(state).memory -= self.memory;
        freed.notify_all();
    }
}

/// The next unit for which there is memory, and whether to wait for whoever is
/// at work on it; None if all are begun or the sweep has failed.
fn next(
    sweep: &Sweep,
    (state, freed): (&Mutex<Shared>, &Condvar),
    limit: Option<u64>,
) -> Option<(usize, bool)> {
    let mut shared = lock(state);
    loop {
        if shared.failure.is_some() {
            return None;
        }
        let wait = shared.open.is_empty();
        let i = *shared.open.front().or(shared.held.front())?;
        let all = shared.memory + memory(sweep, i);
        if shared.memory == 0 || limit.is_none_or(|limit| all <= limit) {
            shared.memory = all;
            let from = if wait {
                &mut shared.held
            } else {
                &mut shared.open
            };
            from.pop_front();
            return Some((i, wait));
        }
        shared = freed.wait(shared).unwrap_or_else(PoisonError::into_inner);
    }
}

fn memory(sweep: &Sweep, i: usize) -> u64 {
    sweep.units[i].work.as_ref().map_or(0, |w| w.memory)
}

/// The state, also where another thread panicked: nothing is left half-done
/// under its lock.
fn lock(state: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of each of some workers; None for one alone, or if the user said
/// how many.
fn threads(side_by_side: usize) -> Option<usize> {
    if side_by_side < 2 || std::env::var_os("RAYON_NUM_THREADS").is_some() {
        return None;
    }
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    Some((all / side_by_side).max(1))
}
