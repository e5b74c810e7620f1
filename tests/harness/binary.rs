//! Where the binary under test is.

use std::path::PathBuf;

/// An optimised one where the caller built it and says so, else the one that the tests were built with.
pub fn path() -> PathBuf {
    std::env::var_os("STEERD_BIN").map_or_else(|| env!("CARGO_BIN_EXE_steerd").into(), PathBuf::from)
}
