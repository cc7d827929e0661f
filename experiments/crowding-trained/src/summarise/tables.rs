//! The comparisons, the cells, and every model.

use std::collections::BTreeMap;

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, GAIN, Origin, PLAIN, Page, Style, must, slug, words};
use assay_record::Cell;
use assay_stats as stats;

use super::id;
use crate::design::{COMPARISONS, POWER, Reading, Unit};

pub(crate) fn write(
    page: &mut Page,
    units: &[Unit<'_>],
    controls: &[Unit<'_>],
) -> Result<(), ExperimentError> {
    comparisons(page);
    if units.is_empty() {
        return Ok(());
    }
    cells(page, units)?;
    models(page, units, controls)
}

fn comparisons(page: &mut Page) {
    let mut rows = Vec::new();
    for comparison in &COMPARISONS {
        let of = |rest: &str| page.cell(&id(comparison, rest), "not run");
        rows.push(vec![
            words(comparison.claim.trim_start_matches("crowding.")),
            words(comparison.per),
            of(".models"),
            of(""),
            of(".low"),
            of(".high"),
            of(".p"),
            of(".sd"),
            of(".detectable"),
            of(".untrained"),
            of(".untrained.p"),
        ]);
    }
    page.table(
        "comparisons",
        "What changes log gain",
        &format!(
        "Least squares with a term for every stratum, p by permuting within strata. The deviation is \
         that of the residuals; the detectable change is found with a power of {POWER} before Holm. The \
         last two columns are of the same models before the first step of training: what is there \
         already was not learnt. Learned positions are GPT-2's form, which also ties its embeddings and \
         computes GELU by tanh."
        ),
        &[
            "comparison",
            "for one",
            "#models",
            "#change",
            "#lower",
            "#upper",
            "#p",
            "#deviation",
            "#detectable",
            "#untrained",
            "#p",
        ],
        rows,
    );
}

/// Means over the seeds of a cell with their deviation.
fn cells(page: &mut Page, units: &[Unit<'_>]) -> Result<(), ExperimentError> {
    let mut by_cell: BTreeMap<&str, Vec<&Unit<'_>>> = BTreeMap::new();
    for unit in units {
        by_cell.entry(&unit.cell).or_default().push(unit);
    }
    let mut rows = Vec::new();
    for (cell, models) in by_cell {
        let origin = Origin::join(models.iter().map(|u| &u.subject.origin));
        let key = slug(cell);
        let of = |rest: &str| format!("crowding.cell.{key}.{rest}");
        let Some(first) = models.first() else {
            continue;
        };
        page.put(
            &of("rho"),
            &format!("head density, {cell}"),
            first.rho(),
            PLAIN,
            &origin,
        )?;
        page.put(
            &of("models"),
            &format!("models of {cell}"),
            models.len() as f64,
            COUNT,
            &origin,
        )?;
        let mut row = vec![
            words(cell),
            words(first.stratum()),
            Cell::Number(of("rho")),
            Cell::Number(of("models")),
        ];
        for reading in Reading::ALL {
            let logs: Vec<f64> = models.iter().map(|u| u.log_gain(reading)).collect();
            let id = of(reading.id());
            let what = format!("mean log gain of the {}, {cell}", reading.words());
            page.put(&id, &what, must(cell, stats::mean(&logs))?, GAIN, &origin)?;
            let what = format!("{what}: standard deviation over seeds");
            let sd = page.try_put(
                &format!("{id}.sd"),
                &what,
                stats::sd_sample(&logs),
                GAIN,
                &origin,
            )?;
            row.extend([Cell::Number(id), sd.cell()]);
        }
        rows.push(row);
    }
    page.table(
        "cells",
        "Log gain by cell",
        "Mean over the seeds of a cell of the mean log gain over prompts, and the standard deviation \
         over seeds: a difference between cells that is no larger may be chance. That of the stack is \
         the mean a block.",
        &[
            "cell",
            "stratum",
            "#rho",
            "#models",
            "#penultimate block",
            "#seeds",
            "#last block",
            "#seeds",
            "#stack",
            "#seeds",
        ],
        rows,
    );
    Ok(())
}

fn models(
    page: &mut Page,
    units: &[Unit<'_>],
    controls: &[Unit<'_>],
) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for unit in units.iter().chain(controls) {
        let s = unit.subject;
        let mut row = vec![words(s.name.clone())];
        let all: [(&str, &str, f64, Style); 11] = [
            ("layers", "layers", unit.layers, COUNT),
            ("heads", "heads", unit.heads, COUNT),
            ("d-head", "width of a head", unit.d_head, COUNT),
            ("rho", "head density", unit.rho(), PLAIN),
            ("seed", "seed of the weights", unit.seed, COUNT),
            ("valid-loss", "loss on held-out text", unit.valid_loss, GAIN),
            (
                "trigram-loss",
                "a trigram model's loss",
                unit.trigram_loss,
                GAIN,
            ),
            (
                "as-published",
                "mean log gain of the penultimate block",
                unit.log_gain(Reading::AsPublished),
                GAIN,
            ),
            (
                "last-block",
                "mean log gain of the last block",
                unit.log_gain(Reading::LastBlock),
                GAIN,
            ),
            (
                "stack",
                "mean log gain a block",
                unit.log_gain(Reading::Stack),
                GAIN,
            ),
            (
                "untrained",
                "mean log gain of the penultimate block before training",
                unit.log_gain_untrained(Reading::AsPublished),
                GAIN,
            ),
        ];
        for (name, what, value, style) in all {
            let id = s.id(name);
            page.put(&id, &format!("{what}, {}", s.name), value, style, &s.origin)?;
            row.push(Cell::Number(id));
        }
        rows.push(row);
    }
    page.table(
        "models",
        "The trained models",
        "Losses in nats a token on held-out stories. All but the shuffled control know more than a \
         trigram model does; of shuffled text nothing but frequencies can be known.",
        &[
            "model",
            "#layers",
            "#heads",
            "#d_head",
            "#rho",
            "#seed",
            "#loss",
            "#trigram",
            "#penultimate",
            "#last",
            "#stack",
            "#untrained",
        ],
        rows,
    );
    Ok(())
}
