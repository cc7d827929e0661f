//! Signs of life for whoever holds this process: none of a process that only
//! has a thread that says them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use assay_record::wire::Event;

use crate::emit;

/// How often a sign is given.
const BEAT: Duration = Duration::from_secs(1);

/// Processor time that is work. Counting in a claim and looking for signs take
/// less than this over any patience; reading from the slowest disk takes more.
const WORK: Duration = Duration::from_millis(50);

/// Events that were written.
static SIGNS: AtomicU64 = AtomicU64::new(0);

/// To be called with each event.
pub(crate) fn sign() {
    SIGNS.fetch_add(1, Ordering::Relaxed);
}

static WAITING: AtomicBool = AtomicBool::new(false);

/// Says that this process waits for another, and lives, until it is dropped.
pub(crate) struct Waiting;

impl Waiting {
    pub(crate) fn begin() -> Self {
        WAITING.store(true, Ordering::Relaxed);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.store(false, Ordering::Relaxed);
    }
}

/// Says each second that this process lives, until nobody hears it: that it has
/// written an event since, used the processor for something, or waits for
/// another. A process whose threads wait for each other, or for a file server that is gone, says
/// nothing.
pub(crate) fn say() {
    std::thread::spawn(|| {
        let mut pulse = Pulse::default();
        loop {
            std::thread::sleep(BEAT);
            let (signs, used) = (SIGNS.load(Ordering::Relaxed), processor_time());
            let lives = pulse.beats(signs, used) || WAITING.load(Ordering::Relaxed);
            if lives && emit(&Event::Alive).is_err() {
                return;
            }
        }
    });
}

/// What was seen at the last sign of life.
#[derive(Default)]
struct Pulse {
    signs: u64,
    used: Duration,
}

impl Pulse {
    /// Is there one, after so many signs and so much time of the processor?
    fn beats(&mut self, signs: u64, used: Duration) -> bool {
        let lives = signs != self.signs || used >= self.used + WORK;
        if lives {
            *self = Self { signs, used };
        }
        lives
    }
}

/// Of all threads of this process, in the system too.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call writes one timespec, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    let whole = u64::try_from(time.tv_sec).unwrap_or_default();
    let part = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(whole, part)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pulse, WORK};

    #[test]
    fn work_and_events_are_signs_of_life() {
        let mut pulse = Pulse::default();
        let used = Duration::from_secs(3);
        assert!(pulse.beats(0, used));
        assert!(!pulse.beats(0, used));
        // Small amounts add up.
        assert!(!pulse.beats(0, used + WORK / 2));
        assert!(pulse.beats(0, used + WORK));
        assert!(!pulse.beats(0, used + WORK));
        assert!(pulse.beats(1, used + WORK));
        assert!(!pulse.beats(1, used + WORK));
    }
}
