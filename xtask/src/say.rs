//! What is said to people on standard error, and when it is not: `--quiet`
//! leaves errors only, and colours are for terminals.

use std::sync::atomic::{AtomicBool, Ordering};

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
            eprintln!($($words)*);
        }
    };
}
pub(crate) use say;

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
