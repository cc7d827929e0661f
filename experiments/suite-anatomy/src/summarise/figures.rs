//! Figures of one model.

use assay_experiment::ExperimentError;
use assay_experiment::page::Page;
use assay_record::{Axis, Figure, Line, Panel, Plot, Point};

use super::measured::{Measured, mean};

fn axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        log: false,
    }
}

fn heat(title: &str, x: &str, y: &str, label: &str, flat: &[f64], columns: usize) -> Panel {
    Panel {
        title: title.to_owned(),
        x: axis(x),
        y: axis(y),
        plot: Plot::HeatMap {
            values: flat.chunks(columns.max(1)).map(<[f64]>::to_vec).collect(),
            label: label.to_owned(),
        },
        y_lines: Vec::new(),
        note: String::new(),
    }
}

fn line(label: &str, values: &[f64]) -> Line {
    Line {
        label: label.to_owned(),
        points: values
            .iter()
            .enumerate()
            .map(|(l, v)| (l as f64, *v))
            .collect(),
        band: Vec::new(),
    }
}

fn lines(title: &str, x: &str, y: &str, log: bool, lines: Vec<Line>) -> Panel {
    // What is 0 has no place on a logarithmic axis.
    let log = log && lines.iter().flat_map(|l| &l.points).all(|(_, y)| *y > 0.0);
    Panel {
        title: title.to_owned(),
        x: axis(x),
        y: Axis {
            label: y.to_owned(),
            log,
        },
        plot: Plot::Lines { lines },
        y_lines: Vec::new(),
        note: String::new(),
    }
}

fn push(
    page: &mut Page,
    m: &Measured<'_>,
    id: &str,
    [title, caption, alt]: [&str; 3],
    panels: Vec<Panel>,
) {
    if panels.is_empty() {
        return;
    }
    page.summary.figures.push(Figure {
        id: format!("anatomy-{id}-{}", m.key.replace('.', "-")),
        title: format!("{title}, {}", m.name),
        caption: caption.to_owned(),
        alt: alt.to_owned(),
        panels,
    });
}

