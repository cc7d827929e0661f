//! `tidy`: the repository's own rules, checked as code. Each rule says what it
//! protects; ARCHITECTURE.md lists the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::claims::Claims;
use crate::say::outln;
use crate::{Ending, workspace};

/// Packages that must build without a tensor library or the hub's client.
const LIGHT: [&str; 5] = [
    "xtask",
    "assay-record",
    "assay-stats",
    "assay-golden",
    "assay-report",
];

/// Packages that may depend on serde: the edges where bytes become values.
const SERDE: [&str; 23] = [
    "assay-checkpoint",
    "assay-experiment",
    "assay-fetch",
    "assay-golden",
    "assay-problems",
    "assay-record",
    "assay-report",
    "assay-source",
    "assay-stats",
    "assay-testkit",
    "assay-tests",
    "assay-train",
    "assay-unified",
    "assay-worker",
    "bridge",
    "crowding-trained",
    "h25-gain",
    "known-answers",
    "pythia-anomaly",
    "suite-anatomy",
    "value-contraction",
    "xtask",
    "z-causality",
];

/// Licences that a dependency may have.
const LICENCES: [&str; 12] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    // No conditions at all: tiny-keccak.
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that come in several versions, and who holds the older one.
const DUPLICATES: [(&str, &str); 28] = [
    ("base64", "spm_precompiled (tokenizers) and usvg"),
    ("bitflags", "png (usvg)"),
    ("block-buffer", "digest 0.10 (sha2 of cudaforge)"),
    ("core-foundation", "macOS parts of the hub's client"),
    ("cpufeatures", "sha2 of cudaforge"),
    ("crypto-common", "digest 0.10"),
    ("darling", "derive_builder (tokenizers)"),
    ("darling_core", "derive_builder (tokenizers)"),
    ("darling_macro", "derive_builder (tokenizers)"),
    ("digest", "crc-fast (hub's client)"),
    (
        "fancy-regex",
        "tokenizers; candle-transformers, in tests, holds a newer one",
    ),
    ("getrandom", "ahash and rand 0.9 (candle, tokenizers)"),
    ("glam", "optional parts of nalgebra"),
    ("hashbrown", "safetensors"),
    ("itertools", "criterion, in benchmarks"),
    ("kurbo", "usvg"),
    ("miniz_oxide", "png and svg2pdf"),
    ("num-bigint", "num-rational, optional in nalgebra"),
    ("r-efi", "getrandom 0.3"),
    ("rand", "hub's client; candle holds 0.9"),
    ("rand_core", "hub's client; candle holds 0.9"),
    (
        "sha2",
        "cudaforge, which builds candle's kernels for GPUs (cuda feature)",
    ),
    ("statrs", "hub's client"),
    ("syn", "derive macros in transition"),
    ("thiserror", "hub's client"),
    ("thiserror-impl", "hub's client"),
    ("wasi", "getrandom"),
    ("windows-sys", "ring"),
];

/// Bytes that the weights in organisms/ may have.
const MAX_MODEL_BYTES: u64 = 40_000_000;

/// Longest source file, in lines.
const MAX_LINES: usize = 800;

type Rule = fn(&Tree) -> anyhow::Result<Vec<String>>;

const RULES: [(&str, Rule); 12] = [
    (
        "xtask, record, stats, golden and report build without candle and hf-hub",
        light_packages,
    ),
    (
        "nothing but the worker depends on an experiment",
        experiments_stand_alone,
    ),
    ("only assay-fetch opens sockets", sockets),
    ("stats has no I/O, clock or global randomness", pure_stats),
    ("serde lives at the edges", serde_at_edges),
    (
        "no number is typed into a report template",
        numbers_in_templates,
    ),
    ("no test is ignored and nothing is left to do", unfinished),
    (
        "every dependency is from the registry and under a licence that we may ship",
        licences,
    ),
    (
        "a crate comes in one version but where others pin it",
        duplicates,
    ),
    (
        "files are short, and every experiment is declared and tested",
        shape,
    ),
    (
        "the project's own models are small enough to clone",
        small_models,
    ),
    (
        "every declared claim is in claims.toml, and CLAIMS.md is written from both",
        claims_agree,
    ),
];

pub(crate) fn tidy() -> anyhow::Result<Ending> {
    let tree = Tree::read()?;
    let mut broken = 0;
    for (rule, check) in RULES {
        let faults = check(&tree)?;
        outln!("{} {rule}", if faults.is_empty() { "ok  " } else { "FAIL" });
        for fault in &faults {
            outln!("     {fault}");
        }
        broken += faults.len();
    }
    Ok(if broken == 0 {
        Ending::Held
    } else {
        Ending::Failed
    })
}

