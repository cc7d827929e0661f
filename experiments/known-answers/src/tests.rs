#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_experiment::Experiment;
use assay_record::{Direction, ExperimentSpec};

use crate::KnownAnswers;
use crate::planted::INSTRUMENTS;

/// A draw passes by the mark that is declared for the mean.
#[test]
fn marks_are_the_declared_ones() {
    let text = KnownAnswers.spec_text();
    let spec = ExperimentSpec::parse(text, Path::new("experiment.toml")).unwrap();
    for instrument in &INSTRUMENTS {
        let claim = spec.claim(&format!("known.{}", instrument.name)).unwrap();
        assert_eq!(claim.smallest_effect, instrument.mark, "{}", claim.id);
        assert_eq!(claim.direction == Direction::Positive, instrument.up);
        let (n, noise) = instrument.at;
        assert!(instrument.sizes.contains(&n) && instrument.noises.contains(&noise));
    }
}
