use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use assay_checkpoint::{Checkpoint, TokenIds};
use assay_decoder::{Decoder, Pack, Residency};
use assay_hook_site::{BlockSite, HookSite, SitePattern};
use assay_record::wire::{Event, Hold, OwnPrompts};
use assay_record::{ComputeDevice, ComputeType, Prompt, PromptFormat};
use assay_trace::{file_of, record, select_sites};

use crate::{emit, hold};

/// What is put to the model.
pub(crate) enum Asked<'a> {
    /// Token ids.
    Ids(Vec<u32>),
    /// A text.
    Text(&'a str),
    /// A file of prompts; a folder of files is written.
    File(&'a Path),
}

pub(crate) fn trace(
    model: &Path,
    asked: Asked,
    sites: &[String],
    out: &Path,
    limit: Option<u64>,
    computing: (ComputeDevice, Option<ComputeType>),
) -> anyhow::Result<()> {
    let (device, dtype) = computing;
    let checkpoint = Checkpoint::open(model)?;
    let tell = &mut |done: usize, total: usize| {
        let _ = emit(&Event::Progress {
            stage: "loading".to_owned(),
            done: done as u64,
            total: total as u64,
        });
    };
    let (residency, _) = hold::choose(&checkpoint.config, dtype, (0, 0), limit)?;
    let hold = Hold {
        streamed: residency == Residency::Streamed,
        device,
        dtype,
        ..Hold::default()
    };
    let device = hold::device(hold)?;
    let placement = hold::placement(hold, &device)?;
    let decoder = Decoder::load_with(&checkpoint, &placement, tell)?;
    let sites = selected(&decoder, sites)?;
    let tokenizer = || match &checkpoint.tokenizer {
        Some(tokenizer) => Ok(tokenizer),
        None => bail!(
            "{} has no tokenizer; give token ids with --ids",
            model.display()
        ),
    };
    let write = |tokens: TokenIds, path: &Path| -> anyhow::Result<()> {
        let trace = record(&decoder, &Pack::new(&[tokens.ids])?, &sites, Vec::new())?;
        Ok(trace.write_safetensors(path, tokens.special)?)
    };
    match asked {
        Asked::Ids(ids) => write(TokenIds { ids, special: 0 }, out),
        Asked::Text(text) => write(tokenizer()?.encode(text)?, out),
        Asked::File(file) => {
            let set = OwnPrompts {
                files: vec![file.to_path_buf()],
                json: PromptFormat::Prompts,
            }
            .read()?;
            // Before anything is written.
            let path = |prompt: &Prompt| match file_of(&prompt.id) {
                Some(name) => Ok(out.join(name)),
                None => bail!(
                    "prompt {:?} cannot name a file: use letters, digits, dots, dashes and \
                     underscores, a letter first, and no model's file name",
                    prompt.id
                ),
            };
            let paths = set.prompts.iter().map(path);
            let paths = paths.collect::<anyhow::Result<Vec<_>>>()?;
            let config = model.join("config.json");
            std::fs::create_dir_all(out)
                .with_context(|| format!("failed to make {}", out.display()))?;
            std::fs::copy(&config, out.join("config.json"))
                .with_context(|| format!("failed to copy {}", config.display()))?;
            let total = set.prompts.len() as u64;
            for (done, (prompt, path)) in (0..).zip(set.prompts.iter().zip(&paths)) {
                write(tokenizer()?.encode(&prompt.text)?, path)?;
                emit(&Event::Progress {
                    stage: "recording prompts".to_owned(),
                    done: done + 1,
                    total,
                })?;
            }
            Ok(())
        }
    }
}

/// The sites that some patterns cover; every one but hook_result, which is
/// large, if there are no patterns.
fn selected(decoder: &Decoder, sites: &[String]) -> anyhow::Result<BTreeSet<HookSite>> {
    if !sites.is_empty() {
        let patterns: Vec<_> = sites.iter().map(|s| SitePattern::new(s)).collect();
        return Ok(select_sites(decoder, &patterns)?);
    }
    let is_result = |s: &HookSite| {
        let result = BlockSite::Result;
        matches!(s, HookSite::Block { site, .. } if *site == result)
    };
    let all = decoder.sites().into_iter();
    Ok(all.filter(|s| !is_result(s)).collect())
}
