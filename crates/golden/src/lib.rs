//! Expected numbers, and the comparison with what a run found.
//!
//! Two kinds of file under golden/:
//! - `<experiment>/<scope>.json`: the numbers of a summary, as an earlier run
//!   found them. The scope is a model, "published" for numbers computed from
//!   published data alone, or "across" for those over several models. Only
//!   `cargo xtask golden --update` writes them.
//! - `<experiment>/<model>.reference.json`: measures of a record as an
//!   independent implementation gives them, written by a generator.
//!
//! The comparison is two-sided, `|a - e| <= abs + rel * |e|`; NaN fails. The
//! bounds of the classes follow from `drift.json`, the measured drift between
//! builds and machines.

mod compare;
mod drift;
mod error;
mod expected;
mod reference;

pub use compare::{Computed, Difference, Finding, bounds, within};
pub use drift::{BySize, Drift, Outcome, Ran, RecordDrift, Spread, Variation, bound_from, least};
pub use error::GoldenError;
pub use expected::{
    Expected, SCOPES, SummaryDrift, compare_summary, drift_of_summary, update_summary,
};
pub use reference::{Reference, compare_record};
