//! Tables of one model.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, PLAIN, Page, R, SHARE, Style, must, words};
use assay_record::Cell;
use assay_stats as stats;

use super::claims::{ratios, strips};
use super::measured::{Measured, argmax, mean};

const SITES: [&str; 3] = ["attn-out", "mlp-out", "resid-post"];

/// Attention to position 0 from which a head is counted as a sink.
const SINK: f64 = 0.3;

/// Writes numbers and returns their cells.
struct Row<'p, 'm> {
    page: &'p mut Page,
    m: &'m Measured<'m>,
    id: String,
    cells: Vec<Cell>,
}

impl<'p, 'm> Row<'p, 'm> {
    fn new(page: &'p mut Page, m: &'m Measured<'m>, id: &str, names: &[&str]) -> Self {
        Self {
            page,
            m,
            id: id.to_owned(),
            cells: names.iter().map(|n| words(*n)).collect(),
        }
    }

    fn put(&mut self, part: &str, value: Option<f64>, style: Style) -> Result<(), ExperimentError> {
        let cell = match value {
            Some(value) => {
                let id = self.m.id(&format!("{}.{part}", self.id));
                let what = format!("{} {part}, {}", self.id, self.m.name);
                Cell::Number(self.page.put(&id, &what, value, style, &self.m.origin)?)
            }
            None => Cell::Missing("not measured on these texts".to_owned()),
        };
        self.cells.push(cell);
        Ok(())
    }
}

pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    norms(page, m)?;
    massive(page, m)?;
    sinks(page, m)?;
    lens(page, m)?;
    gradients(page, m)?;
    ablation(page, m)?;
    shape(page, m)?;
    patching(page, m)
}

fn table(
    page: &mut Page,
    m: &Measured<'_>,
    id: &str,
    title: &str,
    caption: &str,
    columns: &[&str],
    rows: Vec<Vec<Cell>>,
) {
    let id = format!("anatomy-{id}-{}", m.key.replace('.', "-"));
    page.table(&id, &format!("{title}, {}", m.name), caption, columns, rows);
}

fn norms(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for set in m.sets() {
        for site in SITES {
            let Some(series) = m.mean_series(Some(set), &format!("norm.{site}.by-layer"))? else {
                continue;
            };
            let first = m.mean_series(Some(set), &format!("norm.{site}.first"))?;
            let rest = m.mean_series(Some(set), &format!("norm.{site}.rest"))?;
            let gap = first.zip(rest).map(|(f, r)| {
                f.iter()
                    .zip(r)
                    .map(|(f, r)| f - r)
                    .fold(f64::NEG_INFINITY, f64::max)
            });
            let mut row = Row::new(page, m, &format!("norm.{set}.{site}"), &[set, site]);
            row.put("peak-layer", Some(argmax(&series) as f64), COUNT)?;
            row.put("peak", series.get(argmax(&series)).copied(), PLAIN)?;
            row.put("strips", Some(strips(&series) as f64), COUNT)?;
            row.put("first-token-excess", gap, PLAIN)?;
            rows.push(row.cells);
        }
    }
    table(
        page,
        m,
        "norms",
        "Norm maps in numbers",
        "Log of the mean norm over a text's tokens, mean over texts, by layer: the layer of its \
         peak, the peak, the number of runs of layers above the middle of its range, and the \
         largest difference over layers of log norms at the first token and elsewhere.",
        &[
            "set",
            "site",
            "#peak layer",
            "#log norm there",
            "#strips",
            "#first token",
        ],
        rows,
    );
    Ok(())
}

