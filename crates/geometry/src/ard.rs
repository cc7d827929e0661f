//! Which dimensions do two clouds share? Automatic relevance determination by
//! the maximum mean discrepancy: as published, and audited (METHODS §6).

use rayon::prelude::*;

use crate::{GeometryError, Precision, TwoClouds};

/// Adam's constants (Kingma and Ba 2015), but for the rate.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const ADAM_EPSILON: f64 = 1e-8;

/// How the published objective is minimised: Σ over pairs of MMD² + λ Σ 1/ℓ_j,
/// over log ℓ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LengthSettings {
    /// λ.
    pub lambda: f64,
    /// Adam's rate.
    pub rate: f64,
    /// Steps that are taken in any case, and at most.
    pub steps: (usize, usize),
    /// The fit ends when so many steps have not bettered the objective by this
    /// share of its size at the start.
    pub plateau: (usize, f64),
}

/// A fit under way. It can be stored and taken up again: the steps after that
/// are the ones it would have taken, bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct LengthFit {
    /// log ℓ [d].
    pub log_lengths: Vec<f64>,
    /// Adam's first and second moments [d].
    pub moments: (Vec<f64>, Vec<f64>),
    /// The objective before each step taken.
    pub objective: Vec<f64>,
    /// The MMD² part of it.
    pub mmd2: Vec<f64>,
}

impl LengthFit {
    /// A fit that begins at some log ℓ.
    #[must_use]
    pub fn from(log_lengths: Vec<f64>) -> Self {
        let zeros = vec![0.0; log_lengths.len()];
        Self {
            moments: (zeros.clone(), zeros),
            log_lengths,
            objective: Vec::new(),
            mmd2: Vec::new(),
        }
    }

    /// w_j = 1/ℓ_j².
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        self.log_lengths.iter().map(|l| (-2.0 * l).exp()).collect()
    }

    /// Takes one step.
    ///
    /// # Errors
    /// No pairs, or pairs of another width; an objective that is not finite.
    pub fn step<T: Precision>(
        &mut self,
        pairs: &[TwoClouds<T>],
        settings: &LengthSettings,
    ) -> Result<(), GeometryError> {
        let weights = self.weights();
        let (mmd2, by_weight) = total(pairs, &weights)?;
        let penalty: f64 = self.log_lengths.iter().map(|l| (-l).exp()).sum();
        let objective = mmd2 + settings.lambda * penalty;
        if !objective.is_finite() {
            return Err(GeometryError::Degenerate {
                what: format!("the objective at step {}", self.objective.len()),
                value: objective,
            });
        }
        self.objective.push(objective);
        self.mmd2.push(mmd2);
        let t = self.objective.len() as i32;
        let (first, second) = &mut self.moments;
        for (j, log_length) in self.log_lengths.iter_mut().enumerate() {
            // dw/d log ℓ = -2 w, d(1/ℓ)/d log ℓ = -1/ℓ.
            let gradient =
                -2.0 * weights[j] * by_weight[j] - settings.lambda * (-*log_length).exp();
            first[j] = BETA_1 * first[j] + (1.0 - BETA_1) * gradient;
            second[j] = BETA_2 * second[j] + (1.0 - BETA_2) * gradient * gradient;
            let mean = first[j] / (1.0 - BETA_1.powi(t));
            let spread = (second[j] / (1.0 - BETA_2.powi(t))).sqrt();
            *log_length -= settings.rate * mean / (spread + ADAM_EPSILON);
        }
        Ok(())
    }

    /// Is it to end, by its settings?
    #[must_use]
    pub fn ended(&self, settings: &LengthSettings) -> bool {
        let taken = self.objective.len();
        let (least, most) = settings.steps;
        let (window, share) = settings.plateau;
        if taken >= most {
            return true;
        }
        if taken < least.max(window + 1) {
            return false;
        }
        let best = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        let (before, lately) = self.objective.split_at(taken - window);
        let scale = self.objective[0].abs();
        best(before) - best(lately) < share * scale
    }

    /// Steps until it is to end; `tell` is told the number of steps taken.
    ///
    /// # Errors
    /// As [`LengthFit::step`].
    pub fn run<T: Precision>(
        &mut self,
        pairs: &[TwoClouds<T>],
        settings: &LengthSettings,
        tell: &mut dyn FnMut(usize),
    ) -> Result<(), GeometryError> {
        while !self.ended(settings) {
            self.step(pairs, settings)?;
            tell(self.objective.len());
        }
        Ok(())
    }

    /// What is wrong with where it went, if anything.
    #[must_use]
    pub fn degenerate(&self) -> Option<Degenerate> {
        let (Some(first), Some(last)) = (self.mmd2.first(), self.mmd2.last()) else {
            return None;
        };
        if *first == 0.0 && *last == 0.0 {
            return Some(Degenerate::NoKernel);
        }
        if *last < 0.0 {
            return Some(Degenerate::NegativeByNoise);
        }
        let longest = self.log_lengths.iter().copied().fold(f64::MIN, f64::max);
        (longest > LONGEST).then_some(Degenerate::EndlessLengths)
    }
}

