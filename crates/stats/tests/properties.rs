//! Laws that hold for any data, tried on seeded random samples.
#![allow(clippy::unwrap_used)]

use assay_stats::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;

const TRIALS: u64 = 50;

/// n values from a skewed distribution, -ln u.
fn sample(rng: &mut ChaCha20Rng, n: usize) -> Vec<f64> {
    (0..n)
        .map(|_| -((rng.next_u32() as f64 + 0.5) / 2_f64.powi(32)).ln())
        .collect()
}

/// Runs a law on two samples of n values for every trial.
fn for_each_pair(name: &str, n: usize, law: impl Fn(&[f64], &[f64])) {
    for seed in 0..TRIALS {
        let mut rng = stream(seed, name);
        law(&sample(&mut rng, n), &sample(&mut rng, n));
    }
}

fn map(x: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.iter().map(|v| f(*v)).collect()
}

/// Rounding of sums of tens of terms of order one.
#[track_caller]
fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-11 * (1.0 + b.abs()), "{a} and {b}");
}

#[test]
fn correlation_ignores_affine_maps() {
    for_each_pair("affine", 12, |x, y| {
        let r = pearson(x, y).unwrap().r;
        close(
            pearson(&map(x, |v| 3.0 * v - 7.0), &map(y, |v| 0.01 * v + 2.0))
                .unwrap()
                .r,
            r,
        );
        close(pearson(&map(x, |v| -3.0 * v), y).unwrap().r, -r);
        close(pearson(y, x).unwrap().r, r);
        close(
            pearson(&map(x, |v| 1e200 * v), &map(y, |v| 1e-200 * v))
                .unwrap()
                .r,
            r,
        );
        close(partial_correlation(x, y, &[]).unwrap().r, r);
        close(pearson(x, x).unwrap().r, 1.0);
        // Spearman ignores any increasing map.
        let rho = spearman(x, y).unwrap();
        assert_eq!(spearman(&map(x, f64::exp), y).unwrap(), rho);
    });
}

#[test]
fn partial_correlation_ignores_what_the_covariate_adds() {
    for_each_pair("partial", 15, |x, y| {
        let z = map(x, |v| (5.0 * v).sin());
        let r = partial_correlation(x, y, &[&z]).unwrap().r;
        let moved: Vec<f64> = x.iter().zip(&z).map(|(x, z)| 2.0 * x - 9.0 * z).collect();
        close(partial_correlation(&moved, y, &[&z]).unwrap().r, r);
    });
}

#[test]
fn fisher_interval_encloses_r_and_grows() {
    for_each_pair("fisher", 9, |x, y| {
        let r = pearson(x, y).unwrap().r;
        let narrow = fisher_interval(r, 9, 0.8).unwrap();
        let wide = fisher_interval(r, 9, 0.99).unwrap();
        assert!(narrow.contains(r) && wide.low < narrow.low && narrow.high < wide.high);
    });
}

