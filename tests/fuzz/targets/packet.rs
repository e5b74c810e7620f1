//! Fuzzes `packet`; see `invariants::packet`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::packet(octets));
