//! What the model can do unpatched.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, Origin, P, PLAIN, Page, SHARE, must, words};
use assay_experiment::subject::{Settings, Subject};
use assay_record::{Cell, Sample};
use assay_stats as stats;

use crate::measure::ENOUGH;

/// What was set before any number was seen.
pub(crate) fn settings(page: &mut Page) -> Result<(), ExperimentError> {
    let own = Origin::published("set before the run");
    let what = "fewest pairs that a claim about answers is judged on";
    page.put("z.settings.enough", what, ENOUGH as f64, COUNT, &own)?;
    Ok(())
}

/// Writes the baseline; gives the pairs that prefer their own answer in both
/// languages.
pub(crate) fn write<'a>(
    page: &mut Page,
    s: &Subject<'a>,
    set: Settings,
) -> Result<Vec<&'a Sample>, ExperimentError> {
    let pairs: Vec<&Sample> = s.units("pair.").collect();
    let prefers = |pair: &Sample, language: &str| {
        let found = pair.get(&format!("prefers.{language}"));
        found.is_ok_and(|v| v > 0.0)
    };
    let able: Vec<&Sample> = pairs
        .iter()
        .copied()
        .filter(|p| prefers(p, "zh") && prefers(p, "en"))
        .collect();
    let n = pairs.len();
    page.put(
        &s.id("pairs"),
        &format!("pairs of problems, {}", s.name),
        n as f64,
        COUNT,
        &s.origin,
    )?;
    let what = format!(
        "pairs that prefer their own answer in both languages, {}",
        s.name
    );
    page.put(&s.id("able"), &what, able.len() as f64, COUNT, &s.origin)?;
    let mut rows = Vec::new();
    let mut right: Vec<Vec<bool>> = Vec::new();
    for (language, direction) in [("zh", "zh-en"), ("en", "en-zh")] {
        let put = |page: &mut Page, id: &str, what: &str, value: f64, style| {
            let what = format!("{what}, {language}, {}", s.name);
            page.put(
                &s.id(&format!("baseline.{language}.{id}")),
                &what,
                value,
                style,
                &s.origin,
            )
        };
        let solved: Vec<bool> = pairs
            .iter()
            .map(|p| {
                let pair = p.unit.trim_start_matches("pair.");
                let text = s.unit(&format!("text.{pair}.{direction}.none"))?;
                let answer = text.get("answer").ok();
                let own = text.tag("answer").and_then(|a| a.parse::<f64>().ok());
                Ok::<_, ExperimentError>(answer.is_some() && answer == own)
            })
            .collect::<Result<_, _>>()?;
        let count = solved.iter().filter(|r| **r).count();
        let interval = must(
            "accuracy",
            stats::wilson_interval(count as u64, n as u64, 1.0 - set.alpha),
        )?;
        let preferred = pairs.iter().filter(|p| prefers(p, language)).count();
        let prompts = s.record.samples.iter();
        let logp: Vec<f64> = prompts
            .filter(|x| x.tag("language") == Some(language))
            .filter_map(|x| x.get("logp-answer").ok())
            .collect();
        let median = must("median log p", stats::median(&logp))?;
        let cells: Vec<Cell> = [
            (
                "right",
                "share of problems answered right in text",
                count as f64 / n as f64,
                SHARE,
            ),
            (
                "low",
                "accuracy: lower end of Wilson's interval",
                interval.low,
                SHARE,
            ),
            (
                "high",
                "accuracy: upper end of Wilson's interval",
                interval.high,
                SHARE,
            ),
            (
                "prefers",
                "share of pairs that prefer their own answer",
                preferred as f64 / n as f64,
                SHARE,
            ),
            ("logp", "median log p of the answer, nats", median, PLAIN),
        ]
        .into_iter()
        .map(|(id, what, value, style)| Ok(Cell::Number(put(page, id, what, value, style)?)))
        .collect::<Result<_, ExperimentError>>()?;
        let name = if language == "zh" {
            "Chinese"
        } else {
            "English"
        };
        let mut row = vec![words(name)];
        row.extend(cells);
        rows.push(row);
        right.push(solved);
    }
    let both = right[0].iter().zip(&right[1]);
    let only_en = both.clone().filter(|(zh, en)| !**zh && **en).count() as u64;
    let only_zh = both.filter(|(zh, en)| **zh && !**en).count() as u64;
    let p = must("McNemar", stats::mcnemar_exact(only_en, only_zh))?;
    let id = s.id("baseline.mcnemar");
    let what = format!(
        "exact McNemar p of accuracy in the two languages, {}",
        s.name
    );
    page.put(&id, &what, p, P, &s.origin)?;
    let poor = rows.len() == 2
        && right
            .iter()
            .any(|r| 2 * r.iter().filter(|x| **x).count() < n);
    let advice = if poor {
        "Fewer than half are answered right in a language: shares of texts are uninformative here, and \
         the continuous measures lead."
    } else {
        "Most are answered right, so that there are answers to lose."
    };
    page.table(
        &format!("baseline-{}", s.key),
        &format!("Unpatched, {}", s.name),
        &format!(
            "Right: the answer read from 16 greedily decoded tokens. Prefers: log p of the own answer \
             above the partner's, half by chance; {{{}}} of {{{}}} pairs do so in both languages. \
             Languages differ with exact McNemar p = {{{id}}}. {advice}",
            s.id("able"),
            s.id("pairs"),
        ),
        &["language", "#right", "#lower", "#upper", "#prefers", "#median log p"],
        rows,
    );
    Ok(able)
}
