//! Participation ratios against singular values in NumPy
//! (golden/geometry/participation.py), and of planted spectra.
#![allow(clippy::unwrap_used)]

use assay_geometry::{autocorrelation, participation};
use serde_json::Value;

/// Both sides sum a few thousand terms of order 1 in f64.
const CLOSE: f64 = 1e-10;

#[track_caller]
fn close(found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(
        error <= CLOSE * (1.0 + expected.abs()),
        "{found} is not {expected}"
    );
}

#[test]
fn as_by_singular_values() {
    let text = include_str!("../../../golden/geometry/participation.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let number = |name: &str| case[name].as_f64().unwrap();
        let entry = |i: f64, j: f64| (1.0 + 3.7 * i + 1.3 * j + 0.11 * i * j).sin();
        let count = |name: &str| 0..number(name) as u32;
        let rows: Vec<Vec<f64>> = count("rows")
            .map(|i| {
                let row = count("width").map(|j| entry(i.into(), j.into()) + number("common"));
                row.collect()
            })
            .collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        let found = participation(&rows).unwrap();
        close(found.naive, number("naive"));
        close(found.row_only, number("row_only"));
        close(autocorrelation(&rows).unwrap(), number("autocorrelation"));
    }
}

/// Planted contraction: rows along k axes in equal shares have a ratio of k.
#[test]
fn a_planted_number_of_directions_is_found() {
    for k in 1..=8 {
        let axis = |i: usize| {
            (0..8)
                .map(|j| f64::from(u8::from(i % k == j)) * 2.5)
                .collect()
        };
        let rows: Vec<Vec<f64>> = (0..8 * k).map(axis).collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        close(participation(&rows).unwrap().naive, k as f64);
    }
}

#[test]
fn what_has_no_value_is_said() {
    let check = |rows: &[&[f64]], words: &str| {
        let error = participation(rows).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    check(&[&[1.0]], "the number of rows is 1");
    check(&[&[0.0], &[0.0]], "the norm of the Gram matrix is 0");
    check(
        &[&[1.0, 0.0], &[0.0, 1.0]],
        "the product of different rows is 0",
    );
    check(&[&[1.0], &[1.0, 2.0]], "length mismatch in dot product");
    check(&[&[f64::NAN], &[1.0]], "the norm of the Gram matrix is NaN");
    assert!(autocorrelation(&[&[1.0]]).is_err());
    assert!(autocorrelation(&[&[1.0], &[0.0]]).is_err());
}
