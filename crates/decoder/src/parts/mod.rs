//! What the architectures share.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod linear;
pub(crate) mod load;
pub(crate) mod mlp;
pub(crate) mod norm;
pub(crate) mod projections;
pub(crate) mod real;
pub(crate) mod rotary;
pub(crate) mod score;
pub(crate) mod together;