/// All orderings, by inserting each item at every place of the shorter ones.
fn orderings(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orderings(n - 1) {
        for place in 0..n {
            let mut longer = shorter.clone();
            longer.insert(place, n - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
fn exact_permutation_equals_brute_force() {
    for_each_pair("brute force", 5, |x, y| {
        // Rounded to quarters, so that there are ties.
        let y = map(y, |v| (4.0 * v).round() / 4.0);
        let Ok(observed) = pearson(x, &y) else {
            return; // every rounded y equal
        };
        let extreme = orderings(5)
            .into_iter()
            .filter(|order| {
                let moved: Vec<f64> = order.iter().map(|&i| y[i]).collect();
                pearson(x, &moved).unwrap().r.abs() >= observed.r.abs() - TIE_TOLERANCE
            })
            .count();
        let test = pearson_permutation(x, &y, 1, stream(0, "unused")).unwrap();
        assert_eq!((test.extreme, test.permutations), (extreme as u64, 120));
        assert!(test.exhaustive && test.p >= 1.0 / 120.0 && test.p <= 1.0);
    });
}

#[test]
fn drawn_permutations_are_seeded_and_never_zero() {
    for_each_pair("drawn", 10, |x, y| {
        let p = |seed| pearson_permutation(x, y, 99, stream(seed, "draws")).unwrap();
        assert_eq!(p(1), p(1));
        assert!(!p(1).exhaustive && p(1).p >= 0.01 && p(1).p <= 1.0);
    });
    // A perfect relation reaches the smallest p.
    let x: Vec<f64> = (0..20).map(f64::from).collect();
    let test = pearson_permutation(&x, &x, 999, stream(1, "perfect")).unwrap();
    assert_eq!(test.p, 1.0 / 1000.0);
}

#[test]
fn drawn_permutations_reject_at_their_level() {
    // 400 independent samples at level 0.1: 40 rejections expected, SD 6; the
    // bounds lie four SD away.
    let rejected = (0..400_u64)
        .filter(|&seed| {
            let mut rng = stream(seed, "null");
            let (x, y) = (sample(&mut rng, 10), sample(&mut rng, 10));
            pearson_permutation(&x, &y, 199, rng).unwrap().p <= 0.1
        })
        .count();
    assert!((16..=64).contains(&rejected), "{rejected} of 400 rejected");
}

#[test]
fn cluster_effects_do_not_fool_the_clustered_test() {
    // x and y share a cluster effect but nothing within clusters. Free exchange
    // finds it; exchange within clusters must reject at its level only:
    // 200 samples at 0.1, 20 expected, SD 4.2, bound four SD above.
    let labels: Vec<usize> = (0..12).map(|unit| unit / 4).collect();
    let rejections = |exchange: Exchangeability| {
        (0..200_u64)
            .filter(|&seed| {
                let mut rng = stream(seed, "clusters");
                let shifted = |v: Vec<f64>| -> Vec<f64> {
                    v.iter()
                        .zip(&labels)
                        .map(|(v, l)| v + 10.0 * *l as f64)
                        .collect()
                };
                let (x, y) = (shifted(sample(&mut rng, 12)), shifted(sample(&mut rng, 12)));
                let test = partial_correlation_permutation(&x, &y, &[], exchange, 199, rng);
                test.unwrap().p <= 0.1
            })
            .count()
    };
    assert_eq!(rejections(Exchangeability::Free), 200);
    assert!(rejections(Exchangeability::WithinClusters(&labels)) <= 37);
}

#[test]
fn leave_one_out_by_hat_equals_refitting() {
    for_each_pair("loo", 14, |x, y| {
        let square = map(x, |v| v * v);
        let fit = least_squares(y, &[x, &square]).unwrap();
        let (mut errors, mut baseline) = (0.0, 0.0);
        for out in 0..y.len() {
            let without = |v: &[f64]| {
                let mut rest = v.to_vec();
                rest.remove(out);
                rest
            };
            let rest = without(y);
            let refit = least_squares(&rest, &[&without(x), &without(&square)]).unwrap();
            let b = |j: usize| refit.coefficients[j].estimate;
            errors += (y[out] - b(0) - b(1) * x[out] - b(2) * square[out]).powi(2);
            baseline += (y[out] - mean(&rest).unwrap()).powi(2);
        }
        let refitted = 1.0 - errors / baseline;
        let by_hat = fit.leave_one_out_r_squared(y).unwrap();
        // A point of high leverage magnifies rounding, so this is looser than `close`.
        assert!((by_hat - refitted).abs() <= 1e-8 * (1.0 + refitted.abs()));
        assert!(by_hat < fit.r_squared);
        close(fit.leverage.iter().sum(), 3.0);
    });
}

#[test]
fn one_predictor_is_the_correlation() {
    for_each_pair("slope", 10, |x, y| {
        let (fit, r) = (least_squares(y, &[x]).unwrap(), pearson(x, y).unwrap());
        close(fit.r_squared, r.r * r.r);
        close(fit.coefficients[1].p, r.p);
    });
}

#[test]
fn t_tests_and_their_intervals_agree() {
    for_each_pair("t", 8, |x, y| {
        let test = welch_t(x, y, 0.9).unwrap();
        let swapped = welch_t(y, x, 0.9).unwrap();
        close(swapped.t, -test.t);
        close(swapped.interval.low, -test.interval.high);
        // A null outside the 90 % interval is exactly one with p < 0.1.
        assert_eq!(test.p < 0.1, !test.interval.contains(0.0));
        let differences: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        let paired = one_sample_t(&differences, 0.0, 0.9).unwrap();
        assert_eq!(paired.p < 0.1, !paired.interval.contains(0.0));
        let end = one_sample_t(&differences, paired.interval.low, 0.9).unwrap();
        close(end.p, 0.1);
    });
}

#[test]
fn hedges_g_is_antisymmetric_and_scale_free() {
    for_each_pair("g", 7, |x, y| {
        let g = hedges_g(x, y, 0.95).unwrap();
        assert!(g.interval.contains(g.d) && g.g.abs() < g.d.abs());
        close(hedges_g(y, x, 0.95).unwrap().interval.low, -g.interval.high);
        close(
            hedges_g(&map(x, |v| 8.0 * v + 1.0), &map(y, |v| 8.0 * v + 1.0), 0.95)
                .unwrap()
                .g,
            g.g,
        );
    });
}

#[test]
fn bootstrap_moves_with_the_data() {
    let strata: Vec<usize> = (0..15).map(|unit| unit % 5).collect();
    for_each_pair("bca", 15, |x, _| {
        let interval = |x: &[f64], strata: Option<&[usize]>| {
            let statistic =
                |units: &[usize]| mean(&units.iter().map(|&u| x[u]).collect::<Vec<f64>>());
            let rng = stream(5, "resamples");
            match strata {
                None => bootstrap_bca(15, statistic, 200, 0.9, rng),
                Some(strata) => bootstrap_bca_stratified(strata, statistic, 200, 0.9, rng),
            }
            .unwrap()
        };
        for strata in [None, Some(strata.as_slice())] {
            let (plain, moved) = (
                interval(x, strata),
                interval(&map(x, |v| 4.0 * v - 1.0), strata),
            );
            close(moved.interval.low, 4.0 * plain.interval.low - 1.0);
            close(moved.interval.high, 4.0 * plain.interval.high - 1.0);
            close(moved.acceleration, plain.acceleration);
            assert!(plain.interval.low < plain.interval.high);
        }
        // One stratum is no stratum.
        assert_eq!(interval(x, Some(&[3; 15])), interval(x, None));
    });
}

#[test]
fn strata_keep_their_sizes() {
    let strata = [0, 1, 1, 0, 1, 2, 2];
    let statistic = |units: &[usize]| {
        let mut sizes = [0; 3];
        units.iter().for_each(|&u| sizes[strata[u]] += 1);
        // A jackknife sample lacks one unit of one stratum, a resample none.
        let missing: i32 = [2, 3, 2]
            .iter()
            .zip(sizes)
            .map(|(a, b)| i32::abs(a - b))
            .sum();
        assert!(missing <= 1, "sizes {sizes:?}");
        Ok(units.iter().map(|&u| (u * u) as f64).sum())
    };
    bootstrap_bca_stratified(&strata, statistic, 100, 0.9, stream(1, "sizes")).unwrap();
}

#[test]
fn holm_is_monotone() {
    for_each_pair("holm", 9, |x, _| {
        let p = map(x, |v| (-v).exp());
        let adjusted = holm(&p).unwrap();
        for (i, a) in p.iter().enumerate() {
            assert!(adjusted[i] >= *a && adjusted[i] <= 1.0);
            assert!(
                p.iter()
                    .enumerate()
                    .all(|(j, b)| a > b || adjusted[i] <= adjusted[j])
            );
        }
        let reversed: Vec<f64> = p.iter().rev().copied().collect();
        let back: Vec<f64> = holm(&reversed).unwrap().into_iter().rev().collect();
        assert_eq!(back, adjusted);
    });
    assert_eq!(holm(&[]).unwrap(), Vec::<f64>::new());
}

#[test]
fn shares_mirror() {
    for successes in 0..=12 {
        let share = wilson_interval(successes, 12, 0.9).unwrap();
        let mirrored = wilson_interval(12 - successes, 12, 0.9).unwrap();
        close(share.low, 1.0 - mirrored.high);
        assert!(share.contains(successes as f64 / 12.0));
        let p = mcnemar_exact(successes, 12 - successes).unwrap();
        assert_eq!(p, mcnemar_exact(12 - successes, successes).unwrap());
        assert!(p > 0.0 && p <= 1.0);
    }
}

#[test]
fn sign_flips() {
    for_each_pair("flips", 8, |x, y| {
        let d: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        let alone = sign_flip(&d, 1, stream(0, "unused")).unwrap();
        assert!(alone.exhaustive && alone.p >= 2.0 / 256.0 && alone.p <= 1.0);
        let negative = sign_flip(&map(&d, |v| -v), 1, stream(0, "unused")).unwrap();
        assert_eq!(negative.p, alone.p);
        // A column's scale does not matter, and the family's p is never smaller.
        let scaled = map(x, |v| 1e6 * (v - 1.0));
        let both = sign_flip_max(&[&d, &scaled], 1, stream(0, "unused")).unwrap();
        assert_eq!(both[0].alone, alone);
        assert!(both.iter().all(|c| c.family.p >= c.alone.p));
    });
    let zeros = sign_flip(&[0.0; 6], 1, stream(0, "unused")).unwrap();
    assert_eq!(zeros.p, 1.0);
}

#[test]
fn drawn_flips_approach_the_enumerated() {
    // Units without a difference change no pattern's statistic, so sixty more of
    // them leave p as it is and make the test draw. 20,000 draws: SD of p at
    // most 0.0036; the bound is four SD.
    for_each_pair("drawn flips", 12, |x, y| {
        let mut d: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
        let enumerated = sign_flip(&d, 1, stream(0, "unused")).unwrap();
        d.extend([0.0; 60]);
        let drawn = sign_flip(&d, 20_000, stream(0, "flips")).unwrap();
        assert!(enumerated.exhaustive && !drawn.exhaustive);
        assert!(
            (drawn.p - enumerated.p).abs() < 0.0145,
            "{} and {}",
            drawn.p,
            enumerated.p
        );
    });
}

#[test]
fn flips_beyond_one_word_are_independent() {
    // Units 0 and 64 agree in half of the patterns; SD of p is 0.005 at 10,000 draws.
    let mut d = [0.0; 65];
    (d[0], d[64]) = (1.0, 1.0);
    let test = sign_flip(&d, 10_000, stream(0, "words")).unwrap();
    assert!((test.p - 0.5).abs() < 0.02, "{}", test.p);
}

#[test]
fn huge_differences_have_finite_intervals_in_finite_time() {
    let (x, y) = ([1e9, 1e9 + 1.0, 1e9 + 2.0], [0.0, 1.0, 3.0]);
    let g = hedges_g(&x, &y, 0.95).unwrap();
    assert!(g.interval.contains(g.d) && g.interval.high < 4.0 * g.d);
}

#[test]
fn detectable_effects_have_their_power() {
    for n in [3, 8, 25, 500] {
        let shift = detectable_mean_shift(n, 0.05, 0.8).unwrap();
        close(one_sample_t_power(n, shift, 0.05).unwrap(), 0.8);
        // Without an effect the power is alpha.
        close(one_sample_t_power(n, 0.0, 0.05).unwrap(), 0.05);
        close(one_sample_t_power(n, -shift, 0.05).unwrap(), 0.8);
    }
}
