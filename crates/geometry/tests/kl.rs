//! KL divergences against SciPy (golden/geometry/kl.py).
#![allow(clippy::unwrap_used)]

use assay_geometry::kl_divergence;
use serde_json::Value;

#[test]
fn as_scipy_has_them() {
    let text = include_str!("../../../golden/geometry/kl.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let number = |name: &str| case[name].as_f64().unwrap();
        let logits = |shift: f64| -> Vec<f64> {
            let at = |j: u32| number("scale") * (1.0 + 1.7 * f64::from(j) + shift).sin();
            (0..number("n") as u32).map(at).collect()
        };
        let found = kl_divergence(&logits(0.0), &logits(number("shift"))).unwrap();
        let expected = number("kl");
        // Sums of up to 5000 terms in f64; exponents of -400 lose what is below
        // the smallest normal number.
        assert!(
            (found - expected).abs() < 1e-11 * (1.0 + expected),
            "{found}, {expected}"
        );
    }
}
