//! Events on standard output, progress thinned out.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

use assay_source::protocol::Event;

/// Writes one JSON line an event.
pub(crate) struct Reporter {
    failed: Cell<bool>,
}

impl Reporter {
    pub(crate) fn new() -> Self {
        Self {
            failed: Cell::new(false),
        }
    }

    /// Write one event at once, so that a reader sees it while work goes on.
    ///
    /// # Errors
    /// The reader is gone: there is nobody left to fetch for.
    pub(crate) fn say(&self, event: &Event) -> anyhow::Result<()> {
        if matches!(event, Event::Error { .. }) {
            self.failed.set(true);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", event.to_line()?)?;
        out.flush()?;
        Ok(())
    }

    /// Was an error reported?
    pub(crate) fn failed(&self) -> bool {
        self.failed.get()
    }
}

/// Progress of one file, at most ten lines a second and one at the end.
pub(crate) struct Meter<'a> {
    report: &'a Reporter,
    model: &'a str,
    file: &'a str,
    total: Option<u64>,
    began: Instant,
    began_at: u64,
    told: Option<Instant>,
}

impl<'a> Meter<'a> {
    /// A meter for a file of which `done` bytes are already here.
    pub(crate) fn new(
        report: &'a Reporter,
        model: &'a str,
        file: &'a str,
        total: Option<u64>,
        done: u64,
    ) -> Self {
        Self {
            report,
            model,
            file,
            total,
            began: Instant::now(),
            began_at: done,
            told: None,
        }
    }

    /// `done` bytes of the file are here now.
    ///
    /// # Errors
    /// As [`Reporter::say`].
    pub(crate) fn at(&mut self, done: u64) -> anyhow::Result<()> {
        const PAUSE: Duration = Duration::from_millis(100);
        let complete = self.total == Some(done);
        if !complete && self.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64();
        let bytes = done.saturating_sub(self.began_at) as f64;
        self.report.say(&Event::Progress {
            model: self.model.to_owned(),
            file: self.file.to_owned(),
            done,
            total: self.total,
            bytes_per_s: if seconds > 0.0 { bytes / seconds } else { 0.0 },
        })
    }
}
