use assay_checkpoint::Activation;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::activation::{activate, gate_by};
use super::linear::Linear;
use crate::DecoderError;
use crate::pass::Pass;

/// Two layers with a non-linearity between: x [rows, d_model] -> the MLP's
/// output [rows, d_model].
pub(crate) fn plain(
    pass: &mut Pass,
    layer: usize,
    x: &Tensor,
    (up, activation, down): (&Linear, Activation, &Linear),
) -> Result<Tensor, DecoderError> {
    let pre = pass.block(layer, BlockSite::MlpPre, up.forward(x)?)?;
    let post = if pass.wants(layer, BlockSite::MlpPre) {
        // The hook may still hold `pre`: the activation works on a copy.
        activate(activation, pre.copy()?)?
    } else {
        activate(activation, pre)?
    };
    let post = pass.block(layer, BlockSite::MlpPost, post)?;
    down.forward(&post)
}

/// act(gate(x)) * up(x), then down: x [rows, d_model] -> [rows, d_model].
pub(crate) fn gated(
    pass: &mut Pass,
    layer: usize,
    x: &Tensor,
    (gate, activation, up, down): (&Linear, Activation, &Linear, &Linear),
) -> Result<Tensor, DecoderError> {
    let pre = pass.block(layer, BlockSite::MlpPre, gate.forward(x)?)?;
    let linear = pass.block(layer, BlockSite::MlpPreLinear, up.forward(x)?)?;
    let post = if pass.wants(layer, BlockSite::MlpPre) {
        gate_by(activation, pre.copy()?, &linear)?
    } else {
        gate_by(activation, pre, &linear)?
    };
    let post = pass.block(layer, BlockSite::MlpPost, post)?;
    down.forward(&post)
}
