//! How a model is held: in memory if it fits, from its files if it does not;
//! on which device, and in what it computes.

use anyhow::bail;
use assay_checkpoint::DecoderConfig;
use assay_decoder::{Arithmetic, Placement, Residency, SCORES, memory};
use assay_record::wire::Hold;
use assay_record::{ComputeDevice, ComputeType};
use candle_core::{DType, Device};

use crate::gpu;

/// What the process takes beside the weights and what experiments keep: itself,
/// one tensor on its way from a file, the activations of one block, attention's
/// scores where prompts attend side by side.
const BESIDE: u64 = (256 << 20) + SCORES;

/// How a model is held within `limit` bytes, and what that takes. Experiments
/// keep `activations` either way, and need `extra` beside a resident model: a
/// second one in f64, which is streamed if the first is.
pub(crate) fn choose(
    config: &DecoderConfig,
    dtype: Option<ComputeType>,
    (extra, activations): (u64, u64),
    limit: Option<u64>,
) -> anyhow::Result<(Residency, u64)> {
    let dtype = dtype_of(dtype);
    let needs = |residency| anyhow::Ok(memory(config, dtype, residency)? + BESIDE + activations);
    let resident = needs(Residency::Resident)? + extra;
    if limit.is_none_or(|limit| resident <= limit) {
        return Ok((Residency::Resident, resident));
    }
    Ok((Residency::Streamed, needs(Residency::Streamed)?))
}

/// What is computed in; f32, as every experiment declares, unless asked
/// otherwise.
fn dtype_of(asked: Option<ComputeType>) -> DType {
    match asked {
        None | Some(ComputeType::F32) => DType::F32,
        Some(ComputeType::F16) => DType::F16,
        Some(ComputeType::Bf16) => DType::BF16,
    }
}

/// The device that a request names.
pub(crate) fn device(hold: Hold) -> anyhow::Result<Device> {
    match hold.device {
        ComputeDevice::Cpu => Ok(Device::Cpu),
        ComputeDevice::Cuda(number) => gpu::device(number),
    }
}

/// Where a decoder goes, as a request says.
pub(crate) fn placement(hold: Hold, device: &Device) -> anyhow::Result<Placement<'_>> {
    let dtype = dtype_of(hold.dtype);
    if hold.as_stored && (!hold.device.is_cpu() || dtype != DType::F32) {
        bail!(
            "quantised weights are multiplied as stored on the CPU in f32 only: leave --as-stored \
             or --device and --dtype out"
        );
    }
    Ok(Placement {
        dtype,
        devices: std::slice::from_ref(device),
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
    })
}
