use serde::{Deserialize, Serialize};

/// How a record came to be: what may differ between two equal records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// When its unit was begun, in seconds of the epoch.
    pub at: u64,
    /// Name of the machine.
    pub host: String,
    /// The commit that was checked out; "+" if the tree differed from it.
    pub commit: String,
    /// Arguments of cargo xtask.
    pub command: Vec<String>,
    /// Threads that there were.
    pub threads: usize,
    /// Milliseconds of the experiment alone, model loading excluded.
    pub milliseconds: u64,
}
