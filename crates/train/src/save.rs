use std::collections::HashMap;
use std::path::Path;

use assay_decoder::{DecoderError, TensorSpec, Variables};
use candle_core::{DType, Device, Tensor};

use crate::{Run, TrainError};

/// The weights of a run, each rounded to the f16 nearest to it: what is
/// written, and so what is to be judged.
///
/// # Errors
/// The tensor library refuses.
pub(crate) fn round_to_f16(run: &Run) -> Result<Variables, TrainError> {
    let mut values = run.variables.iter();
    let mut next = |_: &TensorSpec| {
        let (_, var) = values.next().ok_or(DecoderError::Variables {
            reason: "are fewer than the config calls for".to_owned(),
        })?;
        let value = var.as_tensor().detach().to_device(&Device::Cpu)?;
        Ok(value.to_dtype(DType::F16)?.to_dtype(DType::F32)?)
    };
    Ok(Variables::new(&run.config, &mut next)?)
}

/// Writes model.safetensors as Hugging Face names its tensors, in f16.
///
/// # Errors
/// The file cannot be written.
pub fn save_model(variables: &Variables, path: &Path) -> Result<(), TrainError> {
    let tensors = variables
        .iter()
        .map(|(spec, var)| Ok((spec.name.clone(), var.as_tensor().to_dtype(DType::F16)?)))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors, Some(about), path)
        .map_err(|e| TrainError::io("write", path)(std::io::Error::other(e.to_string())))
}

/// Names of a variable's value and moments in a saved state.
fn names(name: &str) -> [String; 3] {
    ["value", "mean", "square"].map(|what| format!("{what}/{name}"))
}

const STEPS: &str = "steps";
const LOSSES: &str = "losses";
const SECONDS: &str = "seconds";

/// Writes all that a run needs to go on: weights, moments, steps. The file
/// appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn save_state(run: &Run, path: &Path) -> Result<(), TrainError> {
    let mut tensors = Vec::new();
    for ((spec, var), (mean, square)) in run.variables.iter().zip(&run.optimiser.moments) {
        let [value, of_mean, of_square] = names(&spec.name);
        for (name, tensor) in [
            (value, var.as_tensor()),
            (of_mean, mean),
            (of_square, square),
        ] {
            tensors.push((name, tensor.to_device(&Device::Cpu)?));
        }
    }
    let steps = i64::try_from(run.steps()).unwrap_or(i64::MAX);
    tensors.push((STEPS.to_owned(), Tensor::new(&[steps], &Device::Cpu)?));
    tensors.push((
        LOSSES.to_owned(),
        Tensor::new(run.losses.as_slice(), &Device::Cpu)?,
    ));
    tensors.push((
        SECONDS.to_owned(),
        Tensor::new(&[run.seconds], &Device::Cpu)?,
    ));
    let partial = path.with_extension("partial");
    safetensors::serialize_to_file(tensors, None, &partial)
        .map_err(|e| TrainError::io("write", &partial)(std::io::Error::other(e.to_string())))?;
    std::fs::rename(&partial, path).map_err(TrainError::io("rename to", path))
}

/// Takes up a saved run.
///
/// # Errors
/// A file that cannot be read, or is of another model.
pub fn load_state(run: &mut Run, path: &Path) -> Result<(), TrainError> {
    let wrong = |reason: String| TrainError::State {
        path: path.to_path_buf(),
        reason,
    };
    let tensors =
        candle_core::safetensors::load(path, &Device::Cpu).map_err(|e| wrong(e.to_string()))?;
    let find = |name: &str, like: &Tensor| match tensors.get(name) {
        Some(found) if found.dims() == like.dims() && found.dtype() == like.dtype() => {
            Ok(found.clone())
        }
        Some(found) => Err(wrong(format!(
            "it holds {name} as {:?}, and the model has {:?}",
            found.dims(),
            like.dims()
        ))),
        None => Err(wrong(format!("it lacks {name}"))),
    };
    let steps = find(STEPS, &Tensor::new(&[0i64], &Device::Cpu)?)?.to_vec1::<i64>()?;
    let losses = (tensors.get(LOSSES))
        .ok_or_else(|| wrong(format!("it lacks {LOSSES}")))?
        .to_vec1::<f32>()?;
    let seconds = find(SECONDS, &Tensor::new(&[0f64], &Device::Cpu)?)?.to_vec1::<f64>()?;
    let mut moments = Vec::new();
    let mut values = Vec::new();
    for (spec, var) in run.variables.iter() {
        let [value, mean, square] = names(&spec.name);
        let here = |name: &str| Ok::<_, TrainError>(find(name, var)?.to_device(var.device())?);
        values.push(here(&value)?);
        moments.push((here(&mean)?, here(&square)?));
    }
    for ((_, var), value) in run.variables.iter().zip(values) {
        var.set(&value)?;
    }
    run.optimiser.moments = moments;
    run.losses = losses;
    run.seconds = seconds.first().copied().unwrap_or(0.0);
    run.optimiser.steps = steps.first().copied().unwrap_or(0).unsigned_abs();
    Ok(())
}
