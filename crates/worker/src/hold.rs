//! How a model is held: in memory if it fits, from its files if it does not.

use assay_checkpoint::DecoderConfig;
use assay_decoder::{Arithmetic, Placement, Residency, memory};
use assay_record::wire::Hold;
use candle_core::{DType, Device};

/// What the process takes beside the weights and what experiments keep: itself,
/// one tensor on its way from a file, the activations of one block.
const BESIDE: u64 = 512 << 20;

/// How a model is held within `limit` bytes, and what that takes. Experiments
/// keep `activations` either way, and need `extra` beside a resident model: a
/// second one in f64, which is streamed if the first is.
pub(crate) fn choose(
    config: &DecoderConfig,
    (extra, activations): (u64, u64),
    limit: Option<u64>,
) -> anyhow::Result<(Residency, u64)> {
    let needs =
        |residency| anyhow::Ok(memory(config, DType::F32, residency)? + BESIDE + activations);
    let resident = needs(Residency::Resident)? + extra;
    if limit.is_none_or(|limit| resident <= limit) {
        return Ok((Residency::Resident, resident));
    }
    Ok((Residency::Streamed, needs(Residency::Streamed)?))
}

/// Where a decoder goes, as a request says.
pub(crate) fn placement(hold: Hold) -> Placement<'static> {
    Placement {
        dtype: DType::F32,
        devices: &[Device::Cpu],
        residency: if hold.streamed {
            Residency::Streamed
        } else {
            Residency::Resident
        },
        arithmetic: if hold.as_stored {
            Arithmetic::AsStored
        } else {
            Arithmetic::Exact
        },
    }
}
