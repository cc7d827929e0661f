use assay_checkpoint::{Activation, DecoderConfig};
use assay_hook_site::BlockSite;
use candle_core::Tensor;

use super::activation::{activate, gate_by};
use super::linear::Linear;
use super::load::Load;
use crate::DecoderError;
use crate::pass::Pass;

/// Two layers with a non-linearity between.
pub(crate) struct Plain {
    up: Linear,   // d_model -> d_mlp
    down: Linear, // d_mlp -> d_model
    activation: Activation,
}

impl Plain {
    pub(crate) fn new(up: Linear, down: Linear, activation: Activation) -> Self {
        Self {
            up,
            down,
            activation,
        }
    }

    /// Loads the layers of these names.
    pub(crate) fn load(
        from: &Load,
        (up, down): (&str, &str),
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        Ok(Self::new(
            from.linear(up, (d, d_mlp), config.mlp_bias)?,
            from.linear(down, (d_mlp, d), config.mlp_bias)?,
            config.activation,
        ))
    }

    /// x [rows, d_model] -> [rows, d_model].
    pub(crate) fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: &Tensor,
    ) -> Result<Tensor, DecoderError> {
        let pre = pass.block(layer, BlockSite::MlpPre, self.up.forward(x)?)?;
        let post = if pass.wants(layer, BlockSite::MlpPre) {
            // The hook may still hold `pre`: the activation works on a copy.
            activate(self.activation, pre.copy()?)?
        } else {
            activate(self.activation, pre)?
        };
        let post = pass.block(layer, BlockSite::MlpPost, post)?;
        self.down.forward(&post)
    }

    /// [d_mlp, d_model].
    pub(crate) fn out_weight(&self) -> Result<Tensor, DecoderError> {
        self.down.weight()
    }
}

/// down(act(gate(x)) * up(x)).
pub(crate) struct Gated {
    gate: Linear, // d_model -> d_mlp
    up: Linear,   // d_model -> d_mlp
    down: Linear, // d_mlp -> d_model
    activation: Activation,
}

impl Gated {
    /// Loads `{name}.gate_proj`, `.up_proj` and `.down_proj`.
    pub(crate) fn load(
        from: &Load,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, DecoderError> {
        let (d, d_mlp) = (config.d_model, config.d_mlp);
        let linear = |which: &str, shape| {
            from.linear(&format!("{name}.{which}_proj"), shape, config.mlp_bias)
        };
        Ok(Self {
            gate: linear("gate", (d, d_mlp))?,
            up: linear("up", (d, d_mlp))?,
            down: linear("down", (d_mlp, d))?,
            activation: config.activation,
        })
    }

    /// x [rows, d_model] -> [rows, d_model].
    pub(crate) fn forward(
        &self,
        pass: &mut Pass,
        layer: usize,
        x: &Tensor,
    ) -> Result<Tensor, DecoderError> {
        let pre = pass.block(layer, BlockSite::MlpPre, self.gate.forward(x)?)?;
        let linear = pass.block(layer, BlockSite::MlpPreLinear, self.up.forward(x)?)?;
        let post = if pass.wants(layer, BlockSite::MlpPre) {
            gate_by(self.activation, pre.copy()?, &linear)?
        } else {
            gate_by(self.activation, pre, &linear)?
        };
        let post = pass.block(layer, BlockSite::MlpPost, post)?;
        self.down.forward(&post)
    }

    /// What reads, [d_mlp, d_model] each: gate, up.
    pub(crate) fn in_weights(&self) -> Result<[Tensor; 2], DecoderError> {
        Ok([self.gate.weight()?.t()?, self.up.weight()?.t()?])
    }

    /// [d_mlp, d_model].
    pub(crate) fn out_weight(&self) -> Result<Tensor, DecoderError> {
        self.down.weight()
    }
}
