//! Fuzzes `table_line`; see `invariants::table_line`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::table_line(octets));
