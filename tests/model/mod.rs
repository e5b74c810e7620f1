//! The decision once more: slow, short, and obviously right.
//!
//! A second implementation of what a client is answered, written from the rulings alone: linear
//! scans, sorts and sets, with its own hash, distance, address forms and list of special blocks. It
//! imports **nothing** of the crate under test. [`generate`] makes valid tables, health and clients
//! from a seed; [`decide()`] says what must come out; [`Mistake`] plants known errors in it to prove
//! that the generated cases would notice. When the fast one disagrees, this one wins the argument.
//!
//! | file | holds |
//! |---|---|
//! | `address` | blocks, special blocks, transition forms |
//! | `world` | a table read from NDJSON, GeoIP networks, parameters |
//! | `rank` | XXH64, rendezvous cost, shedding, distance |
//! | `list` | the candidate list of an address, health ignored |
//! | `scope` | how far that list holds, by trying every edge |
//! | `decide` | the walk along the list with health, and the decision |
//! | `generate` | seeded cases |
//! | `mistakes` | planted errors, and the test that each is caught |
//! | `cases` | cases worked by hand |

mod address;
mod cases;
mod decide;
mod generate;
mod list;
mod mistakes;
mod rank;
mod scope;
mod world;

#[allow(
    unused_imports,
    reason = "the doors of the model; which are used depends on who compares with it"
)]
pub use self::{
    decide::{Ask, Decision, FirstMatch, Mode, Outcome, decide, decide_with},
    generate::{Case, CaseAsk, generate},
    mistakes::Mistake,
    world::{GeoNet, Health, Params, State, World},
};
