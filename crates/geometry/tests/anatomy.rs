//! Warping, kernel alignment and spectra against NumPy and SciPy
//! (golden/geometry/anatomy.py).
#![allow(clippy::unwrap_used)]

use assay_geometry::{
    Gram, Rows, barycentre, covariance_spectrum, dtw, effective_rank, linear_cka,
};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Both sides sum a few hundred terms of order 1 in f64.
const CLOSE: f64 = 1e-10;

fn cases(text: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn vector(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_f64().unwrap()).collect()
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(vector).collect()
}

fn rows(value: &Value) -> Rows {
    Rows::new(&Tensor::new(matrix(value), &Device::Cpu).unwrap()).unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= CLOSE * (1.0 + e.abs()), "{f} is not {e}");
    }
}

#[test]
fn warping() {
    let cases = cases(include_str!("../../../golden/geometry/dtw.json"));
    let pairs = cases.iter().filter(|c| c.get("path").is_some());
    let mut seen = 0;
    for case in pairs {
        let band = number(&case["band"]);
        let found = dtw(&matrix(&case["x"]), &matrix(&case["y"]), band).unwrap();
        close(&[found.distance], &[case["distance"].as_f64().unwrap()]);
        let path = case["path"].as_array().unwrap().iter();
        let path: Vec<(usize, usize)> = path.map(|p| (number(&p[0]), number(&p[1]))).collect();
        assert_eq!(found.path, path);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn barycentres() {
    let cases = cases(include_str!("../../../golden/geometry/dtw.json"));
    let case = cases.iter().find(|c| c.get("centre").is_some()).unwrap();
    let sequences = case["sequences"].as_array().unwrap().iter().map(matrix);
    let sequences: Vec<_> = sequences.collect();
    let [length, band, rounds] = ["length", "band", "rounds"].map(|k| number(&case[k]));
    let found = barycentre(&sequences, length, band, rounds).unwrap();
    close(&found.inertia, &vector(&case["inertia"]));
    close(&found.centre.concat(), &matrix(&case["centre"]).concat());
}

#[test]
fn kernel_alignment() {
    for case in cases(include_str!("../../../golden/geometry/cka.json")) {
        let gram = |side: &str| Gram::centred(&rows(&case[side])).unwrap();
        let (x, y) = (gram("x"), gram("y"));
        close(
            &[linear_cka(&x, &y).unwrap(), linear_cka(&x, &x).unwrap()],
            &[case["cka"].as_f64().unwrap(), 1.0],
        );
    }
}

#[test]
fn alignment_of_other_tokens_and_of_constants_is_refused() {
    let gram = |rows: &[[f64; 2]]| {
        let tensor = Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap();
        Gram::centred(&Rows::new(&tensor).unwrap()).unwrap()
    };
    let two = gram(&[[1.0, 2.0], [3.0, 5.0]]);
    let three = gram(&[[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]]);
    assert!(linear_cka(&two, &three).is_err());
    assert!(linear_cka(&two, &gram(&[[1.0, 1.0], [1.0, 1.0]])).is_err());
}

#[test]
fn spectra() {
    for case in cases(include_str!("../../../golden/geometry/spectrum.json")) {
        let expected = vector(&case["spectrum"]);
        let found = covariance_spectrum(&rows(&case["x"])).unwrap();
        close(&found, &expected);
        let rank = effective_rank(&found).unwrap();
        // Values that are 0 in exact arithmetic are 1e-17 here and 1e-32 there.
        close(&[rank], &[case["effective_rank"].as_f64().unwrap()]);
    }
}
