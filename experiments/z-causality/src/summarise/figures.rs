//! Placebos around Z, updates by block, masks by layer, distances.

use assay_experiment::ExperimentError;
use assay_experiment::page::{Page, must, shown};
use assay_experiment::subject::Subject;
use assay_record::{Axis, Figure, Line, Panel, Plot};
use assay_stats as stats;

use super::updates::{plain, prompts, random};

fn axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        log: false,
    }
}

fn panel(title: &str, (x, y): (Axis, Axis), plot: Plot) -> Panel {
    Panel {
        title: title.to_owned(),
        x,
        y,
        plot,
        y_lines: Vec::new(),
        note: String::new(),
    }
}

pub(crate) fn write(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let figure = |id: &str, title: &str, caption: String, alt: &str, panels| Figure {
        id: format!("{id}-{}", s.key),
        title: format!("{title}, {}", s.name),
        caption,
        alt: alt.to_owned(),
        panels,
    };
    // Drawn and judged: where too few pairs are able, nothing is concluded.
    let judged = page
        .summary
        .numbers
        .contains_key(&s.id("beyond.haar.draws"));
    if let Some(panels) = placebos(page, s)?.filter(|_| judged) {
        let caption = format!(
            "Primary cell: mean change of log p(a_j) - log p(a_i) by patching each of {} random subspaces, \
             nats; Z is at {} and its complement at {}.",
            shown(&s.id("beyond.haar.draws")),
            shown(&s.id("primary.z")),
            shown(&s.id("primary.z-perp"))
        );
        let alt = "Histograms of the effects of random subspaces, a panel a kind, with lines at the effects \
                   of Z and of its complement.";
        page.summary.figures.push(figure(
            "placebos",
            "Z among random subspaces",
            caption,
            alt,
            panels,
        ));
    }
    let caption = format!(
        "R of what each block adds, by language; the band holds the middle 95 % of random subspaces, the \
         line is chance, {}. R = 1 would be as much inside Z as outside.",
        shown(&s.id("update.chance"))
    );
    let alt = "Lines of R over blocks for Chinese and English prompts against the band of random \
               subspaces.";
    let updates = updates(page, s)?;
    page.summary.figures.push(figure(
        "updates",
        "What each block writes into Z",
        caption,
        alt,
        updates,
    ));
    let caption =
        "Left: effective rank of K_h, mean over heads. Right: similarity of the masks of all \
                   pairs of layers at the primary k, by rows and columns of layers."
            .to_owned();
    let alt =
        "A line of effective ranks over layers and a heat map of similarities of layers' masks.";
    let masks = masks(s)?;
    page.summary
        .figures
        .push(figure("masks", "Masks by layer", caption, alt, masks));
    Ok(())
}

/// The placebos' mean effects, kind by kind, with Z and its complement.
fn placebos(page: &Page, s: &Subject<'_>) -> Result<Option<Vec<Panel>>, ExperimentError> {
    let mut marks = Vec::new();
    for (id, label) in [("primary.z", "Z"), ("primary.z-perp", "complement")] {
        let number = page.summary.numbers.get(&s.id(id));
        marks.extend(number.map(|n| (n.value, label.to_owned())));
    }
    let mut panels = Vec::new();
    for (kind, title) in [
        ("haar", "random"),
        ("matched", "of equal patch size"),
        ("perp-part", "in the complement"),
    ] {
        let name = format!("placebo.{kind}");
        let series: Vec<&[f64]> = s
            .units("pair.")
            .filter_map(|p| p.get_series(&name).ok())
            .collect();
        let draws = series.iter().map(|x| x.len()).min().unwrap_or_default();
        if draws == 0 {
            continue;
        }
        let means: Vec<f64> = (0..draws)
            .map(|i| series.iter().map(|x| x[i]).sum::<f64>() / series.len() as f64)
            .collect();
        let all = means.iter().copied().chain(marks.iter().map(|m| m.0));
        let (low, high) = all.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        let room = 0.05 * (high - low).max(1e-6);
        let (low, high) = (low - room, high + room);
        let mut counts = vec![0.0; BINS];
        for value in means {
            let bin = (value - low) / (high - low) * BINS as f64;
            counts[(bin as usize).min(BINS - 1)] += 1.0;
        }
        let axes = (axis("mean effect, nats"), axis("subspaces"));
        let marks = marks.clone();
        panels.push(panel(
            title,
            axes,
            Plot::Histogram {
                low,
                high,
                counts,
                marks,
            },
        ));
    }
    Ok((!panels.is_empty()).then_some(panels))
}

/// Bins of a histogram.
const BINS: usize = 30;

fn updates(page: &Page, s: &Subject<'_>) -> Result<Vec<Panel>, ExperimentError> {
    let draws = random(s)?;
    let mut middle = Vec::new();
    let mut band = Vec::new();
    for block in 0..s.record.facts.n_layers {
        let values: Vec<f64> = draws.iter().map(|r| r[block]).collect();
        let at = |q| must("band", stats::quantile(&values, q));
        middle.push((block as f64, at(0.5)?));
        band.push((at(0.025)?, at(0.975)?));
    }
    let mut lines = vec![Line {
        label: "random subspaces".to_owned(),
        points: middle,
        band,
    }];
    for (language, label) in [("zh", "Chinese"), ("en", "English")] {
        let values = plain(&prompts(s, Some(language)), "update")?;
        lines.push(Line {
            label: label.to_owned(),
            points: values
                .into_iter()
                .enumerate()
                .map(|(b, v)| (b as f64, v))
                .collect(),
            band: Vec::new(),
        });
    }
    let mut panel = panel("", (axis("block"), axis("R")), Plot::Lines { lines });
    let chance = page.summary.numbers.get(&s.id("update.chance"));
    panel.y_lines = chance
        .map(|n| (n.value, "chance".to_owned()))
        .into_iter()
        .collect();
    Ok(vec![panel])
}

fn masks(s: &Subject<'_>) -> Result<Vec<Panel>, ExperimentError> {
    let model = s.model()?;
    let n = s.record.facts.n_layers;
    let mut points = Vec::new();
    for layer in 0..n {
        let ranks = model.get_series(&format!("mask.rank.{layer}"))?;
        points.push((layer as f64, must("effective rank", stats::mean(ranks))?));
    }
    let lines = vec![Line {
        label: "mean over heads".to_owned(),
        points,
        band: Vec::new(),
    }];
    let ranks = panel(
        "",
        (axis("layer"), axis("effective rank of K_h")),
        Plot::Lines { lines },
    );
    let k = model.get("primary-k")?;
    let values = model.get_series(&format!("mask.similarity.all.k{k}"))?;
    let similar = panel(
        "",
        (axis("layer"), axis("layer")),
        Plot::HeatMap {
            values: values.chunks(n).map(<[f64]>::to_vec).collect(),
            label: "mean squared cosine".to_owned(),
        },
    );
    Ok(vec![ranks, similar])
}
