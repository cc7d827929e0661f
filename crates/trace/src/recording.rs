//! Activations that were recorded elsewhere, in place of a model.
//!
//! A recording is a folder: `config.json`, the model's own, and for each prompt
//! `<id>.safetensors` with the prompt's `tokens` [1, T] (I32 or I64, special
//! tokens included) and any sites under their TransformerLens names, with a
//! batch axis of 1 in front. Everything is data from strangers: shapes are
//! those that the config and the tokens call for, and numbers are finite.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use assay_checkpoint::{CheckpointError, DecoderConfig, TensorFile, TokenIds, parse_hf_config};
use assay_decoder::Pack;
use assay_hook_site::{BlockSite, HookSite, SitePattern};
use candle_core::{DType, Device, Tensor};

use crate::trace::Value;
use crate::{Trace, TraceError};

/// Name of the tensor of token ids.
pub(crate) const TOKENS: &str = "tokens";

/// Word of a file's header: how many of the tokens the tokenizer added by
/// itself. It may be left out, and counts as 0 then.
pub(crate) const SPECIAL: &str = "special_tokens";

/// More blocks than any model has; a config that says more is damaged.
const MAX_LAYERS: usize = 10_000;

/// Longest prompt id whose file name every file system takes.
const MAX_ID: usize = 200;

/// The file of a prompt in a recording; None if the id is no safe file name,
/// or is the name that a model's weights have.
#[must_use]
pub fn file_of(prompt: &str) -> Option<String> {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain = prompt.chars().all(safe) && !prompt.is_empty() && prompt.len() <= MAX_ID;
    (plain && !prompt.starts_with('.') && prompt != "model")
        .then(|| format!("{prompt}.safetensors"))
}

/// A recording, its tokens read. Activations are read as they are asked for.
pub struct Recording {
    folder: PathBuf,
    config: DecoderConfig,
    /// Token ids of each prompt.
    tokens: BTreeMap<String, TokenIds>,
    /// A prompt of these tokens. Prompts of equal tokens have equal
    /// activations, so that any will do.
    by_tokens: BTreeMap<Vec<u32>, String>,
}