fn massive(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for set in m.sets() {
        let texts = m.having(Some(set), "massive.top-1.by-layer");
        let (mut top, mut first, mut where_, mut value) = (Vec::new(), 0.0, Vec::new(), Vec::new());
        let mut counts = vec![0usize; m.layers];
        for s in &texts {
            let found = ratios(m, s)?;
            let at = argmax(&found);
            top.push(found[at]);
            value.push(m.by_layer(s, "massive.top-1.by-layer")?[at]);
            where_.push(m.by_layer(s, "massive.dimension.by-layer")?[at]);
            let position = m.by_layer(s, "massive.position.by-layer")?[at];
            first += f64::from(u8::from(position == 0.0)) / texts.len() as f64;
            for (count, sun) in counts
                .iter_mut()
                .zip(m.by_layer(s, "massive.sun.by-layer")?)
            {
                *count += usize::from(*sun > 0.0);
            }
        }
        let median = |x: &[f64]| must("median over texts", stats::median(x));
        let most = |l: &usize| counts[*l] * 2 > texts.len();
        let (from, to) = ((0..m.layers).find(most), (0..m.layers).rev().find(most));
        let dimension = where_.iter().copied().max_by_key(|d| {
            (
                where_.iter().filter(|e| *e == d).count(),
                std::cmp::Reverse(*d as u64),
            )
        });
        let mut row = Row::new(page, m, &format!("massive.{set}"), &[set]);
        row.put("ratio", Some(median(&top)?), PLAIN)?;
        row.put("value", Some(median(&value)?), PLAIN)?;
        row.put("dimension", dimension, COUNT)?;
        row.put("first-token", Some(first), SHARE)?;
        row.put("from", from.map(|l| l as f64), COUNT)?;
        row.put("to", to.map(|l| l as f64), COUNT)?;
        rows.push(row.cells);
    }
    table(
        page,
        m,
        "massive",
        "Massive activations of the residual",
        "Medians over texts, in the layer where a text's largest activation over its median is \
         largest: that ratio, the activation, its commonest dimension, the share of texts where \
         it stands at the first token; and the first and last layer where more than half of the \
         texts have an activation above 100 and above 1000 medians (Sun et al. 2024).",
        &[
            "set",
            "#over median",
            "#value",
            "#dimension",
            "#at first token",
            "#from layer",
            "#to layer",
        ],
        rows,
    );
    Ok(())
}

fn sinks(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for set in m.sets() {
        let over = |measure: &str| -> Result<Option<f64>, ExperimentError> {
            let series = m.mean_series(Some(set), measure)?;
            Ok(series.map(|s| mean(&s)))
        };
        let texts = m.having(Some(set), "sink.expected");
        let expected = texts.iter().map(|s| s.get("sink.expected"));
        let expected = expected.collect::<Result<Vec<_>, _>>()?;
        let map = m.map(&format!("map.sink.{set}"))?.unwrap_or_default();
        let above = map.iter().filter(|v| **v > SINK).count() as f64 / map.len().max(1) as f64;
        let mut row = Row::new(page, m, &format!("sink.{set}"), &[set]);
        row.put("first", over("sink.first.by-layer")?, R)?;
        row.put("expected", Some(mean(&expected)), R)?;
        row.put("heads", Some(above), SHARE)?;
        row.put("delimiter", over("sink.delimiter.by-layer")?, R)?;
        row.put("other", over("sink.other.by-layer")?, R)?;
        for part in ["q", "k", "v"] {
            row.put(
                &format!("norm-{part}"),
                over(&format!("sink.norm-{part}.by-layer"))?,
                R,
            )?;
        }
        for part in ["q", "k", "v"] {
            row.put(
                &format!("cosine-{part}"),
                over(&format!("sink.cosine-{part}.by-layer"))?,
                R,
            )?;
        }
        rows.push(row.cells);
    }
    table(
        page,
        m,
        "sinks",
        "Attention sinks",
        "Means over texts, layers and heads: attention to position 0 by later queries and its \
         equal share, the share of heads that give it more than 0.3, attention to one earlier \
         delimiter and to one other token; norms of q, k, v at position 0 over those elsewhere, \
         and their cosines with the others.",
        &[
            "set",
            "#to first",
            "#equal",
            "#sink heads",
            "#delimiter",
            "#other",
            "#|q|",
            "#|k|",
            "#|v|",
            "#cos q",
            "#cos k",
            "#cos v",
        ],
        rows,
    );
    Ok(())
}

/// Layers at the quarters of the depth.
fn quarters(layers: usize) -> [usize; 5] {
    [0, 1, 2, 3, 4].map(|q| q * (layers - 1) / 4)
}

fn lens(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for (measure, name) in [
        ("kl", "KL to the final, nats"),
        ("log-rank", "log10 rank of the true token"),
        ("hit", "true token likeliest"),
    ] {
        let Some(series) = m.mean_series(None, &format!("lens.{measure}.by-layer"))? else {
            continue;
        };
        let mut row = Row::new(page, m, &format!("lens.{measure}"), &[name]);
        for (q, l) in quarters(m.layers).into_iter().enumerate() {
            row.put(&format!("quarter-{q}"), series.get(l).copied(), R)?;
        }
        rows.push(row.cells);
    }
    table(
        page,
        m,
        "lens",
        "Logit lens",
        "The residual after a layer read through final norm and unembedding: means over texts \
         and positions, at the quarters of the depth.",
        &["measure", "#first", "#1/4", "#1/2", "#3/4", "#last"],
        rows,
    );
    Ok(())
}

