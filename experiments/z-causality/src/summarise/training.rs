//! How a model of the project's own was trained, and what it can do.

use std::collections::BTreeSet;

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, GAIN, Page, SHARE, words};
use assay_experiment::subject::Subject;
use assay_record::{Axis, Cell, Figure, Line, Panel, Plot};
use assay_train::CURVE_EVERY;

pub(crate) fn write(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let Ok(losses) = model.get_series("training.losses") else {
        return Ok(());
    };
    let trigram = model.get("training.trigram-loss")?;
    for (name, what, value) in [
        (
            "valid-loss",
            "loss on held-out problems, nats a token",
            model.get("training.valid-loss")?,
        ),
        ("trigram-loss", "a trigram model's loss on them", trigram),
    ] {
        let what = format!("{what}, {}", s.name);
        page.put(
            &s.id(&format!("training.{name}")),
            &what,
            value,
            GAIN,
            &s.origin,
        )?;
    }
    let mut rows = Vec::new();
    let languages = ["zh", "en"];
    let kinds: BTreeSet<String> = (model.measures.keys())
        .filter_map(|name| {
            let of = name.strip_prefix("training.exact.")?;
            Some(of.rsplit_once('.')?.0.to_owned())
        })
        .collect();
    for kind in kinds {
        let mut row = vec![words(kind.clone())];
        for language in languages {
            let of = model.get_series(&format!("training.exact.{kind}.{language}"));
            let Ok(&[n, share]) = of else {
                row.extend([(); 2].map(|()| Cell::Missing("none was drawn".to_owned())));
                continue;
            };
            let id = s.id(&format!("training.exact.{kind}.{language}"));
            let what = format!("held-out problems, {kind}, {language}, {}", s.name);
            page.put(&format!("{id}.n"), &what, n, COUNT, &s.origin)?;
            let what = format!("share answered exactly, {kind}, {language}, {}", s.name);
            page.put(&id, &what, share, SHARE, &s.origin)?;
            row.extend([Cell::Number(format!("{id}.n")), Cell::Number(id)]);
        }
        rows.push(row);
    }
    page.table(
        &format!("training-{}", s.key),
        &format!("What it can do, {}", s.name),
        "Problems of a split that it was not trained on, by kind: how many, and the share that is answered \
         exactly in the language asked. Sums, differences and two steps are on numbers that stand in no \
         training text; the other kinds have few items, and are new as texts only.",
        &["kind", "#Chinese", "#exact", "#English", "#exact"],
        rows,
    );
    page.summary.figures.push(Figure {
        id: format!("training-{}", s.key),
        title: format!("Learning curve, {}", s.name),
        caption: format!(
            "Training loss, mean of every {CURVE_EVERY} steps; the line across is a trigram model's loss \
             on held-out problems. With interchange interventions it is the sum of both losses."
        ),
        alt: "A falling curve of loss over steps.".to_owned(),
        panels: vec![Panel {
            title: String::new(),
            x: Axis {
                label: "step".to_owned(),
                log: true,
            },
            y: Axis {
                label: "loss, nats a token".to_owned(),
                log: true,
            },
            plot: Plot::Lines {
                lines: vec![Line {
                    label: s.name.clone(),
                    points: (losses.iter().enumerate())
                        .map(|(i, loss)| ((i + 1) as f64 * CURVE_EVERY as f64, *loss))
                        .collect(),
                    band: Vec::new(),
                }],
            },
            y_lines: vec![(trigram, "trigram".to_owned())],
            note: String::new(),
        }],
    });
    Ok(())
}
