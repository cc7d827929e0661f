//! `new`: an experiment crate to start from.

use std::path::Path;

use anyhow::{Context, bail};
use assay_record::write_atomically;

use crate::claims::Claims;
use crate::say::say;
use crate::{Ending, workspace};

/// Make an experiment crate for a hypothesis of your own: it compiles, runs on
/// a small model, has a golden test and appears in the report.
#[derive(clap::Args)]
#[command(
    after_help = "TUTORIAL.md takes you from a question to a pre-registered verdict in thirty minutes.\n\nExample: cargo xtask new last-block --question \"Does the last block grow the residual stream?\""
)]
pub(crate) struct Options {
    /// Its name: lower-case letters, digits and dashes, a letter first.
    name: String,
    /// The question, for headings.
    #[arg(long, default_value = "A question of your own")]
    question: String,
}

/// Files of the new crate, and what they are made from.
const FILES: [(&str, &str); 7] = [
    (
        "Cargo.toml",
        include_str!("../templates/experiment/Cargo.toml.in"),
    ),
    (
        "experiment.toml",
        include_str!("../templates/experiment/experiment.toml.in"),
    ),
    (
        "prompts/NAME.jsonl",
        include_str!("../templates/experiment/prompts.jsonl.in"),
    ),
    (
        "src/lib.rs",
        include_str!("../templates/experiment/lib.rs.in"),
    ),
    (
        "src/measure.rs",
        include_str!("../templates/experiment/measure.rs.in"),
    ),
    (
        "src/summarise.rs",
        include_str!("../templates/experiment/summarise.rs.in"),
    ),
    (
        "tests/golden.rs",
        include_str!("../templates/experiment/golden.rs.in"),
    ),
];

pub(crate) fn new(options: &Options) -> anyhow::Result<Ending> {
    let name = options.name.as_str();
    check_name(name)?;
    if options.question.contains(['"', '\\', '\n']) {
        bail!("the question holds a quotation mark, a backslash or a line break: leave them out");
    }
    let root = workspace::root();
    let folder = root.join("experiments").join(name);
    if folder.exists() {
        bail!("{} exists already", folder.display());
    }
    let kind = type_name(name);
    let fill = |text: &str| {
        text.replace("QUESTION", &options.question)
            .replace("IDENT", &name.replace('-', "_"))
            .replace("NAME", name)
            .replace("TYPE", &kind)
    };
    // What is known by name elsewhere is changed first, all or nothing.
    let edits = edits(&root, name, &kind)?;
    for (file, text) in FILES {
        write_atomically(&folder.join(fill(file)), fill(text).as_bytes())?;
    }
    for (path, text) in edits {
        write_atomically(&path, text.as_bytes())?;
    }
    let claims = Claims::load()?.markdown();
    write_atomically(&root.join("CLAIMS.md"), claims.as_bytes())?;
    say!("made: experiments/{name}, known to the worker, to claims.toml and to CLAIMS.md");
    say!("next:");
    say!("  declare      experiments/{name}/experiment.toml, then commit it");
    say!("  measure      experiments/{name}/src/measure.rs");
    say!("  conclude     experiments/{name}/src/summarise.rs");
    say!("  test         ASSAY_UPDATE=1 cargo test --package {name}");
    say!("  run          cargo xtask reproduce --experiments {name} --offline");
    Ok(Ending::Held)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || !name.chars().all(plain) || name.ends_with('-') || name.contains("--") {
        bail!(
            "{name:?} is no name for an experiment: use lower-case letters, digits and single dashes, a letter first"
        );
    }
    Ok(())
}

/// "last-block" -> "LastBlock".
fn type_name(name: &str) -> String {
    let mut out = String::new();
    for part in name.split('-') {
        let mut letters = part.chars();
        out.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        out.extend(letters);
    }
    out
}

/// The files outside the new crate that name every experiment, with it added.
fn edits(root: &Path, name: &str, kind: &str) -> anyhow::Result<Vec<(std::path::PathBuf, String)>> {
    let ident = name.replace('-', "_");
    let places = [
        (
            "Cargo.toml",
            "ard-z = { path = \"experiments/ard-z\" }\n",
            format!("{name} = {{ path = \"experiments/{name}\" }}\n"),
        ),
        (
            "crates/worker/Cargo.toml",
            "ard-z.workspace = true\n",
            format!("{name}.workspace = true\n"),
        ),
        (
            "crates/worker/src/experiments.rs",
            "const EXPERIMENTS: &[&dyn Experiment] = &[\n",
            format!("    &{ident}::{kind},\n"),
        ),
    ];
    let mut edits = Vec::new();
    for (file, after, line) in places {
        let path = root.join(file);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let Some((head, tail)) = text.split_once(after) else {
            bail!(
                "{file} has no line {:?} to add the experiment behind",
                after.trim_end()
            );
        };
        edits.push((path, format!("{head}{after}{line}{tail}")));
    }
    let path = root.join("claims.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let entry = format!(
        "\n[{name}]\nminutes = 0.5\nneeds = \"the small models brought\"\n\n[{name}.claims.\"{name}.grows\"]\ntables = [\"gains\"]\n"
    );
    edits.push((path, text + &entry));
    Ok(edits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{check_name, type_name};

    #[test]
    fn names() {
        assert_eq!(type_name("last-block-2"), "LastBlock2");
        for bad in ["", "-a", "A", "a_b", "a--b", "a-", "1a", "../x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        check_name("last-block").unwrap();
    }
}