pub(crate) fn write(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let sites = [
        ("attn-out", "attn_out"),
        ("mlp-out", "mlp_out"),
        ("resid-post", "resid_post"),
    ];
    for set in m.sets() {
        let maps = |prefix: &str, positions: &str| -> Result<Vec<Panel>, ExperimentError> {
            let columns = m.of_model(&format!("{positions}.{set}"))?.unwrap_or(1.0) as usize;
            let mut panels = Vec::new();
            for (site, title) in sites {
                if let Some(map) = m.map(&format!("{prefix}{site}.{set}"))? {
                    panels.push(heat(title, "token", "layer", "log mean norm", map, columns));
                }
            }
            Ok(panels)
        };
        let norms = maps("map.", "map.positions")?;
        let gradients = maps("map.gradient.", "map.gradient-positions")?;
        push(
            page,
            m,
            &format!("norms-{set}"),
            [
                &format!("Norm maps, {set}"),
                "Log of the mean norm over the texts of the set, by layer and token, up to the median \
             length of its texts.",
                "Three heat maps of layers upward and tokens to the right: attention's output, the \
             MLP's output, the residual.",
            ],
            norms,
        );
        push(
            page,
            m,
            &format!("gradients-{set}"),
            [
                &format!("Gradient maps, {set}"),
                "Log of the mean norm of the next-token loss's gradient with respect to the \
             activation, by layer and token, on a part of the set.",
                "Three heat maps of layers upward and tokens to the right.",
            ],
            gradients,
        );
    }
    let heads = m.record.facts.n_heads;
    let mut panels = Vec::new();
    for set in m.sets() {
        if let Some(map) = m.map(&format!("map.sink.{set}"))? {
            panels.push(heat(
                set,
                "head",
                "layer",
                "attention to position 0",
                map,
                heads,
            ));
        }
    }
    push(
        page,
        m,
        "sinks",
        [
            "Attention sinks by head",
            "Mean attention that queries after position 0 pay to it, by layer and head, one panel a \
         set.",
            "Heat maps of layers upward and heads to the right.",
        ],
        panels,
    );
    let mut curves = [Vec::new(), Vec::new(), Vec::new()];
    for set in m.sets() {
        for (curve, measure) in curves.iter_mut().zip(["kl", "log-rank", "hit"]) {
            if let Some(series) = m.mean_series(Some(set), &format!("lens.{measure}.by-layer"))? {
                curve.push(line(set, &series));
            }
        }
    }
    let [kl, rank, hit] = curves;
    push(
        page,
        m,
        "lens",
        [
            "Logit lens",
            "The residual after each layer read through final norm and unembedding, means over texts \
         and positions of each set.",
            "Lines over layers: the divergence from the final distribution falls, the rank of the \
         true token falls, and the share of positions where it is likeliest rises.",
        ],
        vec![
            lines("KL to the final distribution", "layer", "nats", false, kl),
            lines("Rank of the true token", "layer", "log10 rank", false, rank),
            lines("True token likeliest", "layer", "share", false, hit),
        ],
    );
    let mut massive = Vec::new();
    for (measure, name) in [
        ("top-1", "largest"),
        ("top-2", "second"),
        ("top-3", "third"),
        ("median", "median"),
    ] {
        if let Some(series) = m.mean_series(None, &format!("massive.{measure}.by-layer"))? {
            massive.push(line(name, &series));
        }
    }
    let mut weights = Vec::new();
    for (what, name) in [
        ("attn-weight", "attention output weights"),
        ("mlp-weight", "MLP output weights"),
    ] {
        if let Some(series) = m.mean_series(None, &format!("gradient.{what}.by-layer"))? {
            let total: f64 = series.iter().sum();
            let shares: Vec<f64> = series.iter().map(|v| v / total).collect();
            weights.push(line(name, &shares));
        }
    }
    push(
        page,
        m,
        "massive",
        [
            "Massive activations and gradient shares",
            "Left: the largest activations of the residual and the median, means over texts. Right: \
         each layer's share of the gradient's norm, of the weights that project into the \
         residual, means over texts.",
            "Left, lines of the three largest activations by layer, far above the median where there \
         are massive ones. Right, one line for each kind of weights.",
        ],
        vec![
            lines("Activations", "layer", "|activation|", true, massive),
            lines(
                "Gradient of the loss",
                "layer",
                "share of the norm",
                false,
                weights,
            ),
        ],
    );
    let mut spectra = Vec::new();
    for (site, title) in sites {
        let mut own = Vec::new();
        for (q, name) in ["first", "1/4", "1/2", "3/4", "last"].iter().enumerate() {
            if let Some(shares) = m.map(&format!("spectrum.{site}.{q}"))? {
                own.push(line(&format!("{name} layer"), shares));
            }
        }
        spectra.push(lines(title, "component", "share of variance", true, own));
    }
    push(
        page,
        m,
        "spectra",
        [
            "Covariance spectra",
            "Leading eigenvalues of the covariance over a sample of tokens without position 0, as \
         shares of their sum, at the quarters of the depth.",
            "Falling lines of shares of variance against the component's number, one panel a site.",
        ],
        spectra,
    );
    let mut panels = Vec::new();
    if let Some(cka) = m.map("cka.resid-post")? {
        panels.push(heat(
            "CKA of resid_post",
            "layer",
            "layer",
            "linear CKA",
            cka,
            m.layers,
        ));
    }
    let mut ranks = Vec::new();
    for (site, title) in sites {
        if let Some(series) = m.map(&format!("spectrum.{site}.rank"))? {
            ranks.push(line(title, series));
        }
    }
    if let Some(series) = m.map("spectrum.first.rank")? {
        ranks.push(line("resid_post, first tokens in", series));
    }
    panels.push(lines("Effective rank", "layer", "exp(H)", false, ranks));
    push(
        page,
        m,
        "cka",
        [
            "Likeness of layers",
            "Left: linear CKA of the residual between all pairs of layers, position 0 left out. Right: \
         effective rank of the covariance by layer.",
            "A heat map of layers against layers, bright along the diagonal, and lines of effective \
         rank by layer.",
        ],
        panels,
    );
    let mut panels = Vec::new();
    for set in m.sets() {
        let mut own = Vec::new();
        for (kind, name) in [("barycentre", "barycentre"), ("aligned", "plain mean")] {
            if let Some(series) = m.map(&format!("map.{kind}.mlp-out.{set}"))? {
                own.push(line(name, series));
            }
        }
        panels.push(lines(
            set,
            "aligned token",
            "log norm, mean over layers",
            false,
            own,
        ));
    }
    push(
        page,
        m,
        "barycentres",
        [
            "Barycentres of texts of different lengths",
            "Profiles of log norms of mlp_out, mean over layers: the DTW barycentre of each set \
             beside the plain mean of the stretched profiles.",
            "Two lines over aligned tokens, one panel a set.",
        ],
        panels,
    );
    patching(page, m)
}

fn patching(page: &mut Page, m: &Measured<'_>) -> Result<(), ExperimentError> {
    let mut panels = Vec::new();
    for (place, title) in [
        ("attn-out", "attn_out"),
        ("mlp-out", "mlp_out"),
        ("resid-post-last", "resid_post, last token"),
    ] {
        let truth = format!("patch.{place}.true");
        let mut points = Vec::new();
        for s in m.having(None, &truth) {
            let estimate = m.by_layer(s, &format!("patch.{place}.attribution"))?;
            for (x, y) in m.by_layer(s, &truth)?.iter().zip(estimate) {
                points.push(Point {
                    label: String::new(),
                    group: "pair and layer".to_owned(),
                    x: *x,
                    y: *y,
                    error: None,
                    record: m.origin.records.first().cloned(),
                });
            }
        }
        if points.is_empty() {
            continue;
        }
        let spread = mean(&points.iter().map(|p| p.x.abs()).collect::<Vec<_>>());
        if spread > 0.0 {
            panels.push(Panel {
                title: title.to_owned(),
                x: axis("true change of the metric"),
                y: axis("attribution"),
                plot: Plot::Points {
                    points,
                    fits: Vec::new(),
                },
                y_lines: Vec::new(),
                note: String::new(),
            });
        }
    }
    push(
        page,
        m,
        "patching",
        [
            "Attribution patching against activation patching",
            "Every point is a pair and a layer: the change of the metric by patching the corrupt \
         text's activation, and its first-order estimate.",
            "Clouds of points along a rising diagonal.",
        ],
        panels,
    );
    Ok(())
}
