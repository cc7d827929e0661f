//! Claims: who is at work on what, on a folder that several processes and
//! machines share.
//!
//! A claim is a file that gets its name by a call that fails if somebody has it
//! (a rename that replaces nothing, or a hard link), also on shared file systems
//! that know no locks. Its holder counts in it, a beat a second. Who finds a
//! claim watches it by its own clock: if the count stands still for as long as
//! its patience lasts, or the holder is a process of this machine that is gone,
//! the claim is taken over, by one of many where the file system knows locks. No
//! clock of another machine is asked, so clocks may jump.
//!
//! A claim saves work and protects nothing: a holder that was only slow may go
//! on beside the one that took over, and both commit the same bytes by rename.

use std::fs::{File, TryLockError};
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

/// How often a claim is looked for that is there at one moment and not at the
/// next.
const LOOKS: u32 = 100;

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
            started: stat(pid).map(|(_, started)| started).unwrap_or_default(),
        }
    }

    /// Is it known to be gone? Of another machine's processes nothing is known.
    fn is_gone(&self) -> bool {
        let knows = Path::new("/proc/self/stat").exists();
        if !knows || self.realm != Self::this().realm {
            return false;
        }
        match stat(self.pid) {
            // A dead one that nobody has waited for is gone.
            Some((state, started)) => ["Z", "X"].contains(&&*state) || started != self.started,
            // A system may show each user only processes of their own.
            None => !is_there(self.pid),
        }
    }
}

/// Name of this machine; empty where the system does not say.
#[must_use]
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// State of a process, and when it started, in the kernel's ticks.
fn stat(pid: u32) -> Option<(String, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?.to_owned();
    Some((state, words.nth(18)?.to_owned()))
}

/// Has any process this number?
fn is_there(pid: u32) -> bool {
    // SAFETY: kill with signal 0 sends nothing and touches no memory.
    let said = unsafe { libc::kill(pid.cast_signed(), 0) };
    said == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
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
        for _ in 0..LOOKS {
            if let Some(claim) = Self::make(path)? {
                return Ok(Attempt::Claimed(claim));
            }
            match Seen::read(path)? {
                // Let go between the two looks.
                None => {}
                Some(Seen {
                    holder: Some(holder),
                    ..
                }) if !holder.is_gone() => return Ok(Attempt::Held(holder)),
                // A torn claim is one that was never taken.
                Some(seen) => {
                    if let Some(claim) = Self::take_over(path, &seen)? {
                        return Ok(Attempt::Claimed(claim));
                    }
                }
            }
            std::thread::sleep(BEAT / LOOKS);
        }
        let strange = "it is there and is not, as a link that leads nowhere";
        Err(RecordError::io("claim", path)(std::io::Error::other(
            strange,
        )))
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
                (Some(time), Some(now)) if time >= patience => {
                    if let Some(claim) = Self::take_over(path, &now)? {
                        return Ok(claim);
                    }
                }
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

    /// A new claim in the place of one that was seen to be nobody's; none if
    /// it has changed since, or another is at it. Where the file system knows
    /// no locks, of two that do this at once the later one has it, and the
    /// other sees that.
    fn take_over(path: &Path, seen: &Seen) -> Result<Option<Self>, RecordError> {
        let failed = |e| RecordError::io("claim", path)(e);
        let lock = path.with_file_name(".take-over");
        let mut options = File::options();
        let opened = options.write(true).create(true).truncate(false).open(&lock);
        // Another user's can be held all the same.
        let opened = opened.or_else(|e| File::open(&lock).map_err(|_| e));
        let lock = opened.map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Ok(None);
        }
        if Seen::read(path)?.as_ref() != Some(seen) {
            return Ok(None);
        }
        let file = written(path)?.persist(path);
        let file = file.map_err(|e| failed(e.error))?;
        Self::hold(path, file).map(Some)
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
    let mut builder = tempfile::Builder::new();
    // Other users' processes watch it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder
        .tempfile_in(folder)
        .map_err(RecordError::io("claim", path))?;
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
            Err(e) => Err(RecordError::io("read the claim", path)(e)),
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