/// The files that git tracks or would track, and cargo's view of the packages.
struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
    /// Of the workspace's own packages.
    metadata: serde_json::Value,
    /// Of all packages in the lock file, those of optional features too.
    locked: serde_json::Value,
}

impl Tree {
    fn read() -> anyhow::Result<Self> {
        let root = workspace::root();
        let listing = run(
            &root,
            "git",
            &["ls-files", "--cached", "--others", "--exclude-standard"],
        )?;
        let files = listing
            .lines()
            .map(PathBuf::from)
            .filter(|f| root.join(f).is_file());
        let files = files.collect();
        Ok(Self {
            locked: workspace::metadata(&["--locked", "--all-features"])?,
            metadata: workspace::metadata(&["--no-deps"])?,
            root,
            files,
        })
    }

    fn with_extension(&self, extension: &str) -> impl Iterator<Item = &PathBuf> {
        let wanted = move |f: &&PathBuf| f.extension().is_some_and(|e| e == extension);
        self.files.iter().filter(wanted)
    }

    fn text(&self, file: &Path) -> anyhow::Result<String> {
        let path = self.root.join(file);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    }

    /// (package, names of its normal dependencies).
    fn packages(&self) -> Vec<(String, Vec<String>)> {
        let text = |v: &serde_json::Value, key: &str| v[key].as_str().unwrap_or("").to_owned();
        let packages = self.metadata["packages"].as_array();
        packages
            .into_iter()
            .flatten()
            .map(|p| {
                let all = p["dependencies"].as_array().into_iter().flatten();
                let normal = all.filter(|d| d["kind"].is_null()).map(|d| text(d, "name"));
                (text(p, "name"), normal.collect())
            })
            .collect()
    }

    fn experiments(&self) -> Vec<String> {
        let declared = |f: &PathBuf| {
            let rest = f.strip_prefix("experiments").ok()?;
            let name = rest.components().next()?.as_os_str().to_str()?;
            (rest.file_name()? == "Cargo.toml").then(|| name.to_owned())
        };
        self.files.iter().filter_map(declared).collect()
    }

