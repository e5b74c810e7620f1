//! Fuzzes `ecs`; see `invariants::ecs`.
#![no_main]

#[path = "../../hostile/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| invariants::ecs(octets));
