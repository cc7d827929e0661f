//! What is said to people on standard error, and when it is not: `--quiet`
//! leaves errors only, and colours are for terminals.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static QUIET: AtomicBool = AtomicBool::new(false);

/// From here on only errors are said.
pub(crate) fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says a line to people, unless they asked for quiet.
macro_rules! say {
    ($($words:tt)*) => {
        if !$crate::say::is_quiet() {
            $crate::say::to_people(format_args!("{}\n", format_args!($($words)*)));
        }
    };
}
pub(crate) use say;

/// Writes to standard error. Work does not end because nobody listens any
/// more, or because the log's disk is full.
pub(crate) fn to_people(words: Arguments) {
    let _ = std::io::stderr().lock().write_fmt(words);
}

/// Writes what was asked for to standard output.
macro_rules! out {
    ($($words:tt)*) => {
        $crate::say::to_output(format_args!($($words)*))
    };
}
pub(crate) use out;

/// As [`out`], with the end of the line.
macro_rules! outln {
    () => {
        $crate::say::to_output(format_args!("\n"))
    };
    ($($words:tt)*) => {
        $crate::say::to_output(format_args!("{}\n", format_args!($($words)*)))
    };
}
pub(crate) use outln;

/// What came of writing standard output so far.
static OUTPUT: Mutex<std::io::Result<()>> = Mutex::new(Ok(()));

pub(crate) fn to_output(words: Arguments) {
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    if output.is_ok() {
        *output = std::io::stdout().lock().write_fmt(words);
    }
}

/// Ends standard output.
///
/// # Errors
/// Something of it was lost. A reader that has read enough (`| head`) lost
/// nothing.
pub(crate) fn end_output() -> std::io::Result<()> {
    let mut output = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    let output = std::mem::replace(&mut *output, Ok(()));
    match output.and_then(|()| std::io::stdout().flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Lines with verdicts and checks in colour, where standard output is a
/// terminal and nobody set NO_COLOR.
pub(crate) fn coloured(lines: &str) -> String {
    let good = ["SUPPORTED", "ok  "];
    let bad = ["REFUTED", "REVERSED", "FAIL"];
    let mut out = String::new();
    for line in lines.split_inclusive('\n') {
        let found = |words: &[&'static str]| {
            let mut words = words.iter().copied();
            words.find(|w| line.contains(*w))
        };
        out.push_str(&match (found(&good), found(&bad)) {
            (_, Some(word)) => line.replacen(word, &console::style(word).red().to_string(), 1),
            (Some(word), None) => line.replacen(word, &console::style(word).green().to_string(), 1),
            (None, None) => line.to_owned(),
        });
    }
    out
}