/// log ℓ beyond which a dimension of unit spread adds less than a millionth to
/// a distance.
const LONGEST: f64 = 7.0;

/// How the published objective fails (errata E18 and E21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degenerate {
    /// Every value of the kernel between different points is 0 in this
    /// precision, so that nothing but the penalty has a gradient.
    NoKernel,
    /// An estimate of a squared distance ends below 0: what was minimised is
    /// its sampling noise.
    NegativeByNoise,
    /// Lengths grow without end: the penalty is best served by none.
    EndlessLengths,
}

impl Degenerate {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Degenerate::NoKernel => "the kernel is 0 everywhere",
            Degenerate::NegativeByNoise => "MMD² ends below 0, in its sampling noise",
            Degenerate::EndlessLengths => "lengths grow without end",
        }
    }
}

/// Σ over pairs of MMD², and its derivatives by the weights.
fn total<T: Precision>(
    pairs: &[TwoClouds<T>],
    weights: &[f64],
) -> Result<(f64, Vec<f64>), GeometryError> {
    if pairs.is_empty() {
        return Err(GeometryError::Degenerate {
            what: "the number of pairs of clouds".to_owned(),
            value: 0.0,
        });
    }
    let parts: Vec<(f64, Vec<f64>)> = pairs
        .par_iter()
        .map(|pair| pair.mmd2_and_gradient(weights))
        .collect::<Result<_, _>>()?;
    // Summed in order, so that the number of threads changes no bit.
    let mut value = 0.0;
    let mut gradient = vec![0.0; weights.len()];
    for (part, by_weight) in parts {
        value += part;
        gradient
            .iter_mut()
            .zip(by_weight)
            .for_each(|(g, p)| *g += p);
    }
    Ok((value, gradient))
}

/// How the audited objective is minimised: the mean MMD² of clouds that belong
/// together minus the mean MMD² of clouds that do not, over weights of a fixed
/// sum with a cap on each. Without the cap a budget ends in about one
/// dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastSettings {
    /// Σ w.
    pub budget: f64,
    /// Most of a single weight.
    pub cap: f64,
    /// Largest change of a logarithm of a weight in one step.
    pub rate: f64,
    /// Steps at most.
    pub steps: usize,
    /// As in [`LengthSettings`], relative to the objective's size.
    pub plateau: (usize, f64),
}

/// Weights under the audited objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Contrast {
    /// The best found [d].
    pub weights: Vec<f64>,
    /// The objective at each step.
    pub objective: Vec<f64>,
}

/// Minimises by exponentiated gradient steps from equal weights, each followed
/// by the cap.
///
/// # Errors
/// No pairs on either side, or of several widths; a cap that the budget cannot
/// keep.
pub fn contrast<T: Precision>(
    together: &[TwoClouds<T>],
    apart: &[TwoClouds<T>],
    settings: &ContrastSettings,
    tell: &mut dyn FnMut(usize),
) -> Result<Contrast, GeometryError> {
    let d = together.first().map_or(0, TwoClouds::d);
    let fits = settings.cap * d as f64 >= settings.budget;
    if !fits || settings.cap <= 0.0 || settings.budget <= 0.0 {
        return Err(GeometryError::Degenerate {
            what: format!("the cap of {d} weights with the sum {}", settings.budget),
            value: settings.cap,
        });
    }
    let mut weights = vec![settings.budget / d as f64; d];
    let mut best = (f64::INFINITY, weights.clone());
    let mut objective: Vec<f64> = Vec::new();
    for step in 0..settings.steps {
        let (near, near_slope) = total(together, &weights)?;
        let (far, far_slope) = total(apart, &weights)?;
        let (n, m) = (together.len() as f64, apart.len() as f64);
        let value = near / n - far / m;
        objective.push(value);
        if value < best.0 {
            best = (value, weights.clone());
        }
        tell(step + 1);
        let (window, share) = settings.plateau;
        if objective.len() > window {
            let lowest = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
            let (before, lately) = objective.split_at(objective.len() - window);
            if lowest(before) - lowest(lately) < share * best.0.abs() {
                break;
            }
        }
        let slope: Vec<f64> = (near_slope.iter().zip(&far_slope))
            .map(|(a, b)| a / n - b / m)
            .collect();
        let steepest = slope.iter().map(|s| s.abs()).fold(0.0, f64::max);
        if steepest == 0.0 {
            break;
        }
        for (weight, slope) in weights.iter_mut().zip(&slope) {
            *weight *= (-settings.rate * slope / steepest).exp();
        }
        capped(&mut weights, settings.budget, settings.cap);
    }
    Ok(Contrast {
        weights: best.1,
        objective,
    })
}

