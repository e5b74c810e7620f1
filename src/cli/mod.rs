//! The command line: what people and scripts type.
//!
//! Owns arguments, output for people and exit codes; everything else is done by the rooms below.
//! Reads a clock and files, writes to the standard streams through a writer, and never panics over a
//! closed pipe. Layer 9.
//!
//! | file | owns |
//! |---|---|
//! | `args` | what may be written on the command line |
//! | `failure` | why a command failed, and its exit code |
//! | `load` | config, and everything it points at, from disk |
//! | `serve` | the process that serves, up to its sockets |
//! | `check`, `explain`, `tables` | commands that work on files |
//! | `keys` | keys of signed zones |
//! | `client` | talking to a running steerd |
//! | `push`, `beliefs` | commands that do |

mod args;
mod beliefs;
mod check;
mod client;
mod explain;
mod failure;
mod keys;
mod load;
mod push;
mod serve;
mod tables;

pub use failure::Failure;

use args::{Cli, Command, Table};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::Write;

/// Does what `line`, program name first, says; results go to `out`.
///
/// # Errors
/// [`Failure`], which knows how to tell itself and its exit code.
pub fn run(line: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> Result<(), Failure> {
    let cli = Cli::try_parse_from(line).map_err(Failure::Clap)?;
    match &cli.command {
        Command::Serve(args) => serve::serve(args, out),
        Command::Check(args) => check::check(args, out),
        Command::Explain(args) => explain::explain(args, out),
        Command::Push(args) => push::push(args, out),
        Command::Health(args) => beliefs::health(args, out),
        Command::Override(args) => beliefs::overrides(args, out),
        Command::Table(Table::Diff(args)) => tables::diff(args, out),
        Command::Table(Table::Build(args)) => tables::build(args, out),
        Command::Table(Table::Show(args)) => tables::show(args, out),
        Command::Keys(args) => keys::keys(args, out),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "steerd", &mut script);
            Ok(out.write_all(&script)?)
        }
        Command::Man => Ok(clap_mangen::Man::new(Cli::command()).render(&mut &mut *out)?),
    }?;
    Ok(out.flush()?)
}
