//! What a sweep's units need, asked of one worker process for all of them.

use std::path::Path;

use assay_record::wire::{Event, SurveyRequest};

use super::{Sweep, Unit};
use crate::bars::{Bar, human_bytes};
use crate::worker;

impl Sweep {
    /// Finds what the store has of every unit, and what the rest takes.
    /// A model may take `limit` bytes of memory.
    pub(crate) fn survey(&mut self, worker: &Path, limit: Option<u64>) -> anyhow::Result<()> {
        let asked: Vec<usize> = (0..self.units.len())
            .filter(|i| self.units[*i].request.is_ok())
            .collect();
        let requests = asked
            .iter()
            .filter_map(|i| self.units[*i].request().cloned());
        let request = serde_json::to_string(&SurveyRequest {
            units: requests.collect(),
            memory: limit,
        })?;
        let mut bar = Bar::new("plan");
        let total = asked.len() as u64;
        let mut done = 0;
        let units = &mut self.units;
        worker::talk(worker, &["survey"], Some(&request), &mut |event| {
            match event {
                Event::Surveyed { unit, survey } => {
                    done += 1;
                    bar.steps("looking into the store", done, total);
                    if let Some(unit) = asked.get(unit).and_then(|i| units.get_mut(*i)) {
                        take(unit, survey, limit);
                    }
                }
                Event::Warning { message } => bar.say(&message),
                _ => {}
            }
            Ok(())
        })
    }
}

fn take(unit: &mut Unit, survey: Result<assay_record::wire::Survey, String>, limit: Option<u64>) {
    let survey = match survey {
        Ok(survey) => survey,
        Err(reason) => {
            unit.request = Err(reason);
            return;
        }
    };
    unit.present = survey.present;
    let Some(work) = survey.work else {
        return;
    };
    if let Some(limit) = limit.filter(|limit| work.memory > *limit) {
        unit.request = Err(format!(
            "too large: even block by block it needs {} of memory and {} are free",
            human_bytes(work.memory),
            human_bytes(limit)
        ));
        return;
    }
    if let Ok(request) = &mut unit.request {
        request.hold.streamed = work.streamed;
    }
    unit.work = Some(work);
}
