//! Integration tests: one binary, so that it links once; but for `tests/load.rs`, which measures and runs
//! alone. The table of contents:
//!
//! | module | what it holds to what |
//! |---|---|
//! | `binary` | where the program under test is |
//! | `model` | the slow model of the decision, its generator and its planted mistakes |
//! | `golden` | what commands print, to transcripts in `tests/golden` |
//! | `differential` | the decision against the model on random tables, clients and health |
//! | `hostile` | invariants of the fuzz targets over corpora and mutations: nothing that comes in breaks it |
//! | `ledger` | the table of RFC clauses to the tests that it names |
//! | `one_list` | redirects, lists, steering manifests, DNS and `explain` of one client to each other |
//! | `scenarios` | stories of a fleet, told in `tests/scenarios`: who serves after each event |
//! | `tidy` | the sources to the house rules: layers, headers, lengths, unsafe code, clocks |
#![allow(missing_docs, clippy::print_stdout)]

#[path = "harness/binary.rs"]
mod binary;
mod differential;
mod golden;
mod hostile;
mod ledger;
mod model;
mod one_list;
mod scenarios;
mod tidy;
