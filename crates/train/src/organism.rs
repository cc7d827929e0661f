//! From a recipe to a model's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assay_checkpoint::{DecoderConfig, parse_hf_config};
use assay_decoder::{Decoder, NoHooks, Pack, Variables};
use candle_core::{D, DType, Device};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::card::card;
use crate::interchange::{HELD, HeldSubspace};
use crate::save::{load_state, round_to_f16, save_model, save_state};
use crate::{
    Data, Init, Interchange, Organism, Run, Schedule, Sequence, Settings, TrainError,
    next_token_loss, variables,
};

/// Steps between two saved states.
const SAVE_EVERY: u64 = 100;
/// Steps that a point of a learning curve is the mean of.
pub const CURVE_EVERY: u64 = 10;
/// Sequences that the trigram model is counted on: 16 times as many tokens as
/// it has kinds of pairs of.
const TRIGRAM_SEQUENCES: u64 = 2_000;
/// The most tokens that a text may have: longest prompt of the experiments
/// under a tokenizer of some hundred tokens.
pub const CONTEXT: usize = 512;

/// training.json: what came of a recipe. Nothing in it depends on the machine
/// but by the bits of its arithmetic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// The recipe.
    pub recipe: Organism,
    /// Steps taken.
    pub steps: u64,
    /// Tokens of a batch, times the steps.
    pub tokens: u64,
    /// Parameters.
    pub parameters: u64,
    /// Mean loss in nats a token of every ten steps.
    pub losses: Vec<f64>,
    /// Loss on held-out sequences, in nats a token, of the weights as they are
    /// written.
    pub valid_loss: f64,
    /// Loss on the same sequences of a trigram model of the same text.
    pub trigram_loss: f64,
    /// Of held-out problems, by kind and language: how many there are, and the
    /// share that is answered exactly.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exact: BTreeMap<String, (u64, f64)>,
    /// Shares of held-out swaps inside the subspace and outside of it after
    /// which the answer is the one that is to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<[f64; 2]>,
    /// SHA-256 of the weights' bytes as they are written, in the decoder's
    /// order.
    pub weights_sha256: String,
}

impl Trained {
    /// Reads a model's training.json; nothing of a model that was not trained
    /// here.
    ///
    /// # Errors
    /// A file that cannot be read or is another.
    pub fn read(folder: &Path) -> Result<Option<Self>, TrainError> {
        let path = folder.join("training.json");
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        let trained = serde_json::from_str(&text);
        trained.map(Some).map_err(|e| TrainError::State {
            path,
            reason: e.to_string(),
        })
    }
}

impl Organism {
    /// Its config, as parsed from what config.json will hold.
    ///
    /// # Errors
    /// A shape that no decoder has.
    pub fn config(&self, vocab: usize) -> Result<DecoderConfig, TrainError> {
        let text = self.architecture.config(self.d_model, vocab, CONTEXT);
        parse_hf_config(&text.to_string(), Path::new(&self.name)).map_err(|e| TrainError::Suite {
            path: PathBuf::from(&self.name),
            reason: e.to_string(),
        })
    }

    /// Where its weights begin.
    #[must_use]
    pub fn init(&self) -> Init {
        Init {
            seed: self.seed,
            sd: self.training.init_sd,
            dtype: DType::F32,
        }
    }

    fn run(&self, vocab: usize) -> Result<Run, TrainError> {
        let config = self.config(vocab)?;
        let of = &self.training;
        let settings = Settings {
            beta1: 0.9,
            beta2: of.beta2,
            eps: 1e-8,
            weight_decay: of.weight_decay,
            clip: of.clip,
        };
        let schedule = Schedule {
            peak: of.peak,
            warm_up: of.warm_up,
            steps: of.steps,
            floor: of.floor,
        };
        // A worker without CUDA, or a machine without a GPU, trains on the CPU.
        let device = Device::cuda_if_available(0)?;
        let variables = variables(&config, &self.init(), &device)?;
        let run = Run::new(&config, variables, settings, schedule)?;
        Ok(run.with_interchange(self.interchange()?))
    }

    /// The subspace that is to hold its answers.
    fn interchange(&self) -> Result<Option<Interchange>, TrainError> {
        let of = self.interchange.as_ref();
        of.map(|spec| Interchange::new(spec, self.d_model, DType::F32))
            .transpose()
    }

    /// Is `folder` this recipe's model?
    #[must_use]
    pub fn is_in(&self, folder: &Path) -> bool {
        Trained::read(folder)
            .is_ok_and(|t| t.is_some_and(|t| t.recipe == *self && t.steps == self.training.steps))
    }

