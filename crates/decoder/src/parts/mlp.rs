use assay_checkpoint::Activation;
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::activation::{activate, bias_activate_in_place, gate_in_place};
use super::elementwise::on_cpu;
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
    let fused = match up.bias() {
        Some(bias) if !pass.wants(layer, BlockSite::MlpPre) && on_cpu(x) => Some(bias),
        _ => None,
    };
    let post = match fused {
        Some(bias) => bias_activate_in_place(activation, up.matmul(x)?, bias)?,
        None => {
            let pre = pass.block(layer, BlockSite::MlpPre, up.forward(x)?)?;
            activate(activation, &pre)?
        }
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
    let post = if !on_cpu(x) {
        (activate(activation, &pre)? * linear)?
    } else if pass.wants(layer, BlockSite::MlpPre) {
        // The hook may still hold `pre`: the gate works on a copy.
        gate_in_place(activation, pre.copy()?, &linear)?
    } else {
        gate_in_place(activation, pre, &linear)?
    };
    let post = pass.block(layer, BlockSite::MlpPost, post)?;
    down.forward(&post)
}
