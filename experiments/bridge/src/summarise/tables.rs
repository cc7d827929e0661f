//! Every bridge, by space, size and fit.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, PLAIN, Page, R, SHARE, words};
use assay_experiment::subject::Subject;
use assay_record::Cell;

/// The note's class of an R².
pub(crate) fn class(r2: f64) -> &'static str {
    if r2 > 0.9 {
        "strong"
    } else if r2 > 0.8 {
        "good"
    } else if r2 > 0.5 {
        "partial"
    } else {
        "weak"
    }
}

pub(crate) fn write(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    for (id, what) in [
        ("l1", "layer whose input the bridge spans"),
        ("primary-k", "dimensions of the primary bridge"),
        ("span", "dimensions that the keys of l1 read"),
    ] {
        let what = format!("{what}, {}", s.name);
        page.put(&s.id(id), &what, model.get(id)?, COUNT, &s.origin)?;
    }
    sizes(page, s)?;
    spaces(page, s)?;
    across(page, s)?;
    planted(page, s)
}

/// A number of the record under its own name.
fn put(
    page: &mut Page,
    s: &Subject<'_>,
    id: &str,
    what: &str,
    value: f64,
) -> Result<Cell, ExperimentError> {
    let what = format!("{what}, {}", s.name);
    let style = if value.abs() < 100.0 { R } else { PLAIN };
    page.put(&s.id(id), &what, value, style, &s.origin)
        .map(Cell::Number)
}

/// Inside Z, by number of pairs and of dimensions.
fn sizes(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let (ns, ks) = (model.get_series("ns")?, model.get_series("ks")?);
    let mut rows = Vec::new();
    for n in ns {
        for k in ks {
            let rule = if *n < 5.0 * k {
                "INCONCLUSIVE: N < 5 k"
            } else {
                ""
            };
            let mut row = vec![words(n.to_string()), words(k.to_string())];
            for fit in ["ols", "ridge", "procrustes"] {
                let name = format!("z.mean.{fit}.n{n}.k{k}");
                let found = model.get_series(&format!("r2.{name}"))?;
                let what = format!("R2 in Z, {fit}, N = {n}, k = {k}");
                row.push(put(
                    page,
                    s,
                    &format!("r2.{name}.in"),
                    &format!("in-sample {what}"),
                    found[0],
                )?);
                row.push(put(
                    page,
                    s,
                    &format!("r2.{name}.out"),
                    &format!("left-out {what}"),
                    found[1],
                )?);
            }
            let map = model.get_series(&format!("map.ols.n{n}.k{k}"))?;
            let what = format!("orthogonality error, least squares, N = {n}, k = {k}");
            row.push(put(page, s, &format!("map.n{n}.k{k}"), &what, map[0])?);
            let zero = 1.0 / k.sqrt();
            let id = format!("zero.n{n}.k{k}");
            row.push(put(
                page,
                s,
                &id,
                &format!("orthogonality error of the map to zero, k = {k}"),
                zero,
            )?);
            row.push(words(rule));
            rows.push(row);
        }
    }
    page.table(
        &format!("sizes-{}", s.key),
        &format!("Bridges inside Z by number of pairs, {}", s.name),
        "English to Chinese, means over positions. In: R2 on the pairs that the map was fitted to; out: one \
         pair left out at a time. Orthogonality error |W'W - I|/k of least squares, beside the level of the \
         map to zero. With N < 5 k nothing is concluded (E19): there even a true bridge predicts nothing.",
        &[
            "N", "k", "#OLS in", "#out", "#ridge in", "#out", "#rotation in", "#out",
            "#orthogonality error", "#of zero", "rule",
        ],
        rows,
    );
    Ok(())
}

