//! Where models compute, and the worker that computes there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use assay_record::wire::{Event, in_one_line};
use assay_record::{ComputeDevice, ComputeType};

use crate::bars::human_bytes;
use crate::say::{say, to_people};
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
                to_people(format_args!(
                    "warning: {}: models compute on the CPU, and their records say so\n",
                    in_one_line(error.as_ref())
                ));
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
                worker: gpu_worker()?,
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

/// The worker for GPUs: built, or, where NVIDIA's compiler is not on the PATH,
/// the one that lies there if nothing that it was made of has changed. Cargo is
/// not asked then: it would build CUDA's kernels again, as it knows them by
/// where the environment says that CUDA lies.
fn gpu_worker() -> anyhow::Result<PathBuf> {
    let built = workspace::gpu_target().join("debug/assay-worker");
    let given = std::env::var_os("ASSAY_BIN").is_some();
    if given || !built.exists() || workspace::gpu_compiler().is_ok() {
        return workspace::gpu_worker();
    }
    match changed_since(&built)? {
        None => Ok(built),
        Some(file) => bail!(
            "the worker for GPUs was built before {} changed, and NVIDIA's compiler is not on the \
             PATH to build it again: eval \"$(.ci/cuda-toolkit DIR)\" first",
            file.strip_prefix(workspace::root())
                .unwrap_or(&file)
                .display()
        ),
    }
}

/// A file that changed after `program` was built of it, by the list of its
/// files that cargo writes beside it.
fn changed_since(program: &Path) -> anyhow::Result<Option<PathBuf>> {
    let list = program.with_extension("d");
    let unreadable = |path: &Path| format!("failed to read {}", path.display());
    let text = std::fs::read_to_string(&list).with_context(|| unreadable(&list))?;
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified());
    let built = modified(program).with_context(|| unreadable(program))?;
    let (_, files) = text.split_once(": ").unwrap_or_default();
    // Spaces of a name have a backslash before them.
    let files = files.trim().replace("\\ ", "\0");
    let mut files = files
        .split(' ')
        .map(|f| PathBuf::from(f.replace('\0', " ")));
    Ok(files.find(|file| modified(file).map_or(true, |at| at > built)))
}

/// The GPU of this number, looked for before anything is built for it.
fn gpu(number: usize) -> anyhow::Result<Chosen> {
    let seen = Command::new("nvidia-smi").arg("--list-gpus").output();
    if !seen.is_ok_and(|o| o.status.success()) {
        bail!("no NVIDIA GPU is seen here (nvidia-smi --list-gpus)");
    }
    let worker = gpu_worker()?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{File, write};
    use std::time::{Duration, SystemTime};

    use super::changed_since;

    #[test]
    fn a_program_is_older_than_what_was_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let [program, source, spaced] = ["program", "a.rs", "b c.rs"].map(path);
        for file in [&program, &source, &spaced] {
            write(file, "").unwrap();
        }
        let escaped = spaced.to_str().unwrap().replace(' ', "\\ ");
        let list = format!("{}: {} {escaped}\n", program.display(), source.display());
        write(path("program.d"), list).unwrap();
        let dated = |file, seconds| {
            let file = File::options().write(true).open(file).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(at).unwrap();
        };
        dated(&source, 100);
        dated(&spaced, 100);
        dated(&program, 200);
        assert_eq!(changed_since(&program).unwrap(), None);
        dated(&spaced, 300);
        assert_eq!(changed_since(&program).unwrap(), Some(spaced));
        std::fs::remove_file(&source).unwrap();
        assert_eq!(changed_since(&program).unwrap(), Some(source));
    }
}
