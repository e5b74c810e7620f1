//! Fuzzes `proxy_header`; see `invariants::proxy_header`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::proxy_header(octets));
