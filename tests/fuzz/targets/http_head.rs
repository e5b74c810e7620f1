//! Fuzzes `http_head`; see `invariants::http_head`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::http_head(octets));