impl Recording {
    /// Is this folder a recording: a config, safetensors files, and no weights?
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return false;
        };
        let (mut config, mut activations) = (false, false);
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is = |end: &str| name.ends_with(end);
            if name == "model.safetensors" || is(".index.json") || is(".bin") || is(".gguf") {
                return false;
            }
            config |= name == "config.json";
            activations |= is(".safetensors");
        }
        config && activations
    }

    /// Opens a folder.
    ///
    /// # Errors
    /// A config that cannot be read; a file that is damaged or has no tokens
    /// of the vocabulary; no file at all.
    pub fn open(folder: &Path) -> Result<Self, TraceError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            |source| CheckpointError::Io { path, source }
        };
        let config_path = folder.join("config.json");
        let text = std::fs::read_to_string(&config_path).map_err(io(&config_path))?;
        let config = parse_hf_config(&text, &config_path)?;
        let mut recording = Self {
            folder: folder.to_path_buf(),
            config,
            tokens: BTreeMap::new(),
            by_tokens: BTreeMap::new(),
        };
        let layers = recording.config.n_layers;
        if layers > MAX_LAYERS {
            return Err(recording.refuse(format!("is of a model of {layers} layers")));
        }
        for entry in std::fs::read_dir(folder).map_err(io(folder))? {
            let path = entry.map_err(io(folder))?.path();
            let is_ours = path.extension().is_some_and(|e| e == "safetensors");
            let Some(prompt) = path.file_stem().filter(|_| is_ours) else {
                continue;
            };
            let prompt = prompt.to_string_lossy().into_owned();
            let ids = recording.read_tokens(&prompt, &TensorFile::open(&path)?)?;
            recording.tokens.insert(prompt, ids);
        }
        if recording.tokens.is_empty() {
            return Err(recording.refuse("holds no .safetensors file".to_owned()));
        }
        for (prompt, ids) in &recording.tokens {
            let known = recording.by_tokens.entry(ids.ids.clone());
            known.or_insert_with(|| prompt.clone());
        }
        Ok(recording)
    }

    /// Config of the model that was recorded.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Does it hold this prompt?
    #[must_use]
    pub fn has(&self, prompt: &str) -> bool {
        self.tokens.contains_key(prompt)
    }

    /// Token ids of a prompt.
    ///
    /// # Errors
    /// It has no such prompt.
    pub fn tokens(&self, prompt: &str) -> Result<&TokenIds, TraceError> {
        let found = self.tokens.get(prompt);
        found.ok_or_else(|| {
            self.refuse(format!(
                "has no prompt {prompt}: there is no {prompt}.safetensors in it"
            ))
        })
    }

    /// The sites that some patterns cover, all of which every prompt of the
    /// pack has.
    ///
    /// # Errors
    /// The first site that a prompt lacks; a pattern that covers none; a
    /// prompt that was not recorded.
    pub fn select(
        &self,
        pack: &Pack,
        patterns: &[SitePattern],
    ) -> Result<BTreeSet<HookSite>, TraceError> {
        let mut selected = BTreeSet::new();
        for pattern in patterns {
            let covered = self.sites().filter(|s| pattern.matches(*s));
            let before = selected.len();
            selected.extend(covered);
            if selected.len() == before {
                return Err(TraceError::NoSuchSite {
                    pattern: pattern.text().to_owned(),
                    model_type: self.config.model_type.clone(),
                });
            }
        }
        for prompt in self.prompts_of(pack)? {
            let file = TensorFile::open(&self.path(prompt))?.tensors;
            if let Some(site) = selected.iter().find(|s| !file.has(&s.to_string())) {
                return Err(self.lacks(*site, prompt));
            }
        }
        Ok(selected)
    }

    /// What a pass over the pack would have recorded.
    ///
    /// # Errors
    /// A prompt or site that was not recorded; a tensor of another shape than
    /// config and tokens call for, of no type of floats, or with NaN.
    pub fn trace(&self, pack: &Pack, sites: &BTreeSet<HookSite>) -> Result<Trace, TraceError> {
        let mut found: BTreeMap<HookSite, Vec<Tensor>> = BTreeMap::new();
        for (prompt, segment) in self.prompts_of(pack)?.into_iter().zip(pack.segments()) {
            let file = TensorFile::open(&self.path(prompt))?.tensors;
            for site in sites {
                let name = site.to_string();
                if !file.has(&name) {
                    return Err(self.lacks(*site, prompt));
                }
                let shape = self.shape(*site, segment.len());
                let tensor = file.tensor(&name, &shape, DType::F32, &Device::Cpu)?;
                found.entry(*site).or_default().push(tensor.squeeze(0)?);
            }
        }
        let mut values = BTreeMap::new();
        for (site, parts) in found {
            let value = if site.is_square() {
                Value::Squares(parts)
            } else {
                Value::Rows(Tensor::cat(&parts, 0)?)
            };
            values.insert(site, value);
        }
        Ok(Trace::new(pack.clone(), values))
    }

    fn path(&self, prompt: &str) -> PathBuf {
        self.folder.join(format!("{prompt}.safetensors"))
    }

    fn refuse(&self, reason: String) -> TraceError {
        TraceError::Recording {
            folder: self.folder.clone(),
            reason,
        }
    }

    fn lacks(&self, site: HookSite, prompt: &str) -> TraceError {
        TraceError::NotInRecording {
            folder: self.folder.clone(),
            site,
            prompt: prompt.to_owned(),
        }
    }

    /// The prompt that each segment of a pack is.
    fn prompts_of(&self, pack: &Pack) -> Result<Vec<&str>, TraceError> {
        let prompt = |segment: &std::ops::Range<usize>| {
            let ids = pack.ids().get(segment.clone()).unwrap_or_default();
            let found = self.by_tokens.get(ids);
            found.map(String::as_str).ok_or_else(|| {
                self.refuse("has no prompt of other tokens: they need the model itself".to_owned())
            })
        };
        pack.segments().iter().map(prompt).collect()
    }

    fn read_tokens(&self, prompt: &str, file: &TensorFile) -> Result<TokenIds, TraceError> {
        let refuse = |reason: String| self.refuse(format!("{reason}, prompt {prompt}"));
        let Some(shape) = file.tensors.shape(TOKENS) else {
            return Err(refuse(format!("has no tensor {TOKENS}")));
        };
        if !matches!(shape.as_slice(), [1, t] if *t > 0) {
            return Err(refuse(format!(
                "has {TOKENS} of shape {shape:?} and not [1, T]"
            )));
        }
        let vocab = self.config.vocab;
        let mut ids = Vec::new();
        for found in file.tensors.integers(TOKENS)? {
            let id = u32::try_from(found).ok();
            let Some(id) = id.filter(|id| (*id as usize) < vocab) else {
                return Err(refuse(format!(
                    "has token {found}, and the vocabulary ends at {vocab}"
                )));
            };
            ids.push(id);
        }
        let special = file.words.get(SPECIAL).map_or(Ok(0), |word| word.parse());
        let special = special.ok().filter(|n| *n <= ids.len());
        let special = special
            .ok_or_else(|| refuse(format!("has {SPECIAL} that is no number of its tokens")))?;
        Ok(TokenIds { ids, special })
    }

    /// Every site that any model of this depth has.
    fn sites(&self) -> impl Iterator<Item = HookSite> {
        let outside = [
            HookSite::Embed,
            HookSite::PosEmbed,
            HookSite::FinalScale,
            HookSite::FinalNormalized,
            HookSite::Logits,
        ];
        let of_block = |layer| BlockSite::ALL.iter().map(move |s| s.at(layer));
        let blocks = (0..self.config.n_layers).flat_map(of_block);
        outside.into_iter().chain(blocks)
    }

    /// The shape of a site for a prompt of `t` tokens, batch axis in front.
    fn shape(&self, site: HookSite, t: usize) -> Vec<usize> {
        let c = &self.config;
        match site {
            HookSite::Embed | HookSite::PosEmbed | HookSite::FinalNormalized => {
                vec![1, t, c.d_model]
            }
            HookSite::FinalScale => vec![1, t, 1],
            HookSite::Logits => vec![1, t, c.vocab],
            HookSite::Block { site, .. } => match site {
                BlockSite::ResidPre
                | BlockSite::ResidMid
                | BlockSite::ResidPost
                | BlockSite::Ln1Normalized
                | BlockSite::Ln2Normalized
                | BlockSite::AttnOut
                | BlockSite::MlpIn
                | BlockSite::MlpOut => vec![1, t, c.d_model],
                BlockSite::Ln1Scale | BlockSite::Ln2Scale => vec![1, t, 1],
                BlockSite::Q | BlockSite::RotQ | BlockSite::Z => vec![1, t, c.n_heads, c.d_head],
                BlockSite::K | BlockSite::V | BlockSite::RotK => {
                    vec![1, t, c.n_kv_heads, c.d_head]
                }
                BlockSite::AttnScores | BlockSite::Pattern => vec![1, c.n_heads, t, t],
                BlockSite::Result => vec![1, t, c.n_heads, c.d_model],
                BlockSite::MlpPre | BlockSite::MlpPreLinear | BlockSite::MlpPost => {
                    vec![1, t, c.d_mlp]
                }
            },
        }
    }
}