fn gradients(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for what in [
        "attn-out",
        "mlp-out",
        "resid-post",
        "attn-weight",
        "mlp-weight",
    ] {
        let Some(series) = m.mean_series(None, &format!("gradient.{what}.by-layer"))? else {
            continue;
        };
        let total: f64 = series.iter().sum();
        let mut row = Row::new(page, m, &format!("gradient.{what}"), &[what]);
        let depth = (argmax(&series) as f64 + 0.5) / m.layers as f64;
        row.put("peak-layer", Some(argmax(&series) as f64), COUNT)?;
        row.put("peak-depth", Some(depth), R)?;
        for q in 0..4 {
            let inside = |l: usize| l * 4 / m.layers == q;
            let part: f64 = (0..m.layers)
                .filter(|l| inside(*l))
                .map(|l| series[l])
                .sum();
            row.put(&format!("quarter-{q}"), Some(part / total), SHARE)?;
        }
        rows.push(row.cells);
    }
    table(
        page,
        m,
        "gradients",
        "Gradients of the next-token loss",
        "Norms by layer, mean over texts: with respect to the activations at a site, and to the \
         weights that project into the residual. Where the largest lies, and each quarter of the \
         layers' share of the sum.",
        &[
            "of",
            "#peak layer",
            "#peak depth",
            "#quarter 1",
            "#2",
            "#3",
            "#4",
        ],
        rows,
    );
    Ok(())
}

fn ablation(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for site in ["attn-out", "mlp-out", "resid-post", "embedding"] {
        for kind in ["subtract", "subtract-others", "mean", "zero", "resample"] {
            let id = format!("ablation.{site}.{kind}");
            let Some(kl) = m.mean_series(None, &format!("{id}.kl"))? else {
                continue;
            };
            let loss = m
                .mean_series(None, &format!("{id}.loss"))?
                .unwrap_or_default();
            let mut row = Row::new(page, m, &id, &[site, &kind.replace('-', " ")]);
            for q in 0..5 {
                row.put(&format!("kl-{q}"), kl.get(q).copied(), R)?;
            }
            row.put("kl", Some(mean(&kl)), R)?;
            row.put("loss", Some(mean(&loss)), R)?;
            rows.push(row.cells);
        }
    }
    if rows.is_empty() {
        rows.push(vec![
            words("NOT APPLICABLE"),
            words("no text has a length tag"),
        ]);
        for _ in 0..7 {
            rows[0].push(Cell::Missing("no text has a length tag".to_owned()));
        }
    }
    table(
        page,
        m,
        "ablation",
        "What the model loses without an activation",
        "KL in nats of the plain next-token distribution from the changed one, with the \
         activation replaced in one layer at all positions: reduced by the mean vector over all \
         sets at the aligned position, or by that of the other sets; replaced by that mean, by \
         nothing, by another text's. Columns are layers at the quarters of the depth, their mean, \
         and the change of the next-token loss. The embedding is replaced once.",
        &[
            "site",
            "change",
            "#first",
            "#1/4",
            "#1/2",
            "#3/4",
            "#last",
            "#mean KL",
            "#mean loss",
        ],
        rows,
    );
    Ok(())
}

