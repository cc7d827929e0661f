//! A finished run as one file: the records, summaries and lists of a store in a
//! zip, which every command takes where it takes a store's folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use assay_record::{PATIENCE, UnitClaim, canonical_json, sha256_hex};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::Place;

/// Most bytes that an archive may unpack to, and most files.
const MOST_BYTES: u64 = 4 << 30;
const MOST_FILES: usize = 1_000_000;

/// What of an archive belongs to a store.
const FOLDERS: [&str; 3] = ["records", "made", "summaries"];
const LIST: &str = "last-run.json";

/// A store's folder, unpacked if it was given as an archive; it is removed
/// with this value.
pub(crate) struct Opened {
    pub(crate) place: Place,
    /// Keeps a run that ends meanwhile from changing what is read. None where
    /// the store cannot be written, by others of this user neither.
    pub(crate) held: Option<UnitClaim>,
    _unpacked: Option<TempDir>,
}

impl Place {
    /// The store as a folder.
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        let path = self.folder();
        if path.extension().is_none_or(|e| e != "zip") {
            // A mistyped folder is not made.
            let held = path.exists().then(|| self.hold(PATIENCE).ok()).flatten();
            return Ok(Opened {
                place: self.clone(),
                held,
                _unpacked: None,
            });
        }
        let folder = tempfile::tempdir().context("failed to make a folder to unpack into")?;
        unpack(&path, folder.path(), MOST_BYTES)
            .with_context(|| format!("failed to unpack {}", path.display()))?;
        Ok(Opened {
            place: Place {
                store: Some(folder.path().to_path_buf()),
            },
            held: None,
            _unpacked: Some(folder),
        })
    }
}

/// Unpacks the store that an archive holds. Names that would leave the folder,
/// and archives that would fill the disk, are refused.
fn unpack(archive: &Path, into: &Path, most_bytes: u64) -> anyhow::Result<()> {
    let file = File::open(archive)?;
    let mut zip = ZipArchive::new(file)?;
    if zip.len() > MOST_FILES {
        bail!(
            "it holds {} files, and at most {MOST_FILES} are unpacked",
            zip.len()
        );
    }
    let mut left = most_bytes;
    for index in 0..zip.len() {
        let entry = zip.by_index(index)?;
        let Some(name) = entry.enclosed_name() else {
            bail!("its entry {:?} would leave the folder", entry.name());
        };
        let first = name.components().next().map(|c| c.as_os_str().to_owned());
        let is_one = |names: &[&str]| {
            first
                .as_ref()
                .is_some_and(|f| names.iter().any(|n| f.as_os_str() == *n))
        };
        if !entry.is_file() || !(is_one(&FOLDERS) || is_one(&[LIST])) {
            continue;
        }
        let path = into.join(&name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // Two names of one file, on a file system where case does not count.
        let mut out = File::create_new(&path)
            .with_context(|| format!("its entry {:?} cannot be written", entry.name()))?;
        // The size in the header is the archive's own word; what is written is
        // counted.
        let written = std::io::copy(&mut entry.take(left + 1), &mut out)?;
        left = match left.checked_sub(written) {
            Some(left) => left,
            None => bail!("it unpacks to more than {most_bytes} bytes"),
        };
    }
    if !into.join(LIST).exists() {
        bail!("it holds no last-run.json, so it is not a run of assay");
    }
    Ok(())
}

/// The files of a store that make a run, by their names in an archive.
/// `records` are (experiment, id).
pub(crate) fn files_of(
    store: &Path,
    experiments: &[&String],
    records: &[(String, String)],
) -> BTreeMap<String, PathBuf> {
    let summaries = experiments.iter().map(|e| format!("summaries/{e}.json"));
    let of = |folder: &'static str| {
        let name =
            move |(experiment, id): &(String, String)| format!("{folder}/{experiment}/{id}.json");
        records.iter().map(name)
    };
    let made = of("made").filter(|name| store.join(name).exists());
    (std::iter::once(LIST.to_owned()).chain(summaries))
        .chain(of("records").chain(made))
        .map(|name| (name.clone(), store.join(name)))
        .collect()
}

