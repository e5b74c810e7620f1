//! Why a command did not do what it was asked, and the exit code of that.
//!
//! | code | when |
//! |---|---|
//! | 1 | it failed while running: trying again may help |
//! | 2 | config or data is bad: trying again does not help |
//! | 64 | the command line is bad |
//!
//! Layer 9.

use crate::problem::Problem;
use std::io::{self, Write};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line does not parse, or help was asked for.
    Clap(clap::Error),
    /// The command line parses, and still makes no sense.
    Usage(String),
    /// What an operator wrote is wrong.
    Problems(Vec<Problem>),
    /// Data is bad in a way that has been told, or is told by this text.
    Data(String),
    /// It failed while running.
    Failed(anyhow::Error),
    /// Whoever read our output went away.
    PipeClosed,
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::PipeClosed => 0,
            Self::Clap(error) if !error.use_stderr() => 0,
            Self::Failed(_) => 1,
            Self::Problems(_) | Self::Data(_) => 2,
            Self::Clap(_) | Self::Usage(_) => 64,
        }
    }

    /// Tells it to `err`; help goes to standard output. What cannot be told is left.
    pub fn tell(&self, err: &mut dyn Write) {
        let told = match self {
            Self::PipeClosed => Ok(()),
            Self::Clap(error) => error.print(),
            Self::Data(text) if text.is_empty() => Ok(()),
            Self::Usage(text) | Self::Data(text) => writeln!(err, "error: {text}"),
            Self::Failed(error) => writeln!(err, "error: {error:#}"),
            Self::Problems(problems) => tell_problems(err, problems),
        };
        // There is nowhere left to say so.
        drop(told);
    }
}

/// Writes problems, one a line, and how many there are.
fn tell_problems(err: &mut dyn Write, problems: &[Problem]) -> io::Result<()> {
    problems.iter().try_for_each(|problem| writeln!(err, "{problem}"))?;
    writeln!(err, "error: {}", count(problems.len() as u64, "problem"))
}

/// `count` of something, in words: `1 problem`, `2 problems`.
pub fn count(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(u128::from(count)), if count == 1 { "" } else { "s" })
}

/// A number in groups of three digits.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl From<io::Error> for Failure {
    /// For writing output, the only I/O that is not given more context.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            _ => Self::Failed(anyhow::Error::new(error).context("cannot write output")),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(count(1, "problem"), "1 problem");
        assert_eq!(count(0, "problem"), "0 problems");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).code(), 1);
        assert_eq!(Failure::Problems(Vec::new()).code(), 2);
        assert_eq!(Failure::Usage(String::new()).code(), 64);
    }
}
