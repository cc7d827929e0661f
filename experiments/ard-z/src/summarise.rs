use assay_experiment::ExperimentError;
use assay_record::{ExperimentSpec, NotRun, Record, Summary};
pub(crate) fn summarise(
    spec: ExperimentSpec,
    records: &[Record],
    not_run: &[NotRun],
) -> Result<Summary, ExperimentError> {
    Ok(assay_experiment::page::Page::new("ard-z", spec, records, not_run)?.summary)
}
