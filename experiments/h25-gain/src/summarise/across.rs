//! Head density against gain, the model as unit.
//!
//! Every statistic is computed twice: on the mean gain as published, and on
//! the mean log gain over prompts as audited.

use assay_experiment::ExperimentError;
use assay_record::Cell;
use assay_stats::{LeastSquares, StatsError};

use super::models::ModelGains;
use super::relation::{Columns, Relation, Scale, Settings, relation};
use super::rule::FEWEST;
use assay_experiment::page::{COUNT, GAIN, Origin, P, Page, R, Stat, Style, must, words};

/// One row of the table across models.
struct Statistic {
    id: &'static str,
    label: &'static str,
    style: Style,
    get: fn(&Relation) -> Stat<f64>,
}

const fn row(
    id: &'static str,
    label: &'static str,
    style: Style,
    get: fn(&Relation) -> Stat<f64>,
) -> Statistic {
    Statistic {
        id,
        label,
        style,
        get,
    }
}

fn coefficient(fit: &Stat<LeastSquares>, index: usize) -> Stat<f64> {
    let fit = fit.as_ref().map_err(StatsError::clone)?;
    let found = fit.coefficients.get(index);
    found
        .map(|c| c.estimate)
        .ok_or(StatsError::ZeroVariance { argument: "rho" })
}

/// A field of a statistic that may have no value.
macro_rules! of {
    ($($field:ident).+ => |$x:ident| $value:expr) => {
        |relation| relation.$($field).+.as_ref().map(|$x| $value).map_err(StatsError::clone)
    };
}

const STATISTICS: &[Statistic] = &[
    row("n", "models", COUNT, |r| Ok(r.n as f64)),
    row("r", "Pearson r", R, of!(pearson => |x| x.r)),
    row("p", "p, t-test", P, of!(pearson => |x| x.p)),
    row(
        "permutation-p",
        "p, permutation",
        P,
        of!(permutation => |x| x.p),
    ),
    row("low", "r, interval low", R, of!(interval => |x| x.low)),
    row("high", "r, interval high", R, of!(interval => |x| x.high)),
    row("spearman", "Spearman rho", R, of!(spearman => |x| x.r)),
    row("spearman-p", "p, Spearman", P, of!(spearman => |x| x.p)),
    row(
        "loo-low",
        "r leaving one model out, lowest",
        R,
        of!(leave_one_out => |x| x.range.low),
    ),
    row(
        "loo-high",
        "r leaving one model out, highest",
        R,
        of!(leave_one_out => |x| x.range.high),
    ),
    row(
        "given-layers.r",
        "partial r given L",
        R,
        of!(given_layers.r => |x| x.r),
    ),
    row(
        "given-layers.p",
        "p given L, t-test",
        P,
        of!(given_layers.r => |x| x.p),
    ),
    row(
        "given-layers.permutation-p",
        "p given L, Freedman-Lane",
        P,
        of!(given_layers.permutation => |x| x.p),
    ),
    row(
        "given-layers.low",
        "partial r given L, interval low",
        R,
        of!(given_layers.interval => |x| x.low),
    ),
    row(
        "given-layers.high",
        "partial r given L, interval high",
        R,
        of!(given_layers.interval => |x| x.high),
    ),
    row(
        "given-layers.detectable",
        "detectable partial r",
        R,
        of!(given_layers.detectable => |x| *x),
    ),
    row(
        "given-log-d.r",
        "partial r given log d",
        R,
        of!(given_log_d.r => |x| x.r),
    ),
    row(
        "given-log-d.p",
        "p given log d, t-test",
        P,
        of!(given_log_d.r => |x| x.p),
    ),
    row(
        "given-log-d.permutation-p",
        "p given log d, Freedman-Lane",
        P,
        of!(given_log_d.permutation => |x| x.p),
    ),
    row("layers-r", "r of L and gain", R, of!(with_depth => |x| x.r)),
    row(
        "layers-rho-r",
        "r of L and rho",
        R,
        of!(depth_and_rho => |x| x.r),
    ),
    row(
        "layers-given-rho.r",
        "partial r of L and gain given rho",
        R,
        of!(depth_given_rho => |x| x.r),
    ),
    row("slope", "slope of the line", GAIN, |r| {
        coefficient(&r.fit, 1)
    }),
    row("intercept", "intercept of the line", GAIN, |r| {
        coefficient(&r.fit, 0)
    }),
    row(
        "r-squared",
        "R² of the line",
        R,
        of!(fit => |x| x.r_squared),
    ),
    row(
        "loo-r-squared",
        "R² leaving one model out",
        R,
        of!(loo_r_squared => |x| *x),
    ),
    row("detectable", "detectable r", R, of!(detectable => |x| *x)),
];