fn shape(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for (measure, name) in [
        ("spectrum.attn-out.rank", "effective rank, attn_out"),
        ("spectrum.mlp-out.rank", "effective rank, mlp_out"),
        ("spectrum.resid-post.rank", "effective rank, resid_post"),
        ("spectrum.first.rank", "the same, first tokens in"),
        ("cka.attn-mlp", "CKA of attn_out and mlp_out"),
    ] {
        let Some(series) = m.map(measure)? else {
            continue;
        };
        let mut row = Row::new(page, m, measure, &[name]);
        for (q, l) in quarters(m.layers).into_iter().enumerate() {
            row.put(&format!("quarter-{q}"), series.get(l).copied(), PLAIN)?;
        }
        rows.push(row.cells);
    }
    for what in ["own", "others"] {
        let measure = format!("influence.{what}.by-layer");
        if let Some(series) = m.mean_series(None, &measure)? {
            let name = format!("cosine with the vector of {what}");
            let mut row = Row::new(page, m, &format!("influence.{what}"), &[&name]);
            for (q, l) in quarters(m.layers).into_iter().enumerate() {
                row.put(&format!("quarter-{q}"), series.get(l).copied(), R)?;
            }
            rows.push(row.cells);
        }
    }
    table(
        page,
        m,
        "shape",
        "Spectra, alignment and the sets' own vectors",
        "Effective rank exp(H) of the covariance over a sample of tokens without position 0 (and \
         with it), linear CKA of both sublayers' outputs, and the cosine of a text's mean \
         activation, less the mean over sets, with its own set's and the other sets' vectors, at \
         the quarters of the depth.",
        &["measure", "#first", "#1/4", "#1/2", "#3/4", "#last"],
        rows,
    );
    let mut rows = Vec::new();
    for site in SITES {
        let mut row = Row::new(page, m, &format!("warping.{site}"), &[site]);
        for what in ["own", "others"] {
            let measure = format!("warping.{site}.{what}");
            let values = m
                .having(None, &measure)
                .into_iter()
                .map(|s| s.get(&measure));
            let values = values.collect::<Result<Vec<_>, _>>()?;
            row.put(what, (!values.is_empty()).then(|| mean(&values)), R)?;
        }
        let mut gains = Vec::new();
        for set in m.sets() {
            gains.extend(m.of_model(&format!("map.barycentre.{site}.{set}.gain"))?);
        }
        row.put(
            "barycentre-gain",
            (!gains.is_empty()).then(|| mean(&gains)),
            SHARE,
        )?;
        rows.push(row.cells);
    }
    table(
        page,
        m,
        "warping",
        "Texts of different lengths, warped on one another",
        "Mean dynamic-time-warping distance (per step) of a text's profile of log norms to texts \
         of its own set and of the others, and the share of the inertia about the plain mean that \
         the DTW barycentre saves, mean over sets.",
        &["site", "#own set", "#other sets", "#saved"],
        rows,
    );
    Ok(())
}

fn patching(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for place in [
        "attn-out",
        "mlp-out",
        "resid-post-changed",
        "resid-post-last",
    ] {
        let truth = format!("patch.{place}.true");
        let (mut all, mut rhos) = ([Vec::new(), Vec::new()], Vec::new());
        for s in m.having(None, &truth) {
            let found = m.by_layer(s, &truth)?;
            let estimate = m.by_layer(s, &format!("patch.{place}.attribution"))?;
            all[0].extend_from_slice(estimate);
            all[1].extend_from_slice(found);
            rhos.extend(stats::spearman(estimate, found).ok().map(|r| r.r));
        }
        let pooled = stats::spearman(&all[0], &all[1]).ok().map(|r| r.r);
        let same = all[0]
            .iter()
            .zip(&all[1])
            .filter(|(a, b)| a.signum() == b.signum());
        let share = (!all[0].is_empty()).then(|| same.count() as f64 / all[0].len() as f64);
        let mut row = Row::new(
            page,
            m,
            &format!("patch.{place}"),
            &[&place.replace('-', " ")],
        );
        row.put("by-pair", (!rhos.is_empty()).then(|| mean(&rhos)), R)?;
        row.put("pooled", pooled, R)?;
        row.put("same-sign", share, SHARE)?;
        rows.push(row.cells);
    }
    let mut row = Row::new(page, m, "pair", &["pairs that fit"]);
    row.put("fitting", m.of_model("pair.fitting")?, COUNT)?;
    row.put("left-out", m.of_model("pair.left-out")?, COUNT)?;
    let right = m.having(None, "pair.clean");
    let n = right.len();
    let mut prefers = 0usize;
    for s in right {
        prefers += usize::from(s.get("pair.clean")? > 0.0 && s.get("pair.corrupt")? < 0.0);
    }
    row.put("prefers", (n > 0).then(|| prefers as f64 / n as f64), SHARE)?;
    rows.push(row.cells);
    table(
        page,
        m,
        "patching",
        "Attribution patching against activation patching",
        "Spearman's rho over layers of the estimated and the true change of the metric, mean over \
         pairs and pooled over pairs and layers, and the share of equal signs. Last row: pairs \
         that fit this tokenizer, pairs left out, and the share of pairs where both runs prefer \
         their own answer.",
        &["patched", "#by pair", "#pooled", "#same sign"],
        rows,
    );
    Ok(())
}
