//! What follows from the records. (Being written.)
use assay_experiment::ExperimentError;
use assay_experiment::page::Page;
use assay_record::{ExperimentSpec, NotRun, Record, Summary};

pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    Ok(Page::new("suite-anatomy", spec, records, not_run)?.summary)
}