    /// Trains the model and writes its folder into `suite`, and one for every
    /// step that is kept, named "name@step10". A run that was stopped goes on
    /// from the last state in `work`, to the same bits. `tell` hears the last
    /// loss and the steps behind.
    ///
    /// # Errors
    /// Whatever training or writing can say.
    pub fn train(
        &self,
        suite: &Path,
        work: &Path,
        tell: &mut dyn FnMut(f64, u64),
    ) -> Result<Trained, TrainError> {
        let data = Data::new(&self.data, self.shuffled)?;
        let mut run = self.run(data.corpus().vocab())?;
        std::fs::create_dir_all(work).map_err(TrainError::io("create", work))?;
        // Of this recipe: a state of another is not gone on from.
        let recipe = Sha256::digest(json(self, work)?);
        let recipe: String = recipe.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let state = work.join(format!("{}-{recipe}.safetensors", self.name));
        if state.exists() {
            load_state(&mut run, &state)?;
        }
        let total = self.training.steps;
        while run.steps() < total {
            let done = run.steps();
            if self.keep.contains(&done) {
                let folder = suite.join(format!("{}@step{done}", self.name));
                self.write(&run, &data, &folder, work)?;
            }
            let batch = self.training.batch;
            let step = run.step(&data.batch("train", done * batch..(done + 1) * batch)?)?;
            tell(step.loss, step.steps);
            if step.steps % SAVE_EVERY == 0 {
                save_state(&run, &state)?;
            }
        }
        let trained = self.write(&run, &data, &suite.join(&self.name), work)?;
        match std::fs::remove_file(&state) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(TrainError::io("remove", &state)(e))
            }
            _ => Ok(trained),
        }
    }

    /// Writes the model as it is now; the folder appears whole or not at all.
    fn write(
        &self,
        run: &Run,
        data: &Data,
        folder: &Path,
        work: &Path,
    ) -> Result<Trained, TrainError> {
        let partial = work.join(format!("{}.partial", self.name));
        clear(&partial)?;
        std::fs::create_dir_all(&partial).map_err(TrainError::io("create", &partial))?;
        let rounded = Arc::new(round_to_f16(run)?);
        let decoder = Decoder::of_variables(&run.config, &rounded)?;
        let valid = data.batch("valid", 0..self.data.valid)?;
        let loss = next_token_loss(&decoder, &valid)?.to_dtype(DType::F64)?;
        let text = self
            .architecture
            .config(self.d_model, data.corpus().vocab(), CONTEXT);
        let trained = Trained {
            recipe: self.clone(),
            steps: run.steps(),
            tokens: run.steps() * self.training.batch * self.data.length as u64,
            parameters: rounded
                .iter()
                .map(|(_, v)| v.as_tensor().elem_count() as u64)
                .sum(),
            losses: curve(run.losses()),
            valid_loss: loss.to_scalar()?,
            trigram_loss: data
                .corpus()
                .trigram_loss(TRIGRAM_SEQUENCES, self.data.valid)?,
            exact: exact(
                &decoder,
                &data.corpus().sequences("valid", 0..self.data.valid)?,
            )?,
            swapped: (self.interchange()?)
                .map(|i| i.accuracy(&decoder, &valid))
                .transpose()?,
            weights_sha256: hash(&rounded)?,
        };
        save_model(&rounded, &partial.join("model.safetensors"))?;
        let mut files = vec![
            ("config.json", json(&text, folder)?),
            ("tokenizer.json", data.corpus().tokenizer_json()?),
            (
                "tokenizer_config.json",
                json(
                    &serde_json::json!({
                        "tokenizer_class": "PreTrainedTokenizerFast",
                        "bos_token": crate::END, "eos_token": crate::END,
                        "clean_up_tokenization_spaces": false,
                        "model_max_length": CONTEXT,
                    }),
                    folder,
                )?,
            ),
            ("training.json", json(&trained, folder)?),
            ("README.md", card(&trained, run.seconds)),
        ];
        if let Some(of) = &self.interchange {
            let held = HeldSubspace::new(of, self.d_model)?;
            files.push((HELD, json(&held, folder)?));
        }
        for (name, text) in files {
            let path = partial.join(name);
            std::fs::write(&path, text).map_err(TrainError::io("write", &path))?;
        }
        clear(folder)?;
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).map_err(TrainError::io("create", parent))?;
        }
        std::fs::rename(&partial, folder).map_err(TrainError::io("rename to", folder))?;
        Ok(trained)
    }
}

/// How many answers of each kind there are, and the share of which every token
/// is the most likely one after what stands before it.
fn exact(
    decoder: &Decoder,
    sequences: &[Sequence],
) -> Result<BTreeMap<String, (u64, f64)>, TrainError> {
    let mut all: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for some in sequences.chunks(64) {
        let ids: Vec<Vec<u32>> = some.iter().map(|s| s.ids.clone()).collect();
        let pack = Pack::new(&ids)?;
        let x = decoder.embed(&pack, &mut NoHooks)?;
        let layers = decoder.config().n_layers;
        let x = decoder.run_blocks(&pack, 0..layers, &x, &mut NoHooks)?;
        let likely = decoder.logits(&x)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        for (sequence, segment) in some.iter().zip(pack.segments()) {
            for answer in &sequence.answers {
                let right = (answer.tokens.clone())
                    .all(|at| likely[segment.start + at - 1] == sequence.ids[at]);
                let (n, share) = all.entry(answer.of.clone()).or_default();
                *n += 1;
                *share += f64::from(u8::from(right));
            }
        }
    }
    for (n, share) in all.values_mut() {
        *share /= *n as f64;
    }
    Ok(all)
}

fn json(value: &impl Serialize, folder: &Path) -> Result<String, TrainError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| TrainError::State {
        path: folder.to_path_buf(),
        reason: e.to_string(),
    })?;
    Ok(text + "\n")
}

/// Means of every [`CURVE_EVERY`] losses.
fn curve(losses: &[f32]) -> Vec<f64> {
    let mean = |some: &[f32]| some.iter().map(|l| f64::from(*l)).sum::<f64>() / some.len() as f64;
    losses.chunks(CURVE_EVERY as usize).map(mean).collect()
}

/// SHA-256 of values as they are written: f16, little-endian, in order.
fn hash(variables: &Variables) -> Result<String, TrainError> {
    let mut hasher = Sha256::new();
    for (_, var) in variables.iter() {
        let values = var.as_tensor().to_device(&Device::Cpu)?;
        let values = values.to_dtype(DType::F16)?.flatten_all()?;
        for value in values.to_vec1::<half::f16>()? {
            hasher.update(value.to_le_bytes());
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn clear(folder: &Path) -> Result<(), TrainError> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::io("remove", folder)(e))
        }
        _ => Ok(()),
    }
}