/// Statistics that come from drawn orderings where there are too many.
const DRAWN: [&str; 3] = [
    "permutation-p",
    "given-layers.permutation-p",
    "given-log-d.permutation-p",
];

/// A body of data across models: both scales, or why there is no relation.
pub(crate) struct Body<'m> {
    /// "published" or "measured", as in ids.
    pub(crate) id: &'static str,
    /// As printed.
    pub(crate) data: &'static str,
    pub(crate) models: Vec<&'m ModelGains>,
    pub(crate) origin: Origin,
    pub(crate) columns: Option<Columns>,
    pub(crate) raw: Option<Relation>,
    pub(crate) log: Option<Relation>,
    /// Why there is no relation.
    pub(crate) reason: String,
}

impl<'m> Body<'m> {
    pub(crate) fn new(
        id: &'static str,
        data: &'static str,
        models: Vec<&'m ModelGains>,
        set: Settings,
    ) -> Result<Self, ExperimentError> {
        let enough = models.len() >= FEWEST;
        let columns = if enough {
            Some(must(data, Columns::of(&models))?)
        } else {
            None
        };
        let relate = |scale| columns.as_ref().map(|c| relation(c, scale, id, set));
        Ok(Self {
            raw: relate(Scale::Raw),
            log: relate(Scale::Log),
            origin: Origin::join(models.iter().map(|m| &m.origin)),
            reason: match models.len() {
                0 => "no model was measured".to_owned(),
                1 => "one model was measured, and a correlation needs three".to_owned(),
                2 => "two models were measured, and a correlation needs three".to_owned(),
                _ => String::new(),
            },
            id,
            data,
            models,
            columns,
        })
    }

    pub(crate) fn number_id(&self, scale: Scale, statistic: &str) -> String {
        format!("h25.across.{}.{}.{statistic}", self.id, scale.id())
    }
}

/// Writes every statistic of both scales of every body, and the table.
pub(crate) fn write(page: &mut Page, bodies: &[&Body<'_>]) -> Result<(), ExperimentError> {
    let mut rows = Vec::new();
    for s in STATISTICS {
        let mut cells = vec![words(s.label)];
        for body in bodies {
            for (scale, relation) in [(Scale::Raw, &body.raw), (Scale::Log, &body.log)] {
                cells.push(match relation {
                    Some(relation) => write_one(page, body, scale, relation, s)?,
                    None => Cell::Missing("fewer than three models".to_owned()),
                });
            }
        }
        rows.push(cells);
    }
    let families = bodies.iter().filter_map(|b| {
        let families = b.columns.as_ref()?.family_count();
        Some(if families == 1 {
            format!(
                "The {} data hold one family, so all models change places.",
                b.id
            )
        } else {
            format!(
                "In the {} data models change places within their family only.",
                b.id
            )
        })
    });
    let caption = format!(
        "rho against the gain of block L-2 at the last token. As published: the mean gain. \
         Audited: the mean log gain over prompts. Permutation p: all orderings of up to nine \
         models, else {{h25.settings.draws}} drawn ones. Freedman-Lane tests permute what is \
         left of gain after the covariate, with families as clusters. {} Intervals are \
         Fisher's at level {{h25.settings.level}}; detectable: the smallest |r| found with \
         power {{h25.settings.power}}.",
        families.collect::<Vec<_>>().join(" ")
    );
    page.table(
        "across-models",
        "Head density against gain across models",
        &caption,
        &[
            "Statistic",
            "#Published data, as published",
            "#Published data, audited",
            "#Measured data, as published",
            "#Measured data, audited",
        ],
        rows,
    );
    Ok(())
}

fn write_one(
    page: &mut Page,
    body: &Body<'_>,
    scale: Scale,
    relation: &Relation,
    s: &Statistic,
) -> Result<Cell, ExperimentError> {
    let style = if DRAWN.contains(&s.id) {
        s.style.drawn()
    } else {
        s.style
    };
    let of = match scale {
        Scale::Raw => "mean gain",
        Scale::Log => "mean log gain",
    };
    let what = format!("{}, rho and {of}, {}", s.label, body.data);
    let id = body.number_id(scale, s.id);
    Ok(page
        .try_put(&id, &what, (s.get)(relation), style, &body.origin)?
        .cell())
}
