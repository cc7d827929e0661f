//! The published table of the Pythia gain sweep: depth L, rho = heads / d_head
//! and mean gain G of eight models, fp16, 25 prompts
//! (buk81/uniformity-asymmetry@660747c,
//! paper3/Results/pythia_family_NO_FINAL_LN_20260105_174820.json), and the
//! sixteen further models of high_rho_hunt_NO_FINAL_LN_20260105_184728.json.
#![allow(clippy::unwrap_used)]

use assay_stats::{partial_correlation, pearson, pearson_permutation, stream};

/// 70m, 160m, 410m, 1b, 1.4b, 2.8b, 6.9b, 12b.
const DEPTH: [f64; 8] = [6.0, 12.0, 24.0, 16.0, 24.0, 32.0, 32.0, 36.0];
const RHO: [f64; 8] = [0.125, 0.1875, 0.25, 0.03125, 0.125, 0.4, 0.25, 0.3125];
const GAIN: [f64; 8] = [
    1.2011314482026154,
    1.1572275005726786,
    0.978083401287149,
    1.216317739387037,
    1.004737226580838,
    0.9274047487947615,
    0.9940737496721276,
    0.9859600462090101,
];

/// Agreement to the decimals that were printed.
#[track_caller]
fn rounds_to(actual: f64, printed: f64, decimals: i32) {
    let half_unit = 0.5 * 10_f64.powi(-decimals);
    assert!(
        (actual - printed).abs() <= half_unit,
        "{actual} for {printed}"
    );
}

#[test]
fn correlation_of_rho_and_gain() {
    let published = pearson(&RHO, &GAIN).unwrap();
    rounds_to(published.r, -0.8116303229, 10);
    rounds_to(published.p, 0.0144380804, 10);
}

#[test]
fn depth_and_rho_are_not_separable() {
    rounds_to(pearson(&DEPTH, &GAIN).unwrap().r, -0.878, 3);
    rounds_to(pearson(&DEPTH, &RHO).unwrap().r, 0.72, 2);
    rounds_to(
        partial_correlation(&RHO, &GAIN, &[&DEPTH]).unwrap().r,
        -0.540,
        3,
    );
    rounds_to(
        partial_correlation(&DEPTH, &GAIN, &[&RHO]).unwrap().r,
        -0.73,
        2,
    );
    // Neither partial correlation reaches the two-sided 5 % bound, |r| = 0.75 on 5 df.
    assert!(partial_correlation(&DEPTH, &GAIN, &[&RHO]).unwrap().p > 0.05);
}

#[test]
fn exact_permutation_of_the_table() {
    let test = pearson_permutation(&RHO, &GAIN, 1, stream(0, "unused")).unwrap();
    assert!(test.exhaustive);
    assert_eq!(test.permutations, 40_320);
    // By enumeration in NumPy; rho 0.125 and 0.25 occur twice each, so ties count.
    assert_eq!(test.extreme, 564);
}

#[test]
fn sixteen_other_models() {
    let rho = [
        1.109, 0.5, 0.4, 0.4, 0.25, 0.25, 0.25, 0.25, 0.25, 0.1875, 0.1875, 0.1667, 0.1562, 0.125,
        0.125, 0.0625,
    ];
    let gain = [
        1.0275, 1.0904, 1.0808, 0.998, 0.9995, 1.0773, 1.2758, 1.084, 0.9871, 1.2634, 0.9195,
        1.0672, 0.7885, 1.0983, 0.8916, 1.1359,
    ];
    rounds_to(pearson(&rho, &gain).unwrap().r, 0.008, 3);
}
