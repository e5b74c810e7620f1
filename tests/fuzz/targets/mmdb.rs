//! Fuzzes `mmdb`; see `invariants::mmdb`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::mmdb(octets));