/// Scales weights to a sum, none above a cap: what a cap takes is shared among
/// the others in proportion.
fn capped(weights: &mut [f64], budget: f64, cap: f64) {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    let mut rest: f64 = weights.iter().sum();
    let mut left = budget;
    let mut at = 0;
    while at < order.len() && weights[order[at]] * left / rest > cap {
        rest -= weights[order[at]];
        left -= cap;
        weights[order[at]] = cap;
        at += 1;
    }
    for place in &order[at..] {
        weights[*place] *= left / rest;
    }
}

/// Number of weights that do the work: (Σ w)² / Σ w².
///
/// # Errors
/// Weights that are negative, not finite, or all 0.
pub fn effective_number(weights: &[f64]) -> Result<f64, GeometryError> {
    let bad = weights.iter().find(|w| !(**w >= 0.0 && w.is_finite()));
    let sum: f64 = weights.iter().sum();
    if let Some(value) = bad.copied().or((sum <= 0.0).then_some(sum)) {
        return Err(GeometryError::Degenerate {
            what: "a weight, or their sum".to_owned(),
            value,
        });
    }
    Ok(sum * sum / weights.iter().map(|w| w * w).sum::<f64>())
}

/// Area under the ROC curve of scores that are to be larger where `truth`
/// holds: the share of (true, false) pairs in the right order, ties half.
///
/// # Errors
/// Other lengths, or only one kind.
pub fn auc(scores: &[f64], truth: &[bool]) -> Result<f64, GeometryError> {
    if scores.len() != truth.len() {
        return Err(GeometryError::Length {
            what: "scores and truths",
            left: scores.len(),
            right: truth.len(),
        });
    }
    let of = |kind: bool| -> Vec<f64> {
        let both = scores.iter().zip(truth);
        both.filter(|(_, t)| **t == kind).map(|(s, _)| *s).collect()
    };
    let (yes, no) = (of(true), of(false));
    if yes.is_empty() || no.is_empty() {
        return Err(GeometryError::Degenerate {
            what: "the number of scores of the rarer kind".to_owned(),
            value: 0.0,
        });
    }
    let beats = |y: &f64, n: &f64| {
        if y > n {
            1.0
        } else if y == n {
            0.5
        } else {
            0.0
        }
    };
    let wins: f64 = yes
        .iter()
        .flat_map(|y| no.iter().map(move |n| beats(y, n)))
        .sum();
    Ok(wins / (yes.len() * no.len()) as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{
        ContrastSettings, Degenerate, LengthFit, LengthSettings, auc, capped, contrast,
        effective_number,
    };
    use crate::{TwoClouds, normals};
    use assay_stats::stream;
    use nalgebra::DMatrix;

    const SETTINGS: LengthSettings = LengthSettings {
        lambda: 0.001,
        rate: 0.01,
        steps: (20, 60),
        plateau: (10, 1e-4),
    };

    /// Problems whose clouds agree between two languages in the first `k`
    /// dimensions, where problems differ, and differ by language in the others.
    fn problems(d: usize, k: usize) -> (Vec<DMatrix<f64>>, Vec<DMatrix<f64>>) {
        let mut draws = stream(3, "ard");
        let language = normals(d, &mut draws);
        let mut sides = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let topic = normals(d, &mut draws);
            for (side, sign) in [(&mut sides.0, 1.0), (&mut sides.1, -1.0)] {
                let noise = normals(12 * d, &mut draws);
                side.push(DMatrix::from_fn(12, d, |i, j| {
                    let part = if j < k {
                        2.0 * topic[j]
                    } else {
                        sign * language[j]
                    };
                    part + 0.5 * noise[i * d + j]
                }));
            }
        }
        sides
    }

    fn pairs(zh: &[DMatrix<f64>], en: &[DMatrix<f64>]) -> Vec<TwoClouds<f64>> {
        let both = zh.iter().zip(en);
        both.map(|(a, b)| TwoClouds::new(a, b).unwrap()).collect()
    }

    #[test]
    fn a_fit_taken_up_again_is_the_fit() {
        let (zh, en) = problems(12, 4);
        let pairs = pairs(&zh, &en);
        let mut whole = LengthFit::from(vec![0.5; 12]);
        whole.run(&pairs, &SETTINGS, &mut |_| ()).unwrap();
        let mut first = LengthFit::from(vec![0.5; 12]);
        for _ in 0..7 {
            first.step(&pairs, &SETTINGS).unwrap();
        }
        let mut again = first.clone();
        again.run(&pairs, &SETTINGS, &mut |_| ()).unwrap();
        assert_eq!(again, whole);
        assert!(whole.objective.len() >= 20 && whole.objective.len() <= 60);
        assert!(whole.objective.last() < whole.objective.first());
    }

    #[test]
    fn the_published_objective_ends_where_noise_is_negative() {
        // Clouds of one distribution, small: there is nothing to find.
        let mut draws = stream(4, "noise");
        let mut cloud = || DMatrix::from_row_slice(6, 8, &normals(48, &mut draws));
        let pairs: Vec<TwoClouds<f64>> = (0..3)
            .map(|_| TwoClouds::new(&cloud(), &cloud()).unwrap())
            .collect();
        let mut fit = LengthFit::from(vec![0.0; 8]);
        let settings = LengthSettings {
            rate: 0.05,
            steps: (300, 300),
            ..SETTINGS
        };
        fit.run(&pairs, &settings, &mut |_| ()).unwrap();
        assert_eq!(fit.degenerate(), Some(Degenerate::NegativeByNoise));
        let wide = DMatrix::from_row_slice(4, 2048, &normals(8192, &mut stream(5, "wide")));
        let blind = [TwoClouds::<f32>::new(&wide, &(&wide * 1.5)).unwrap()];
        let mut fit = LengthFit::from(vec![0.0; 2048]);
        fit.step(&blind, &SETTINGS).unwrap();
        assert_eq!(fit.degenerate(), Some(Degenerate::NoKernel));
    }

    #[test]
    fn the_contrast_finds_planted_dimensions() {
        let (zh, en) = problems(40, 6);
        let together = pairs(&zh, &en);
        let mut other = zh.clone();
        other.rotate_left(1);
        let apart = pairs(&zh, &other);
        let settings = ContrastSettings {
            budget: 1.0,
            cap: 1.0 / 6.0,
            rate: 0.3,
            steps: 100,
            plateau: (15, 1e-4),
        };
        let found = contrast(&together, &apart, &settings, &mut |_| ()).unwrap();
        let truth: Vec<bool> = (0..40).map(|j| j < 6).collect();
        assert!(auc(&found.weights, &truth).unwrap() > 0.99);
        assert!(effective_number(&found.weights).unwrap() > 5.0);
        assert!((found.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(found.weights.iter().all(|w| *w <= 1.0 / 6.0 + 1e-12));
        let tight = ContrastSettings {
            cap: 0.02,
            ..settings
        };
        assert!(contrast(&together, &apart, &tight, &mut |_| ()).is_err());
        assert!(contrast::<f64>(&[], &apart, &settings, &mut |_| ()).is_err());
    }

    #[test]
    fn caps_are_kept_and_the_sum_too() {
        let mut weights = vec![8.0, 4.0, 2.0, 1.0, 1.0];
        capped(&mut weights, 1.0, 0.3);
        // .3 and .3; the other .4 in the proportions 2 to 1 to 1.
        let expected = [0.3, 0.3, 0.2, 0.1, 0.1];
        let worst = weights.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-12, "{weights:?}");
    }

    #[test]
    fn areas_and_effective_numbers() {
        let truth = [true, false, true, false];
        assert_eq!(auc(&[4.0, 1.0, 3.0, 2.0], &truth).unwrap(), 1.0);
        assert_eq!(auc(&[1.0, 1.0, 1.0, 1.0], &truth).unwrap(), 0.5);
        assert_eq!(auc(&[4.0, 3.0, 2.0, 1.0], &truth).unwrap(), 0.75);
        assert!(auc(&[1.0], &truth).is_err());
        assert!(auc(&[1.0, 2.0], &[true, true]).is_err());
        assert_eq!(effective_number(&[2.0, 2.0, 0.0]).unwrap(), 2.0);
        assert!(effective_number(&[0.0]).is_err());
        assert!(effective_number(&[1.0, -1.0]).is_err());
    }
}
