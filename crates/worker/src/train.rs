use std::path::Path;

use anyhow::Context;
use assay_record::wire::{Event, SuiteModel};
use assay_train::Suite;

use crate::emit;

fn read(suite: &Path) -> anyhow::Result<Suite> {
    let path = suite.join("suite.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    Ok(Suite::parse(&text, &path)?)
}

/// Prints the models of a suite as a list of [`SuiteModel`].
pub(crate) fn list(suite: &Path) -> anyhow::Result<()> {
    let models: Vec<SuiteModel> = (read(suite)?.organisms().into_iter())
        .map(|organism| SuiteModel {
            there: organism.is_in(&suite.join(&organism.name)),
            steps: organism.training.steps,
            name: organism.name,
        })
        .collect();
    println!("{}", serde_json::to_string(&models)?);
    Ok(())
}

/// Trains one model into the suite's folder.
pub(crate) fn train(suite: &Path, name: &str, work: &Path) -> anyhow::Result<()> {
    let organisms = read(suite)?.organisms();
    let organism = organisms.iter().find(|o| o.name == name);
    let organism = organism.with_context(|| format!("{} has no {name}", suite.display()))?;
    let total = organism.training.steps;
    let trained = organism.train(suite, work, &mut |loss, done| {
        // xtask that is gone is noticed at the next write of a state.
        let _ = emit(&Event::Progress {
            stage: format!("{loss:.3}"),
            done,
            total,
        });
    })?;
    emit(&Event::Trained {
        model: name.to_owned(),
        valid_loss: trained.valid_loss,
        trigram_loss: trained.trigram_loss,
        weights_sha256: trained.weights_sha256,
    })
}
