//! What is measured of the drift between builds and machines, and the rule by
//! which tolerance classes follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use assay_record::{Measure, Record, RecordKey, Tolerance};
use serde::{Deserialize, Serialize};

use crate::error::GoldenError;

/// How far the values of two runs lie apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Values compared.
    pub values: usize,
    /// Those that are equal to the bit.
    pub equal: usize,
    /// Largest |a - e|.
    pub absolute: f64,
    /// Largest |a - e| / max(|a|, |e|).
    pub relative: f64,
    /// Largest |a - e| / max(1, |e|): relative from 1 on, absolute below.
    pub drift: f64,
    /// Where the drift is largest; empty if every value is equal.
    pub worst: String,
}

impl Spread {
    /// Takes a value of this run with the one expected.
    pub fn add(&mut self, expected: f64, actual: f64, id: impl FnOnce() -> String) {
        self.values += 1;
        if expected.to_bits() == actual.to_bits() {
            self.equal += 1;
            return;
        }
        let apart = (actual - expected).abs();
        // What is no number is as far off as anything can be.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        let size = actual.abs().max(expected.abs());
        // 0 and -0 are apart by bits only.
        let (relative, drift) = match apart {
            0.0 => (0.0, 0.0),
            f64::INFINITY => (apart, apart),
            _ => (apart / size, apart / expected.abs().max(1.0)),
        };
        self.absolute = self.absolute.max(apart);
        self.relative = self.relative.max(relative);
        if drift > self.drift || self.worst.is_empty() {
            self.drift = drift;
            self.worst = id();
        }
    }

    /// Takes all of another.
    pub fn join(&mut self, other: &Self) {
        self.values += other.values;
        self.equal += other.equal;
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
        if !other.worst.is_empty() && (other.drift > self.drift || self.worst.is_empty()) {
            self.drift = other.drift;
            self.worst.clone_from(&other.worst);
        }
    }
}

/// The drift of the numbers of a class, by size: the two parts of a bound.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BySize {
    /// Of numbers below 1, whose drift is absolute.
    pub below_one: Spread,
    /// Of the others, whose drift is relative.
    pub from_one: Spread,
}

impl BySize {
    /// Takes a number of this run with the one expected.
    pub fn add(&mut self, expected: f64, actual: f64, id: &str) {
        let spread = if expected.abs() < 1.0 {
            &mut self.below_one
        } else {
            &mut self.from_one
        };
        spread.add(expected, actual, || id.to_owned());
    }

    /// Takes all of another.
    pub fn join(&mut self, other: &Self) {
        self.below_one.join(&other.below_one);
        self.from_one.join(&other.from_one);
    }
}

/// The drift of an experiment's records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordDrift {
    /// Records compared.
    pub records: usize,
    /// Kind of measure (its name up to the first dot) -> how far apart.
    pub kinds: BTreeMap<String, Spread>,
    /// What could not be compared: a unit or measure that only one side has,
    /// other tokens, records of other inputs.
    pub unmatched: Vec<String>,
}

impl RecordDrift {
    /// Over all kinds.
    #[must_use]
    pub fn all(&self) -> Spread {
        let mut all = Spread::default();
        for spread in self.kinds.values() {
            all.join(spread);
        }
        all
    }

    /// Compares a record with the one expected, sample by sample and measure by
    /// measure. Their keys may differ in device class and fingerprint, and in
    /// nothing else.
    pub fn add(&mut self, expected: &Record, actual: &Record) {
        let model = label(&expected.key);
        let apart = apart(&expected.key, &actual.key);
        if !apart.is_empty() {
            let fields = apart.join(", ");
            let line = format!("{model}: the records are of another {fields}");
            self.unmatched.push(line);
            return;
        }
        self.records += 1;
        let units =
            |r: &Record| -> BTreeSet<String> { r.samples.iter().map(|s| s.unit.clone()).collect() };
        self.sides(&units(expected), &units(actual), &model);
        for sample in &expected.samples {
            let Ok(again) = actual.sample(&sample.unit) else {
                continue;
            };
            let unit = format!("{model} {}", sample.unit);
            if sample.token_ids != again.token_ids {
                self.unmatched.push(format!("{unit}: other tokens"));
            }
            let names = |m: &BTreeMap<String, Measure>| m.keys().cloned().collect();
            self.sides(&names(&sample.measures), &names(&again.measures), &unit);
            for (name, measure) in &sample.measures {
                if let Some(other) = again.measures.get(name) {
                    self.measure(&format!("{unit} {name}"), name, measure, other);
                }
            }
        }
    }

    fn sides(&mut self, expected: &BTreeSet<String>, actual: &BTreeSet<String>, of: &str) {
        let missing = expected.difference(actual);
        let lines = missing.map(|name| format!("{of} {name}: only in the reference"));
        self.unmatched.extend(lines);
        let extra = actual.difference(expected);
        let lines = extra.map(|name| format!("{of} {name}: not in the reference"));
        self.unmatched.extend(lines);
    }