    /// Lines of some files that hold one of some words, as "file:line: word".
    fn lines_with(
        &self,
        take: impl Fn(&Path) -> bool,
        words: &[&str],
    ) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for file in self.with_extension("rs").filter(|f| take(f)) {
            for (i, line) in self.text(file)?.lines().enumerate() {
                let code = line.split("//").next().unwrap_or("");
                for word in words.iter().filter(|w| code.contains(**w)) {
                    found.push(format!("{}:{}: {word}", file.display(), i + 1));
                }
            }
        }
        Ok(found)
    }
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .current_dir(root)
        .args(arguments)
        .output()
        .with_context(|| format!("failed to start {program}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", arguments.join(" "), words.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn light_packages(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in LIGHT {
        let list = [
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ];
        let dependencies = run(&tree.root, "cargo", &list)?;
        let heavy = dependencies.lines().filter_map(|l| l.split(' ').next());
        let heavy =
            heavy.filter(|d| d.starts_with("candle") || *d == "hf-hub" || *d == "tokenizers");
        faults.extend(heavy.map(|d| format!("{package} depends on {d}")));
    }
    faults.sort();
    faults.dedup();
    Ok(faults)
}

fn experiments_stand_alone(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let experiments = tree.experiments();
    let mut faults = Vec::new();
    for (package, dependencies) in tree.packages() {
        for dependency in dependencies {
            if package != "assay-worker" && experiments.contains(&dependency) {
                faults.push(format!("{package} depends on {dependency}"));
            }
        }
    }
    Ok(faults)
}

fn sockets(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let words = [
        "std::net",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "hf_hub",
        "reqwest",
    ];
    let mut faults = tree.lines_with(
        |f| !f.starts_with("crates/fetch") && !f.ends_with("tidy.rs"),
        &words,
    )?;
    for (package, dependencies) in tree.packages() {
        let open = dependencies
            .iter()
            .filter(|d| ["hf-hub", "reqwest", "tokio"].contains(&d.as_str()));
        faults.extend(
            open.filter(|_| package != "assay-fetch")
                .map(|d| format!("{package} depends on {d}")),
        );
    }
    Ok(faults)
}

fn pure_stats(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let words = [
        "std::fs",
        "std::io",
        "std::env",
        "std::time",
        "rand::rng",
        "from_os_rng",
        "println!",
    ];
    tree.lines_with(|f| f.starts_with("crates/stats/src"), &words)
}

fn serde_at_edges(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for (package, dependencies) in tree.packages() {
        let serde = dependencies
            .iter()
            .any(|d| d == "serde" || d == "serde_json");
        if serde && !SERDE.contains(&package.as_str()) {
            faults.push(format!("{package} depends on serde"));
        }
    }
    Ok(faults)
}

/// In a template, digits may stand inside tags, `{{ }}` and `{% %}` blocks,
/// comments and commands that set the page; not in running text.
fn numbers_in_templates(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let templates = tree
        .files
        .iter()
        .filter(|f| f.starts_with("report/templates"));
    for file in templates.filter(|f| f.extension().is_some_and(|e| e == "md" || e == "html")) {
        let text = tree.text(file)?;
        let mut plain = String::new();
        let mut depth = 0usize;
        for c in text.chars() {
            match c {
                '{' | '<' => depth += 1,
                '}' | '>' => depth = depth.saturating_sub(1),
                _ if depth == 0 || c == '\n' => plain.push(c),
                _ => {}
            }
        }
        for (i, line) in plain.lines().enumerate() {
            if line.chars().any(|c| c.is_ascii_digit()) {
                faults.push(format!("{}:{}: {}", file.display(), i + 1, line.trim()));
            }
        }
    }
    Ok(faults)
}

/// (name, version, source, licence) of every package in the lock file.
fn locked(tree: &Tree) -> impl Iterator<Item = [&str; 4]> {
    let packages = tree.locked["packages"].as_array();
    packages
        .into_iter()
        .flatten()
        .map(|p| ["name", "version", "source", "license"].map(|key| p[key].as_str().unwrap_or("")))
}

fn licences(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for [name, version, source, licence] in locked(tree) {
        // The registry by its protocol's word: a mirror has another address.
        if !source.is_empty() && !source.starts_with("registry+") {
            faults.push(format!("{name} {version} comes from {source}"));
        }
        let allowed =
            spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX).is_ok_and(|expression| {
                expression.evaluate(|requirement| {
                    let id = requirement.license.id();
                    id.is_some_and(|id| LICENCES.contains(&id.name))
                })
            });
        if !allowed {
            faults.push(format!("{name} {version} is under {licence:?}"));
        }
    }
    // The fuzzing workspace has a lock of its own.
    for line in tree.text(Path::new("fuzz/Cargo.lock"))?.lines() {
        if let Some(source) = line.strip_prefix("source = \"")
            && !source.starts_with("registry+")
        {
            faults.push(format!("fuzz/Cargo.lock: a package comes from {source}"));
        }
    }
    Ok(faults)
}

fn duplicates(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for [name, version, ..] in locked(tree) {
        versions.entry(name).or_default().insert(version);
    }
    let known = |name: &str| DUPLICATES.iter().any(|(n, _)| *n == name);
    let twice = |name: &str| versions.get(name).is_some_and(|v| v.len() > 1);
    let new = versions.keys().filter(|n| twice(n) && !known(n));
    let new = new.map(|n| format!("{n} comes in versions {:?}", versions[n]));
    let gone = DUPLICATES.iter().filter(|(n, _)| !twice(n));
    let gone = gone.map(|(n, _)| format!("{n} comes in one version now: strike it from the list"));
    Ok(new.chain(gone).collect())
}

fn unfinished(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let words = ["#[ignore", "todo!(", "unimplemented!(", "dbg!("];
    tree.lines_with(|f| !f.ends_with("tidy.rs"), &words)
}

/// The models that the project brings are few enough to clone.
fn small_models(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut bytes = 0;
    for file in tree.with_extension("safetensors") {
        if file.starts_with("organisms") {
            let path = tree.root.join(file);
            let metadata = std::fs::metadata(&path)
                .with_context(|| format!("failed to look at {}", path.display()))?;
            bytes += metadata.len();
        }
    }
    let fault = || format!("they are {bytes} bytes, and may be {MAX_MODEL_BYTES}");
    Ok((bytes > MAX_MODEL_BYTES).then(fault).into_iter().collect())
}

fn shape(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in tree.with_extension("rs") {
        let lines = tree.text(file)?.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{}: {lines} lines", file.display()));
        }
    }
    for name in tree.experiments() {
        let folder = Path::new("experiments").join(&name);
        if !tree.files.contains(&folder.join("experiment.toml")) {
            faults.push(format!(
                "experiment {name} is not declared: experiment.toml is missing"
            ));
        }
        let tested = tree
            .files
            .iter()
            .any(|f| f.starts_with(folder.join("tests")));
        if !tested {
            faults.push(format!("experiment {name} has no tests folder"));
        }
    }
    Ok(faults)
}

fn claims_agree(tree: &Tree) -> anyhow::Result<Vec<String>> {
    let claims = Claims::load()?;
    let mut faults = claims.file.differences(&claims.specs);
    let path = tree.root.join("CLAIMS.md");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    if text != claims.markdown() {
        faults.push("CLAIMS.md is out of date: run cargo xtask claims --write".to_owned());
    }
    Ok(faults)
}