/// All pairs: spaces, poolings, unseen kinds.
fn spaces(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let n = model.get_series("ns")?.last().copied().unwrap_or_default();
    let mut rows = Vec::new();
    for (space, said) in [
        ("z", "Z"),
        ("ard", "ARD's dimensions"),
        ("pca", "principal directions"),
    ] {
        for pooling in ["mean", "last"] {
            for k in model.get_series("ks")? {
                let name = format!("{space}.{pooling}.ridge.n{n}.k{k}");
                let found = model.get_series(&format!("r2.{name}"))?;
                let at = format!("{said}, {pooling}, ridge, k = {k}");
                let mut row = vec![words(said), words(pooling), words(k.to_string())];
                let id = format!("all.{name}");
                row.push(put(
                    page,
                    s,
                    &format!("{id}.out"),
                    &format!("left-out R2, {at}"),
                    found[1],
                )?);
                for (id, what) in [
                    ("kinds", "R2 of unseen categories"),
                    ("within", "left-out R2 within categories"),
                ] {
                    let value = model.get(&format!("{id}.{name}"))?;
                    row.push(put(
                        page,
                        s,
                        &format!("{id}.{name}"),
                        &format!("{what}, {at}"),
                        value,
                    )?);
                }
                rows.push(row);
            }
        }
    }
    page.table(
        &format!("spaces-{}", s.key),
        &format!("Bridges by space, {}", s.name),
        "Ridge, English to Chinese, all pairs. Pair out: one pair left out; kinds: one category left out; \
         within: one pair left out after categories' means are taken off, which a bridge of templates does \
         not survive. ARD's dimensions come from a contrast fitted to other problems from equal weights; \
         principal directions are those of both languages.",
        &["space", "pooling", "k", "#pair out", "#kinds out", "#within"],
        rows,
    );
    let k = model.get("primary-k")?;
    let mut rows = Vec::new();
    for fit in ["ols", "ridge", "procrustes"] {
        let back = model.get_series(&format!("back.z.mean.{fit}.n{n}.k{k}"))?;
        let there = model.get_series(&format!("r2.z.mean.{fit}.n{n}.k{k}"))?;
        let mut row = vec![words(fit)];
        row.push(put(
            page,
            s,
            &format!("there.{fit}"),
            &format!("left-out R2, English to Chinese, {fit}"),
            there[1],
        )?);
        row.push(put(
            page,
            s,
            &format!("back.{fit}"),
            &format!("left-out R2, Chinese to English, {fit}"),
            back[1],
        )?);
        row.push(words(class(there[0])));
        row.push(words(class(there[1])));
        rows.push(row);
    }
    page.table(
        &format!("directions-{}", s.key),
        &format!("There and back, {}", s.name),
        "Primary size; the note's classes: strong above .9, good above .8, partial above .5, else weak.",
        &["fit", "#en to zh", "#zh to en", "class by in-sample R2", "class by left-out R2"],
        rows,
    );
    Ok(())
}

fn across(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let layers = model.get_series("layers")?;
    let mut rows = Vec::new();
    for from in layers {
        let mut row = vec![words(format!("from layer {from}"))];
        for to in layers {
            let value = model.get(&format!("across.{from}.{to}"))?;
            let what = format!("R2 of unseen categories, from layer {from} to layer {to}");
            row.push(put(page, s, &format!("across.{from}.{to}"), &what, value)?);
        }
        rows.push(row);
    }
    let titles: Vec<String> = layers.iter().map(|l| format!("#to layer {l}")).collect();
    let mut columns = vec!["English"];
    columns.extend(titles.iter().map(String::as_str));
    page.table(
        &format!("across-{}", s.key),
        &format!("Bridges across layers, {}", s.name),
        "English coordinates in one layer's Z to Chinese ones in another's: R2 by ridge with one category \
         left out.",
        &columns,
        rows,
    );
    Ok(())
}

fn planted(page: &mut Page, s: &Subject<'_>) -> Result<(), ExperimentError> {
    let model = s.model()?;
    let mut rows = Vec::new();
    for (name, _) in model
        .measures
        .iter()
        .filter(|(n, _)| n.starts_with("planted."))
    {
        let found = model.get_series(name)?;
        let mut row = vec![words(
            name.trim_start_matches("planted.")
                .replace('.', " ")
                .replace("r0 ", "R2 = ."),
        )];
        for (value, id, what) in [
            (found[0], "power", "share of planted bridges found"),
            (found[1], "ridge", "left-out R2 by ridge of planted bridges"),
            (
                found[2],
                "ols",
                "left-out R2 by least squares of planted bridges",
            ),
            (found[3], "rotation", "error of the rotation found"),
        ] {
            let what = format!("{what}, {name}, {}", s.name);
            let style = match id {
                "power" => SHARE,
                _ => PLAIN.drawn(),
            };
            row.push(Cell::Number(page.put(
                &s.id(&format!("{name}.{id}")),
                &what,
                value,
                style,
                &s.origin,
            )?));
        }
        rows.push(row);
    }
    page.table(
        &format!("planted-{}", s.key),
        &format!("Which planted bridges are found, {}", s.name),
        "Forty planted rotations with noise a size; found if the left-out R2 is above that of all 19 \
         shuffled pairings. Pass mark, set before: with N of 5 k or more and R2 of .5 or more at least 95 % \
         are found.",
        &["planted", "#found", "#ridge, out", "#OLS, out", "#rotation error"],
        rows,
    );
    Ok(())
}
