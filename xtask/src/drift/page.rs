//! What was measured, as lines for a terminal and as the table of METHODS.md.

use std::collections::BTreeMap;
use std::fmt::Write;

use assay_golden::{Drift, Outcome, Ran, Spread, Variation, bound_from, least};
use assay_record::Tolerance;

use super::over_all;
use crate::bars::table;

/// The lines between which the table stands.
pub(super) const START: &str = "<!-- written by cargo xtask drift --write -->";
pub(super) const END: &str = "<!-- end of what cargo xtask drift writes -->";

/// The text with another section between the two lines; nothing if they are
/// not there.
pub(super) fn put_into(text: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{START}\n{section}{END}{after}"))
}

/// 0 as "0", everything else with two digits.
fn size(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.1e}")
    }
}

fn cells(spread: &Spread) -> [String; 5] {
    [
        spread.values.to_string(),
        spread.equal.to_string(),
        size(spread.absolute),
        size(spread.relative),
        size(spread.drift),
    ]
}

fn class_name(class: Tolerance) -> String {
    format!("{class:?}").to_lowercase()
}

/// One variation: a row for each experiment and kind of measure, and for each
/// class of numbers.
pub(super) fn for_terminal(variation: &Variation) -> String {
    let title = format!("\n{}: {}", variation.name, variation.what);
    let ran = match &variation.outcome {
        Outcome::NotRun(reason) => return format!("{title}\nnot run: {reason}\n"),
        Outcome::Ran(ran) => ran,
    };
    let mut rows = vec![
        [
            "of", "kind", "values", "equal", "absolute", "relative", "drift", "at",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut add = |of: &str, kind: &str, spread: &Spread| {
        let mut row = vec![of.to_owned(), kind.to_owned()];
        row.extend(cells(spread));
        row.push(spread.worst.clone());
        rows.push(row);
    };
    for (experiment, drift) in &ran.records {
        for (kind, spread) in &drift.kinds {
            add(experiment, kind, spread);
        }
    }
    for (class, sizes) in &ran.numbers {
        let kind = class_name(*class);
        add("numbers", &format!("{kind}, below 1"), &sizes.below_one);
        add("numbers", &format!("{kind}, from 1"), &sizes.from_one);
    }
    format!(
        "{title}\nrecords of {} against {}; {} verdicts compared\n{}",
        ran.device_class,
        ran.reference,
        ran.verdicts,
        table(&rows)
    )
}

/// The section of METHODS.md.
pub(super) fn markdown(drift: &Drift) -> String {
    let mut text = String::new();
    let _ = write!(text, "\n{}\n", origin(drift));
    text.push_str(
        "\n| Variation | What | Device class | Values | Equal to the bit | Largest \\|a - e\\| | Largest relative | Largest drift | Where |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for variation in &drift.variations {
        let (name, what) = (&variation.name, &variation.what);
        let row = match &variation.outcome {
            Outcome::NotRun(reason) => format!("not run: {reason} | | | | | |"),
            Outcome::Ran(ran) => {
                let all = over_all(ran);
                let values = cells(&all).join(" | ");
                format!("{} | {values} | {}", ran.device_class, place(&all.worst))
            }
        };
        let _ = writeln!(text, "| `{name}` | {what} | {row} |");
    }
    text.push_str(&by_experiment(drift));
    text.push_str(&classes(drift));
    text
}

/// When, on what and with what it was measured; a sentence for each such lot.
fn origin(drift: &Drift) -> String {
    let mut lots: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    for (variation, ran) in drift.ran() {
        // The emulator is named with the rest, where there is one.
        let versions = ran.versions.join(", ");
        let lot = (ran.date.clone(), ran.machine.clone(), versions);
        lots.entry(lot)
            .or_default()
            .push(format!("`{}`", variation.name));
    }
    let lines: Vec<String> = lots
        .into_iter()
        .map(|((date, machine, versions), names)| {
            format!("{} on {date}, {machine}: {versions}.", names.join(", "))
        })
        .collect();
    lines.join("\n")
}

fn place(worst: &str) -> String {
    if worst.is_empty() {
        String::new()
    } else {
        format!("`{worst}`")
    }
}

/// Experiments over the variations in which something differs.
fn by_experiment(drift: &Drift) -> String {
    let mut text = "\n| Experiment | Kinds of measures that differ, and their largest drift | Models | Values | Equal to the bit | In |\n|---|---|---|---|---|---|\n".to_owned();
    for (variation, ran) in drift.ran() {
        for (experiment, of) in &ran.records {
            let all = of.all();
            if all.equal == all.values {
                continue;
            }
            let kinds = of.kinds.iter().filter(|(_, s)| s.equal < s.values);
            let kinds: Vec<String> = kinds
                .map(|(kind, s)| format!("{kind} {}", size(s.drift)))
                .collect();
            let _ = writeln!(
                text,
                "| {experiment} | {} | {} | {} | {} | `{}` |",
                kinds.join(", "),
                of.records,
                all.values,
                all.equal,
                variation.name
            );
        }
    }
    text
}

/// What follows for the classes.
fn classes(drift: &Drift) -> String {
    let mut text = "\n| Class | Numbers | Compared | Equal to the bit | Largest drift | Where | At least | Bound |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    for class in [
        Tolerance::Exact,
        Tolerance::Rounding,
        Tolerance::Statistical,
    ] {
        let of = drift.of_class(class);
        let parts = [
            ("below 1", "absolute", &of.below_one),
            ("from 1 on", "relative", &of.from_one),
        ];
        for (which, part, spread) in parts {
            let _ = writeln!(
                text,
                "| {} | {which} | {} | {} | {} | {} | {} | {part} {} |",
                class_name(class),
                spread.values,
                spread.equal,
                size(spread.drift),
                place(&spread.worst),
                size(least(class)),
                bound(class, spread)
            );
        }
    }
    let ran: Vec<&Ran> = drift.ran().map(|(_, ran)| ran).collect();
    let verdicts: usize = ran.iter().map(|r| r.verdicts).sum();
    let off: Vec<&String> = ran.iter().flat_map(|r| &r.off).collect();
    let _ = write!(
        text,
        "\n{verdicts} verdict{} compared; golden values and verdicts that did not hold: {}.\n",
        if verdicts == 1 { "" } else { "s" },
        if off.is_empty() {
            "none".to_owned()
        } else {
            off.len().to_string()
        }
    );
    for line in off {
        let _ = writeln!(text, "- {line}");
    }
    text
}

/// A power of ten, as it stands in the code.
fn bound(class: Tolerance, spread: &Spread) -> String {
    match bound_from(class, spread.drift) {
        0.0 => "0".to_owned(),
        bound => format!("{bound:e}"),
    }
}
