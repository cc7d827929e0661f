//! `trace`: the activations of one prompt.

use std::path::{Path, PathBuf};

use assay_record::wire::Event;
use assay_source::resolve;

use crate::bars::{self, Bar};
use crate::computing::Computing;
use crate::say::say;
use crate::{Ending, plan, worker, workspace};

/// Write the activations of one prompt as safetensors.
#[derive(clap::Args)]
#[command(
    after_help = "Example: cargo xtask trace smollm2-135m --prompt \"The capital of France is\" --sites 'blocks.*.hook_resid_post' --out trace.safetensors\n         cargo xtask trace smollm2-135m --prompts prompts/h25.jsonl --sites 'blocks.*.hook_*' --out smollm2-recorded\n         cargo xtask run h25-gain --models ./smollm2-recorded"
)]
pub(crate) struct Options {
    /// A registry name, a model's folder, or a GGUF file.
    model: String,
    /// Token ids, separated by commas.
    #[arg(
        long,
        value_delimiter = ',',
        conflicts_with = "prompt",
        required_unless_present_any = ["prompt", "prompts"]
    )]
    ids: Vec<u32>,
    /// A text.
    #[arg(long)]
    prompt: Option<String>,
    /// A file of prompts, as in prompts/h25.jsonl: --out is a folder then, which
    /// stands in for the model wherever activations are enough.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ids", "prompt"])]
    prompts: Option<PathBuf>,
    /// Pattern of site names (TransformerLens names, * and ?); may be given
    /// again. Every site but hook_result if left out.
    #[arg(long, value_name = "GLOB")]
    sites: Vec<String>,
    /// The file to write, or the folder.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Memory that the model may take, as 3GiB or 800MiB; one that needs more
    /// is streamed from its files [default: what is free].
    #[arg(long, value_name = "SIZE", value_parser = bars::parse_bytes)]
    memory: Option<u64>,
    #[command(flatten)]
    computing: Computing,
}

pub(crate) fn trace(options: &Options) -> anyhow::Result<Ending> {
    let location = if Path::new(&options.model).exists() {
        PathBuf::from(&options.model)
    } else {
        let (registry, lock, cache) = workspace::models()?;
        let model = resolve(&registry, &lock, &cache, &options.model)?.verify()?;
        model.location().to_path_buf()
    };
    // Joined by "=", so that a value may begin with a dash.
    let mut arguments = vec![
        "trace".to_owned(),
        format!("--out={}", options.out.display()),
    ];
    arguments.extend(options.ids.iter().map(|id| format!("--ids={id}")));
    arguments.extend(options.prompt.iter().map(|text| format!("--prompt={text}")));
    let prompts = options.prompts.as_ref();
    arguments.extend(prompts.map(|file| format!("--prompts={}", file.display())));
    arguments.extend(options.sites.iter().map(|glob| format!("--sites={glob}")));
    let on = options.computing.choose()?;
    arguments.push(format!("--device={}", on.device));
    let dtype = options.computing.dtype;
    arguments.extend(dtype.map(|t| format!("--dtype={}", t.name())));
    let free = [plan::available_memory(), on.free];
    let limit = (options.memory).or_else(|| free.into_iter().flatten().min());
    arguments.extend(limit.map(|bytes| format!("--memory={bytes}")));
    arguments.extend(["--".to_owned(), location.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut bar = Bar::new(&options.model);
    worker::talk(&on.worker, &arguments, None, &mut |event| {
        if let Event::Progress { stage, done, total } = event {
            bar.steps(&stage, done, total);
        }
        Ok(())
    })?;
    drop(bar);
    say!("written: {}", options.out.display());
    Ok(Ending::Held)
}