/// Packs files in alphabetical order and without times, and beside them
/// manifest.json with the SHA-256 of each.
pub(crate) fn pack(files: &BTreeMap<String, PathBuf>, to: &Path) -> anyhow::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(9))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("failed to make {}", folder.display()))?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut out = builder
        .tempfile_in(folder)
        .with_context(|| format!("failed to write {}", to.display()))?;
    let mut zip = ZipWriter::new(out.as_file_mut());
    let mut hashes = BTreeMap::new();
    for (name, path) in files {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut f| f.read_to_end(&mut bytes))
            .with_context(|| format!("failed to read {}", path.display()))?;
        hashes.insert(name, sha256_hex(&bytes));
        zip.start_file(name, options)?;
        zip.write_all(&bytes)?;
    }
    zip.start_file("manifest.json", options)?;
    zip.write_all(canonical_json(&hashes)?.as_bytes())?;
    zip.finish()?;
    out.persist(to)
        .with_context(|| format!("failed to write {}", to.display()))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::unpack;

    /// An archive of these entries, unpacked: what is there afterwards, or why
    /// it was refused.
    fn unpacked(entries: &[(&str, &str)]) -> Result<Vec<String>, String> {
        unpacked_with(|zip| {
            for (name, text) in entries {
                zip.start_file(*name, SimpleFileOptions::default()).unwrap();
                zip.write_all(text.as_bytes()).unwrap();
            }
        })
    }

    /// As [`unpacked`], of an archive with whatever is put into it; at most
    /// 1 MiB is unpacked.
    fn unpacked_with(
        fill: impl FnOnce(&mut ZipWriter<std::fs::File>),
    ) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.zip");
        let mut zip = ZipWriter::new(std::fs::File::create(&path).unwrap());
        fill(&mut zip);
        zip.finish().unwrap();
        let into = folder.path().join("store");
        std::fs::create_dir(&into).unwrap();
        let result = unpack(&path, &into, 1 << 20).map_err(|e| e.to_string());
        // Whatever it says, nothing lies outside of the folder.
        let mut beside: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        beside.sort();
        assert_eq!(beside, ["run.zip", "store"]);
        result?;
        let mut names: Vec<String> = std::fs::read_dir(&into)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn only_a_store_is_unpacked() {
        let entries = [
            ("last-run.json", "{}"),
            ("records/a/1.json", "{}"),
            ("report.html", "<p>"),
        ];
        assert_eq!(unpacked(&entries).unwrap(), ["last-run.json", "records"]);
    }

    #[test]
    fn an_archive_cannot_leave_its_folder() {
        for name in [
            "records/../../evil",
            "../evil",
            "records/a/../../../evil",
            "records/evil\0.json",
        ] {
            let entries = [("last-run.json", "{}"), (name, "x")];
            let refused = unpacked(&entries).unwrap_err();
            assert!(refused.contains("would leave the folder"), "{refused}");
        }
        // Absolute names, and those of another system, are none of a store.
        for name in ["/evil", "C:\\evil", "records\\..\\..\\evil", "//host/evil"] {
            let entries = [("last-run.json", "{}"), (name, "x")];
            match unpacked(&entries) {
                Ok(names) => assert!(!names.iter().any(|n| n.contains("evil")), "{names:?}"),
                Err(refused) => assert!(refused.contains("would leave"), "{refused}"),
            }
        }
    }

    #[test]
    fn links_are_not_unpacked() {
        let names = unpacked_with(|zip| {
            let options = SimpleFileOptions::default();
            zip.add_symlink("records", "/", options).unwrap();
            zip.add_symlink("summaries/x.json", "/etc/passwd", options)
                .unwrap();
            zip.start_file("last-run.json", options).unwrap();
            zip.write_all(b"{}").unwrap();
        });
        assert_eq!(names.unwrap(), ["last-run.json"]);
    }

    #[test]
    fn an_archive_that_would_fill_the_disk_is_refused() {
        let refused = unpacked_with(|zip| {
            let options = SimpleFileOptions::default();
            for name in ["last-run.json", "records/a/1.json"] {
                zip.start_file(name, options).unwrap();
                zip.write_all(&vec![b' '; 600 << 10]).unwrap();
            }
        });
        let refused = refused.unwrap_err();
        assert!(refused.contains("more than 1048576 bytes"), "{refused}");
    }

    #[test]
    fn an_archive_of_something_else_is_refused() {
        let refused = unpacked(&[("records/a/1.json", "{}")]).unwrap_err();
        assert!(refused.contains("no last-run.json"), "{refused}");
    }
}
