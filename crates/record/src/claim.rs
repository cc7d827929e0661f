//! Claims: who is at work on what, on a folder that several processes and
//! machines share.
//!
//! A claim is a file that gets its name by a call that fails if somebody has it
//! (a rename that replaces nothing, or a hard link), also on shared file systems
//! that know no locks. Its holder counts in it, a beat a second. Who finds a
//! claim watches it by its own clock: if the count stands still for as long as
//! its patience lasts, or the holder is a process of this machine that is gone,
//! the claim is taken over. No clock of another machine is asked, so clocks may
//! jump.
//!
//! A claim saves work and protects nothing: a holder that was only slow may go
//! on beside the one that took over, and both commit the same bytes by rename.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::RecordError;

/// How often a holder counts on, and a watcher looks.
const BEAT: Duration = Duration::from_secs(1);

/// How long a claim may show no sign of life unless a user says otherwise.
/// File servers may show a count up to a minute late.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Name of the machine.
    pub host: String,
    /// This start of the machine, and its processes' numbering: two processes
    /// that share both see each other.
    realm: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in ticks: numbers are given again.
    started: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}

impl Holder {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let numbering = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        Self {
            host: hostname(),
            realm: format!(
                "{} {}",
                read("/proc/sys/kernel/random/boot_id").trim(),
                numbering.display()
            ),
            pid,
            started: started(pid).unwrap_or_default(),
        }
    }

    /// Is it known to be gone? Of another machine's processes nothing is known.
    fn is_gone(&self) -> bool {
        let knows = Path::new("/proc/self/stat").exists();
        knows
            && self.realm == Self::this().realm
            && started(self.pid).as_ref() != Some(&self.started)
    }
}

/// Name of this machine; empty where the system does not say.
#[must_use]
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// When a living process started, in the kernel's ticks. A dead one that
/// nobody has waited for counts as gone.
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?;
    (!matches!(state, "Z" | "X")).then_some(())?;
    words.nth(18).map(str::to_owned)
}

/// What came of an attempt to claim.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Claimed(Claim),
    /// Somebody else is at work on it.
    Held(Holder),
}

/// A held claim; it is let go when the value drops, or when the process dies.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    inode: u64,
    /// Tells the counting thread to end.
    end: Option<Sender<()>>,
    counting: Option<JoinHandle<()>>,
}

impl Claim {
    /// Claims `path`, if nobody holds it or the holder is known to be gone.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn attempt(path: &Path) -> Result<Attempt, RecordError> {
        loop {
            if let Some(claim) = Self::make(path)? {
                return Ok(Attempt::Claimed(claim));
            }
            match Seen::read(path)? {
                // Let go between the two looks.
                None => {}
                Some(seen) => match seen.holder {
                    Some(holder) if !holder.is_gone() => return Ok(Attempt::Held(holder)),
                    // A torn claim is one that was never taken.
                    _ => return Ok(Attempt::Claimed(Self::replace(path)?)),
                },
            }
        }
    }

    /// Waits until `path` can be claimed. `tell` hears once who holds it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn wait(
        path: &Path,
        patience: Duration,
        tell: &mut dyn FnMut(&Holder),
    ) -> Result<Self, RecordError> {
        let mut told = false;
        let mut last: Option<(Seen, Instant)> = None;
        loop {
            let holder = match Self::attempt(path)? {
                Attempt::Claimed(claim) => return Ok(claim),
                Attempt::Held(holder) => holder,
            };
            if !told {
                tell(&holder);
                told = true;
            }
            let now = Seen::read(path)?;
            let stands = match (&last, &now) {
                (Some((before, since)), Some(now)) if before == now => Some(since.elapsed()),
                _ => None,
            };
            match (stands, now) {
                (Some(time), Some(_)) if time >= patience => return Self::replace(path),
                (Some(_), _) => {}
                (None, Some(now)) => last = Some((now, Instant::now())),
                (None, None) => last = None,
            }
            std::thread::sleep(BEAT.min(patience));
        }
    }

    /// Is it still ours? One that was too slow to count may have lost it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        is_at(&self.path, self.inode)
    }

    /// A new claim, if there is none at `path`.
    fn make(path: &Path) -> Result<Option<Self>, RecordError> {
        let file = written(path)?;
        match file.persist_noclobber(path) {
            Ok(file) => Self::hold(path, file).map(Some),
            Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(RecordError::io("claim", path)(e.error)),
        }
    }

    /// A new claim in the place of one whose holder is gone. Of two that do
    /// this at once the later one has it, and the other sees that.
    fn replace(path: &Path) -> Result<Self, RecordError> {
        let file = written(path)?
            .persist(path)
            .map_err(|e| RecordError::io("claim", path)(e.error))?;
        Self::hold(path, file)
    }

    fn hold(path: &Path, file: File) -> Result<Self, RecordError> {
        let meta = file.metadata().map_err(RecordError::io("claim", path))?;
        let (end, ended) = channel();
        let begin = meta.len();
        let counting = std::thread::spawn(move || {
            let mut beats = 0_u64;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                beats += 1;
                // A count that cannot be written is a sign of life less; the
                // commit will say what is wrong with the disk.
                let _ = file.write_all_at(beats.to_string().as_bytes(), begin);
            }
        });
        Ok(Self {
            path: path.to_path_buf(),
            inode: meta.ino(),
            end: Some(end),
            counting: Some(counting),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(counting) = self.counting.take() {
            let _ = counting.join();
        }
        // Another's claim stays; so does ours where it cannot be removed, and
        // is seen to belong to nobody.
        if self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_at(path: &Path, inode: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.ino() == inode)
}

/// This process's claim under a temporary name beside `path`.
fn written(path: &Path) -> Result<tempfile::NamedTempFile, RecordError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(RecordError::io("claim", path))?;
    let mut line = serde_json::to_string(&Holder::this()).unwrap_or_default();
    line.push('\n');
    file.write_all(line.as_bytes())
        .map_err(RecordError::io("claim", path))?;
    Ok(file)
}

/// A claim as it is found.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    text: Vec<u8>,
    /// None if the file is no claim.
    holder: Option<Holder>,
}

impl Seen {
    fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        match Self::open(path) {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(RecordError::io("read", path)(e)),
        }
    }

    fn open(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
        Ok(Self {
            inode: file.metadata()?.ino(),
            holder: serde_json::from_slice(line).ok(),
            text,
        })
    }
}
