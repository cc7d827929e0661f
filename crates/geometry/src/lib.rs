//! Measures on activations: f32 tensors in, f64 numbers out.
//!
//! Sums run in f64 from the f32 (or f64) activations (METHODS, Notation). A
//! helper lives here once a second experiment needs it.

mod error;
mod gain;
mod ledger;
mod rows;

pub use error::GeometryError;
pub use gain::{geometric_mean, ratio};
pub use ledger::{BlockSplit, split};
pub use rows::{Rows, dot, kl_divergence, norm, share_of_top};
