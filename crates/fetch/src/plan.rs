//! What each model needs; the hub is asked where the lock cannot say.

use assay_source::protocol::Event;
use assay_source::{Lock, ModelCache, Plan, Registry, Source};

use crate::failure::{Failure, Outcome};
use crate::hub::{Asking, Hub};
use crate::report::Reporter;

/// Report a plan for every model; false when one could not be made in full.
pub(crate) fn plan_all(
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
    hub: &Hub,
    report: &Reporter,
    models: &[String],
) -> anyhow::Result<bool> {
    for model in models {
        let failure = match assay_source::plan(registry, lock, cache, model) {
            Err(error) => Some(Failure::from(error)),
            Ok(mut plan) => {
                let asked = ask_the_hub(registry, hub, report, model, &mut plan);
                report.say(&event(plan))?;
                asked.err()
            }
        };
        if let Some(failure) = failure {
            let (kind, message) = (failure.kind, failure.message);
            report.say(&Event::Error {
                model: model.clone(),
                kind,
                message,
            })?;
        }
    }
    Ok(!report.failed())
}

/// Sizes of an unlocked hub model, from the hub's listing.
fn ask_the_hub(
    registry: &Registry,
    hub: &Hub,
    report: &Reporter,
    model: &str,
    plan: &mut Plan,
) -> Outcome<()> {
    let request = registry.find(model)?;
    let Source::Hub(source) = &request.entry.source else {
        return Ok(());
    };
    if plan.locked || hub.offline {
        return Ok(());
    }
    let asking = Asking {
        report,
        model,
        file: "",
    };
    let commit = hub.commit(asking, &source.repo, &request.revision)?;
    let there = hub.list(asking, &source.repo, &commit)?;
    let names: Vec<String> = there.iter().map(|file| file.name.clone()).collect();
    let wanted = source.files.select(&names)?;
    let bytes = there
        .iter()
        .filter(|file| wanted.contains(&file.name))
        .fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
    plan.bytes = Some(bytes);
    plan.bytes_to_fetch = Some(bytes);
    Ok(())
}

fn event(plan: Plan) -> Event {
    Event::Plan {
        model: plan.model,
        revision: plan.revision,
        locked: plan.locked,
        bytes: plan.bytes,
        bytes_present: plan.bytes_present,
        bytes_to_fetch: plan.bytes_to_fetch,
        licence: plan.licence,
        must_accept: plan.must_accept,
        gated: plan.gated,
    }
}
