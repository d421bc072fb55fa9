//! What shells and packages are made of: completions and manual pages, both from the verbs as they are.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::failure::{Failure, IO};

/// The name that completions and pages go by.
const NAME: &str = "explaind";

/// `explaind completions bash`, for a shell's start or a package.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// `explaind man`, for a pager or a package.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write the page of each verb into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the completions.
pub(super) fn completions(args: &Completions, mut command: Command) -> Result<(), Failure> {
    // Into memory first: it takes no writer that may fail.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, NAME, &mut script);
    print(&script)
}

/// Prints the page, or writes all of them.
pub(super) fn man(args: &Man, command: Command) -> Result<(), Failure> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return print(&page);
    };
    let fail = |error: io::Error| Failure::new(IO, format!("cannot write pages into {}: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(fail)?;
    clap_mangen::generate_to(command, folder).map_err(fail)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
