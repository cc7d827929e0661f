//! Measures on activations: f32 tensors in, f64 numbers out.
//!
//! Sums run in f64 from the f32 (or f64) activations (METHODS, Notation). A
//! helper lives here once a second experiment needs it.

mod angles;
mod ard;
mod bridge;
mod cka;
mod dtw;
mod error;
mod gain;
mod ledger;
mod mask;
mod massive;
mod mmd;
mod participation;
mod rows;
mod spectrum;
mod subspace;
mod transport;

pub use angles::{MatchedCosines, cosine, matched_cosines, mean_row};
pub use ard::{
    Contrast, ContrastSettings, Degenerate, LengthFit, LengthSettings, auc, contrast,
    effective_number,
};
pub use bridge::{
    Bridge, Fit, LeftOut, left_out, r2_by_groups, r2_in_sample, r2_left_out, r2_left_out_by_gram,
};
pub use cka::{Gram, linear_cka};
pub use dtw::{Barycentre, Warping, barycentre, dtw, stretch};
pub use error::GeometryError;
pub use gain::{geometric_mean, ratio};
pub use ledger::{BlockSplit, split};
pub use mask::{HeadMasks, QueryKey, avoidance};
pub use massive::{Massive, massive};
pub use mmd::{Precision, TwoClouds};
pub use participation::{Participation, autocorrelation, participation};
pub use rows::{Rows, dot, kl_divergence, norm, share_of_top};
pub use spectrum::{covariance_spectrum, effective_rank};
pub use subspace::{Moment, Subspace, normals};
pub use transport::{Transport, barycentric, exact_cost, sinkhorn};