    fn measure(&mut self, id: &str, name: &str, expected: &Measure, actual: &Measure) {
        let kind = name.split('.').next().unwrap_or(name);
        let spread = self.kinds.entry(kind.to_owned()).or_default();
        match (expected, actual) {
            (Measure::Scalar(e), Measure::Scalar(a)) => spread.add(*e, *a, || id.to_owned()),
            (Measure::Series(e), Measure::Series(a)) if e.len() == a.len() => {
                for (i, (e, a)) in e.iter().zip(a).enumerate() {
                    spread.add(*e, *a, || format!("{id}[{i}]"));
                }
            }
            _ => self
                .unmatched
                .push(format!("{id}: another number of values")),
        }
    }
}

/// A record's model, with the revision that its key names.
fn label(key: &RecordKey) -> String {
    match key.revision.as_str() {
        "local" => key.model.clone(),
        _ if key.model.contains('@') => key.model.clone(),
        revision => format!("{}@{revision}", key.model),
    }
}

/// The fields in which two keys may not differ and do.
fn apart(a: &RecordKey, b: &RecordKey) -> Vec<&'static str> {
    let fields = [
        ("experiment", a.experiment != b.experiment),
        (
            "version of experiment.toml",
            a.spec_version != b.spec_version,
        ),
        ("experiment.toml", a.spec_sha256 != b.spec_sha256),
        ("model", a.model != b.model || a.revision != b.revision),
        ("family of models", a.family != b.family),
        ("weights", a.weights_sha256 != b.weights_sha256),
        ("tokenizer", a.tokenizer_sha256 != b.tokenizer_sha256),
        ("prompt set", a.prompts_sha256 != b.prompts_sha256),
        ("dtype", a.dtype != b.dtype),
        (
            "setting",
            a.setting != b.setting || a.switches != b.switches,
        ),
    ];
    let differing = fields.into_iter().filter(|(_, is)| *is);
    differing.map(|(name, _)| name).collect()
}

/// golden/drift.json: the drift that was measured, variation by variation.
/// `cargo xtask drift --write` writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// In the order of the command's own list.
    pub variations: Vec<Variation>,
}

/// One way of running the same programs on the same models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variation {
    /// As `--build` takes it.
    pub name: String,
    /// In words.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a variation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It could not be run, and why.
    NotRun(String),
    /// It ran.
    Ran(Ran),
}

/// A variation that ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ran {
    /// Day, as 2026-01-31.
    pub date: String,
    /// The machine's class, in words.
    pub machine: String,
    /// Compiler, libraries, emulator.
    pub versions: Vec<String>,
    /// Device class of the records that were made.
    pub device_class: String,
    /// Device class of the reference.
    pub reference: String,
    /// Experiment -> drift of its records.
    pub records: BTreeMap<String, RecordDrift>,
    /// Class -> drift of the numbers of summaries from the golden ones.
    pub numbers: BTreeMap<Tolerance, BySize>,
    /// Verdicts compared with the golden ones.
    pub verdicts: usize,
    /// Golden values that do not hold, and verdicts that flipped.
    pub off: Vec<String>,
}

impl Drift {
    /// Reads golden/drift.json.
    ///
    /// # Errors
    /// The file cannot be read or is of another form.
    pub fn load(golden: &Path) -> Result<Self, GoldenError> {
        let path = golden.join("drift.json");
        let text = std::fs::read_to_string(&path).map_err(|source| GoldenError::Io {
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|e| GoldenError::Malformed {
            path,
            reason: e.to_string(),
        })
    }

    /// The variations that ran.
    pub fn ran(&self) -> impl Iterator<Item = (&Variation, &Ran)> {
        self.variations.iter().filter_map(|v| match &v.outcome {
            Outcome::Ran(ran) => Some((v, ran)),
            Outcome::NotRun(_) => None,
        })
    }

    /// The drift of the numbers of a class over all variations.
    #[must_use]
    pub fn of_class(&self, class: Tolerance) -> BySize {
        let mut all = BySize::default();
        for (_, ran) in self.ran() {
            if let Some(sizes) = ran.numbers.get(&class) {
                all.join(sizes);
            }
        }
        all
    }
}

/// Below this the bound of a class never goes, whatever was measured.
///
/// - Rounding: ten roundings of f32.
/// - Statistical: one rank among 199 random subspaces, the coarsest of the
///   resampled numbers. A rank that turns is too rare to be met in every
///   measurement of drift.
#[must_use]
pub fn least(class: Tolerance) -> f64 {
    match class {
        Tolerance::Exact => 0.0,
        Tolerance::Rounding => 10.0 * f64::from(f32::EPSILON),
        Tolerance::Statistical => 1.0 / 200.0,
    }
}

/// A bound of a class, absolute or relative, that follows from the largest
/// drift that was measured of its numbers below 1, or from 1 on: the next power
/// of ten from twice that drift, or from [`least`] where that is more. Exact
/// numbers do not drift.
#[must_use]
pub fn bound_from(class: Tolerance, drift: f64) -> f64 {
    if class == Tolerance::Exact {
        return 0.0;
    }
    let exponent = (2.0 * drift).max(least(class)).log10().ceil();
    // Parsed, since powi is not exact.
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}
