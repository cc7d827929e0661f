use assay_checkpoint::DecoderConfig;
use assay_decoder::{DecoderError, TensorKind, TensorSpec, Variables};
use assay_stats::stream;
use candle_core::{DType, Device, Tensor};
use rand_chacha::rand_core::RngCore;

use crate::TrainError;

/// Where a model's weights begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Init {
    /// Seed of the streams, one a tensor.
    pub seed: u64,
    /// Standard deviation of matrices and embeddings. Matrices that write into
    /// the residual stream get it over sqrt(2 L) (Radford et al. 2019).
    pub sd: f64,
    /// F32; F64 for tests of gradients.
    pub dtype: DType,
}

/// Weights to begin with: gains 1, biases 0, the others uniform about 0.
/// Uniform, because a normal deviate goes through the platform's logarithm and
/// would differ in the last bit between machines. They are drawn on the CPU and
/// brought to `device`.
///
/// # Errors
/// An architecture that cannot be trained; a device that is not there.
pub fn variables(
    config: &DecoderConfig,
    init: &Init,
    device: &Device,
) -> Result<Variables, TrainError> {
    let residual = 1.0 / (2.0 * config.n_layers as f64).sqrt();
    let mut fill = |spec: &TensorSpec| -> Result<Tensor, DecoderError> {
        let sd = match spec.kind {
            TensorKind::Gain => {
                return Ok(Tensor::ones(spec.shape.as_slice(), init.dtype, device)?);
            }
            TensorKind::Bias => {
                return Ok(Tensor::zeros(spec.shape.as_slice(), init.dtype, device)?);
            }
            _ if writes(&spec.name) => init.sd * residual,
            _ => init.sd,
        };
        let mut draws = stream(init.seed, &format!("init/{}", spec.name));
        let half_width = sd * 3f64.sqrt();
        let values: Vec<f64> = (0..spec.shape.iter().product())
            .map(|_| half_width * (2.0 * unit(&mut draws) - 1.0))
            .collect();
        let values = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?;
        Ok(values.to_dtype(init.dtype)?.to_device(device)?)
    };
    Ok(Variables::new(config, &mut fill)?)
}

/// Names of the matrices that write into the residual stream.
fn writes(name: &str) -> bool {
    [
        "attention.dense.",
        "mlp.dense_4h_to_h.",
        "o_proj.",
        "down_proj.",
        "c_proj.",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// Uniform in [0, 1), a multiple of 2^-53.
pub(crate) fn unit(draws: &mut impl RngCore) -> f64 {
    (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
