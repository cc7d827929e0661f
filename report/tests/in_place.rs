//! What a report finds in its folder, and what it leaves there.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

mod fixture;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use assay_report::{ReportError, ReportInput, write_report};

fn write(input: &ReportInput, out: &Path) -> Result<BTreeSet<String>, ReportError> {
    let input = Arc::new(input.clone());
    let written = write_report(&input, &fixture::read, out, &mut |_, _, _| ())?;
    let names = written.files.iter().map(|path| path.strip_prefix(out));
    Ok(names
        .map(|n| n.unwrap().to_str().unwrap().to_owned())
        .collect())
}

/// Every file under a folder.
fn found(out: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![out.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(out).unwrap();
                names.insert(name.to_str().unwrap().to_owned());
            }
        }
    }
    names
}

#[test]
fn what_an_earlier_report_left_does_not_pass_for_this_ones() {
    let out = tempfile::tempdir().unwrap();
    let whole = fixture::input();
    let first = write(&whole, out.path()).unwrap();
    assert_eq!(found(out.path()), first);
    let mut less = whole.clone();
    less.summaries[0].tables.clear();
    // Two files that are not the report's, one of them once was.
    let changed = first
        .iter()
        .find(|n| n.ends_with(".csv") && n.starts_with("tables/"));
    let changed = changed.unwrap().clone();
    std::fs::write(out.path().join(&changed), "mine").unwrap();
    std::fs::write(out.path().join("figures/mine.svg"), "mine").unwrap();
    let mut expected = write(&less, out.path()).unwrap();
    assert!(expected.len() < first.len());
    expected.extend([changed, "figures/mine.svg".to_owned()]);
    assert_eq!(found(out.path()), expected);
}

#[test]
fn what_a_killed_report_left_goes() {
    let out = tempfile::tempdir().unwrap();
    let left = out.path().join(".assay-report-killed");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("report.md"), "half").unwrap();
    let written = write(&fixture::input(), out.path()).unwrap();
    assert_eq!(found(out.path()), written);
    assert!(!left.exists());
}

#[test]
fn a_folder_in_the_way_is_named_and_nothing_is_touched() {
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("report.md"), "an earlier one").unwrap();
    let folder = out.path().join("results.zip");
    std::fs::create_dir(&folder).unwrap();
    let error = write(&fixture::input(), out.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is a folder, and a file of the report goes there: move or remove it",
            folder.display()
        )
    );
    let kept = std::fs::read_to_string(out.path().join("report.md")).unwrap();
    assert_eq!(kept, "an earlier one");
    assert_eq!(found(out.path()), BTreeSet::from(["report.md".to_owned()]));
}

#[test]
fn a_report_waits_for_another_in_the_same_folder() {
    let out = tempfile::tempdir().unwrap();
    let other = File::open(out.path()).unwrap();
    other.lock().unwrap();
    let (said, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let input = Arc::new(fixture::input());
            let mut tell = |stage: &str, _, _| said.send(stage.to_owned()).unwrap();
            write_report(&input, &fixture::read, out.path(), &mut tell).unwrap();
        });
        let first = heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(first, "waiting for another report that goes to this folder");
        assert_eq!(found(out.path()), BTreeSet::new());
        other.unlock().unwrap();
    });
    assert!(found(out.path()).contains("report.md"));
}
