//! `completions`: what a shell needs to complete these commands.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Cli, Ending};

/// Print the completions of a shell, for a command called `assay`.
#[derive(clap::Args)]
#[command(
    after_help = "Example, for bash:\n  alias assay='cargo xtask'\n  source <(cargo xtask completions bash)\n  assay <Tab>"
)]
pub(crate) struct Options {
    /// The shell.
    shell: Shell,
}

pub(crate) fn completions(options: &Options) -> anyhow::Result<Ending> {
    let mut command = Cli::command();
    clap_complete::generate(options.shell, &mut command, "assay", &mut std::io::stdout());
    Ok(Ending::Held)
}
