//! Where models compute, and the worker that computes there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use assay_record::wire::{Event, in_one_line};
use assay_record::{ComputeDevice, ComputeType};

use crate::bars::human_bytes;
use crate::say::say;
use crate::{worker, workspace};

/// Where models compute, and in what.
#[derive(clap::Args, Clone)]
pub(crate) struct Computing {
    /// Where models compute: cpu, or cuda[:N], the N-th NVIDIA GPU, with a
    /// worker that is built for it when first asked for (README, GPU). Where
    /// there is none, models compute on the CPU, with a warning.
    #[arg(long, default_value_t = ComputeDevice::Cpu)]
    pub(crate) device: ComputeDevice,
    /// The type that models compute in: f32, f16 or bf16 [default: what the
    /// experiment declares, f32]. Records of each type are kept apart.
    #[arg(long, value_name = "TYPE")]
    pub(crate) dtype: Option<ComputeType>,
}

/// What models compute on.
pub(crate) struct Chosen {
    pub(crate) worker: PathBuf,
    pub(crate) device: ComputeDevice,
    /// Bytes of memory that are free on a GPU.
    pub(crate) free: Option<u64>,
}

impl Computing {
    /// What was asked for, or the CPU with a warning that says why.
    pub(crate) fn choose(&self) -> anyhow::Result<Chosen> {
        let ComputeDevice::Cuda(number) = self.device else {
            return cpu();
        };
        match gpu(number) {
            Ok(chosen) => Ok(chosen),
            Err(error) => {
                eprintln!(
                    "warning: {}: models compute on the CPU, and their records say so",
                    in_one_line(error.as_ref())
                );
                cpu()
            }
        }
    }

    /// What was asked for, on other machines than this one.
    ///
    /// # Errors
    /// A worker that cannot be built.
    pub(crate) fn elsewhere(&self) -> anyhow::Result<Chosen> {
        match self.device {
            ComputeDevice::Cpu => cpu(),
            device => Ok(Chosen {
                worker: workspace::gpu_worker()?,
                device,
                free: None,
            }),
        }
    }
}

fn cpu() -> anyhow::Result<Chosen> {
    Ok(Chosen {
        worker: workspace::program("assay-worker")?,
        device: ComputeDevice::Cpu,
        free: None,
    })
}

/// The GPU of this number, looked for before anything is built for it.
fn gpu(number: usize) -> anyhow::Result<Chosen> {
    let seen = Command::new("nvidia-smi").arg("--list-gpus").output();
    if !seen.is_ok_and(|o| o.status.success()) {
        bail!("no NVIDIA GPU is seen here (nvidia-smi --list-gpus)");
    }
    let worker = workspace::gpu_worker()?;
    let mut found = None;
    let asked = number.to_string();
    worker::talk(&worker, &["gpu", &asked], None, &mut |event| {
        if let Event::Gpu { class, name, free } = event {
            say!("{name} ({class}), {} free", human_bytes(free));
            found = Some(free);
        }
        Ok(())
    })?;
    let free = found.context("the worker did not say what GPU there is")?;
    Ok(Chosen {
        worker,
        device: ComputeDevice::Cuda(number),
        free: Some(free),
    })
}
