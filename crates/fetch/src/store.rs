//! Files of the model cache while they are being written.

use std::fs::File;
use std::path::{Path, PathBuf};

use assay_source::{LockedFile, sha256_file};

use crate::failure::{Failure, Outcome};

/// Where a file grows before it is complete and checked.
pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// Another place beside a file, for what is not yet it; like
/// [`partial`], it is never taken for one of a model's files.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}"));
    partial(Path::new(&name))
}

/// Make a folder and hold it for this process until the value is dropped;
/// another process that fetches the same model waits.
pub(crate) fn hold(folder: &Path) -> Outcome<File> {
    let held = std::fs::create_dir_all(folder)
        .and_then(|()| File::open(folder))
        .and_then(|handle| handle.lock().map(|()| handle));
    held.map_err(|error| Failure::disk(folder, &error))
}

/// Delete a file if it is there.
pub(crate) fn remove(path: &Path) -> Outcome<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::disk(path, &error))
        }
        _ => Ok(()),
    }
}

/// Give a complete and checked file its final name.
pub(crate) fn publish(partial: &Path, path: &Path) -> Outcome<()> {
    std::fs::rename(partial, path).map_err(|error| Failure::disk(path, &error))
}

/// Name, length and SHA-256 of a file on disk.
pub(crate) fn measure(name: &str, path: &Path) -> Outcome<LockedFile> {
    let (sha256, bytes) = sha256_file(path)?;
    Ok(LockedFile {
        name: name.to_owned(),
        bytes,
        sha256,
    })
}

/// Is this locked file at its place, with the right length and SHA-256?
pub(crate) fn is_right(path: &Path, locked: &LockedFile) -> Outcome<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() == locked.bytes => {
            Ok(measure(&locked.name, path)? == *locked)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Failure::disk(path, &error)),
    }
}
