//! What assay writes down: declared experiments, samples, records, summaries,
//! and the content-addressed store that keeps them.
//!
//! This crate is the serde edge of the workspace. It builds without a tensor
//! library, so that xtask, golden and report can read everything a worker
//! wrote. Every wire format carries a version; another version is refused.

mod canonical;
mod claim;
mod claims;
mod computing;
mod error;
mod fingerprint;
mod key;
mod made;
mod sample;
mod sealed;
mod spec;
mod store;
mod summary;
pub mod wire;

pub use canonical::{canonical_json, sha256_hex};
pub use claim::{Attempt, Claim as UnitClaim, Holder, PATIENCE, hostname};
pub use claims::{ClaimEntry, ClaimsFile, ExperimentClaims};
pub use computing::{ComputeDevice, ComputeType};
pub use error::RecordError;
pub use fingerprint::{NUMERIC_SOURCES, numeric_fingerprint};
pub use key::{RECORDING, RecordKey, SWITCHES, switches_in_force};
pub use made::Made;
pub use sample::{Measure, ModelFacts, Record, Sample};
pub use sealed::Seal;
pub use spec::{Claim, Direction, ExperimentSpec, Prompt, PromptFile, PromptFormat, PromptSet};
pub use store::{Store, write_atomically};
pub use summary::{
    Agreement, Axis, Bar, Cell, ClaimVerdict, Column, Comparison, Erratum, Evidence, Figure, Fit,
    Format, Line, ModelRow, NotRun, Number, Panel, Plot, Point, Summary, Table, Tolerance, Verdict,
};
