//! The program: a command line in, an exit code out.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match steerd::cli::run(std::env::args_os(), &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was found before goes first. A closed pipe is the reader's choice.
            drop(io::Write::flush(&mut out));
            failure.tell(&mut io::stderr().lock());
            ExitCode::from(failure.code())
        }
    }
}
