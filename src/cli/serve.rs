//! `steerd serve`: from a config file to a running node, and its log.
//!
//! The node itself is `serve`'s; what is here is what people see of it. Layer 9.

use super::args;
use super::failure::Failure;
use super::load::ConfigFile;
use crate::config::{Log, LogFormat};
use crate::serve::node::{self, Failure as NodeFailure};
use crate::serve::run;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Serves until SIGTERM or SIGINT; tells `out` one line a listener once all of them answer.
///
/// # Errors
/// Bad config, ports that are taken, a state directory that cannot be used.
pub fn serve(args: &args::Serve, out: &mut dyn Write) -> Result<(), Failure> {
    let file = ConfigFile::read(&args.config)?;
    begin_log(&file.config.log);
    let drain = Duration::from_secs(u64::from(file.config.drain_s));
    let config = file.config.clone();
    let announce = |line: &str| {
        // Whoever started it may have gone; it serves all the same.
        drop(writeln!(out, "{line}").and_then(|()| out.flush()));
    };
    run::run(drain, |life| node::start(&args.config, config, life), announce)
        .map(drop)
        .map_err(|failure| told(failure, &file))
}

/// Why a node did not start, with what to do next.
fn told(failure: NodeFailure, file: &ConfigFile) -> Failure {
    match failure {
        NodeFailure::Invalid(problems) => Failure::Problems(file.placed(problems)),
        other => {
            let hint = match &other {
                NodeFailure::State { .. } => "; it has to be a directory that this user may write",
                NodeFailure::Start(_) => "; is another steerd running, or is the port privileged?",
                _ => "",
            };
            Failure::Failed(anyhow::anyhow!("cannot serve: {other}{hint}"))
        }
    }
}

/// Sends the log to standard error, as the config says; `RUST_LOG` says otherwise.
fn begin_log(log: &Log) {
    let level: LevelFilter = log.level.as_str().parse().unwrap_or(LevelFilter::INFO);
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let begun = match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A log that was begun before, as tests do, goes on.
    drop(begun);
}
