use std::path::Path;

use anyhow::bail;
use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack, Residency};
use assay_hook_site::{BlockSite, HookSite, SitePattern};
use assay_record::wire::{Event, Hold};
use assay_trace::{record, select_sites};

use crate::{emit, hold};

/// Runs one prompt and writes its activations.
pub(crate) fn trace(
    model: &Path,
    (ids, prompt): (Vec<u32>, Option<&str>),
    sites: &[String],
    out: &Path,
    limit: Option<u64>,
) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(model)?;
    let tell = &mut |done: usize, total: usize| {
        let _ = emit(&Event::Progress {
            stage: "loading".to_owned(),
            done: done as u64,
            total: total as u64,
        });
    };
    let (residency, _) = hold::choose(&checkpoint.config, (0, 0), limit)?;
    let placement = hold::placement(Hold {
        streamed: residency == Residency::Streamed,
        as_stored: false,
    });
    let decoder = Decoder::load_with(&checkpoint, &placement, tell)?;
    let ids = match (prompt, &checkpoint.tokenizer) {
        (None, _) => ids,
        (Some(text), Some(tokenizer)) => tokenizer.encode(text)?.ids,
        (Some(_), None) => bail!(
            "{} has no tokenizer; give token ids with --ids",
            model.display()
        ),
    };
    let patterns: Vec<_> = sites.iter().map(|s| SitePattern::new(s)).collect();
    let selected = if patterns.is_empty() {
        let small = |s: &HookSite| {
            !matches!(
                s,
                HookSite::Block {
                    site: BlockSite::Result,
                    ..
                }
            )
        };
        decoder.sites().into_iter().filter(small).collect()
    } else {
        select_sites(&decoder, &patterns)?
    };
    let trace = record(&decoder, &Pack::new(&[ids])?, &selected, Vec::new())?;
    trace.write_safetensors(out)?;
    Ok(())
}
