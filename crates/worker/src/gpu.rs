//! The GPU, in a worker that is built with the cuda feature; in another, the
//! sentence that says so.

use std::collections::BTreeMap;

use assay_record::wire::Event;
use candle_core::Device;

use crate::emit;

/// What of a GPU can change a number.
pub(crate) struct Facts {
    /// "cuda-sm90".
    pub(crate) class: String,
    /// The GPU, and the versions of what computes on it, as switches of a key.
    pub(crate) switches: BTreeMap<String, String>,
}

/// Says what GPU there is.
pub(crate) fn tell(number: usize) -> anyhow::Result<()> {
    let device = device(number)?;
    let facts = facts(&device)?;
    emit(&Event::Gpu {
        name: facts.switches.get(NAME).cloned().unwrap_or_default(),
        class: facts.class,
        free: free(&device)?,
    })
}

/// The switch that names the GPU.
const NAME: &str = "cuda.device";

/// What NVIDIA's libraries are told, whatever the environment said: no products
/// in TF32, and two workspaces of cuBLAS, with which its results are the same
/// from run to run.
#[cfg(feature = "cuda")]
pub(crate) const SWITCHES: &[(&str, &str)] = &[
    ("NVIDIA_TF32_OVERRIDE", "0"),
    ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
];

/// A worker for the CPU tells them nothing.
#[cfg(not(feature = "cuda"))]
pub(crate) const SWITCHES: &[(&str, &str)] = &[];

/// Sets the switches. To be called before the libraries begin and before this
/// process has a second thread.
pub(crate) fn prepare() {
    for (name, value) in SWITCHES {
        // SAFETY: the process has one thread, which reads no variable meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    #[cfg(feature = "cuda")]
    {
        // The tensor library's own switches, as they stand by default.
        candle_core::cuda::set_gemm_reduced_precision_f32(false);
        candle_core::cuda::set_gemm_reduced_precision_f16(false);
        candle_core::cuda::set_gemm_reduced_precision_bf16(false);
    }
}

/// The GPU of this number, which runs this worker's kernels.
#[cfg(feature = "cuda")]
pub(crate) fn device(number: usize) -> anyhow::Result<Device> {
    use anyhow::Context;
    let device =
        Device::new_cuda(number).with_context(|| format!("cuda:{number} cannot be used"))?;
    // A device can be had with kernels that are not for it: trying one shows.
    let own = capability(&device)?;
    tried(&device).with_context(|| {
        format!(
            "cuda:{number} does not run a kernel of this worker, which may be built for another \
             architecture: build it again with CUDA_COMPUTE_CAP={own} (README, GPU)"
        )
    })?;
    Ok(device)
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn device(number: usize) -> anyhow::Result<Device> {
    anyhow::bail!(
        "cuda:{number} cannot be used: this worker is built without the cuda feature (README, GPU)"
    )
}

/// The GPU's architecture: "90".
#[cfg(feature = "cuda")]
fn capability(device: &Device) -> anyhow::Result<String> {
    use anyhow::Context;
    let stream = device.as_cuda_device()?.cuda_stream();
    let (major, minor) =
        (stream.context().compute_capability()).context("the GPU does not say its architecture")?;
    Ok(format!("{major}{minor}"))
}

/// One kernel, and the copy of what it made.
#[cfg(feature = "cuda")]
fn tried(device: &Device) -> anyhow::Result<()> {
    let one = candle_core::Tensor::new(&[1f32], device)?;
    let found: Vec<f32> = (one + 1.0)?.to_vec1()?;
    anyhow::ensure!(found == [2.0], "1 + 1 gives {found:?}");
    Ok(())
}

#[cfg(feature = "cuda")]
pub(crate) fn facts(device: &Device) -> anyhow::Result<Facts> {
    use anyhow::{Context, bail};
    use candle_core::cuda::cudarc::{cublas, driver};

    let gpu = device.as_cuda_device()?;
    let stream = gpu.cuda_stream();
    let context = stream.context();
    let (mut library, mut driver_version) = (0, 0);
    // SAFETY: both write one integer, and the handle is the device's own.
    let (told, said) = unsafe {
        (
            cublas::sys::cublasGetVersion_v2(*gpu.cublas_handle().handle(), &mut library),
            driver::sys::cuDriverGetVersion(&mut driver_version),
        )
    };
    let success = (
        cublas::sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
        driver::sys::CUresult::CUDA_SUCCESS,
    );
    if (told, said) != success {
        bail!("cuBLAS or the driver does not say its version: {told:?}, {said:?}");
    }
    let name = context.name().context("the GPU does not say its name")?;
    let switches = [
        (NAME, name),
        ("cuda.cublas", library.to_string()),
        ("cuda.driver", driver_version.to_string()),
    ];
    Ok(Facts {
        class: format!("cuda-sm{}", capability(device)?),
        switches: switches.map(|(n, v)| (n.to_owned(), v)).into(),
    })
}

#[cfg(not(feature = "cuda"))]
pub(crate) fn facts(_: &Device) -> anyhow::Result<Facts> {
    anyhow::bail!("this worker is built without the cuda feature (README, GPU)")
}

/// Bytes of its memory that are free.
#[cfg(feature = "cuda")]
fn free(device: &Device) -> anyhow::Result<u64> {
    use anyhow::Context;
    let stream = device.as_cuda_device()?.cuda_stream();
    let info = stream.context().mem_get_info();
    let (free, _) = info.context("the GPU does not say how much of its memory is free")?;
    Ok(free as u64)
}

#[cfg(not(feature = "cuda"))]
fn free(_: &Device) -> anyhow::Result<u64> {
    anyhow::bail!("this worker is built without the cuda feature (README, GPU)")
}
