//! DNSSEC, made as answers are: keys by their times, signatures that are made once and kept, and
//! denial that needs no chain of names.
//!
//! Owns what a validator reads: DNSKEY, RRSIG, NSEC, CDS and CDNSKEY, all of them functions of record
//! sets, key files and the time, which are passed in. It opens no file, knows no query and no table; a
//! zone is a name here. Private keys leave [`Key`] as signatures only.
//!
//! ```text
//! key files ─► key: one key, its times ─► keyring: what is published and who signs, by phases of time
//!                                               │
//! a record set, canonical ─► signer ─► cache: the same content and key? ── yes ─► RRSIG
//!                                 └── no ─► budget ─► sign ─► RRSIG, kept
//! ```
//!
//! A signature of some content is made for a window of time that follows from the content, so that all
//! workers and servers renew it at the same moment, and different contents at different ones. With an
//! algorithm that signs deterministically (Ed25519) they hand out the same octets.
//! Layer 3. Tests: vectors of the RFCs here; every kind of answer verified in `dns`; validators that are
//! not ours in `tests/outsiders.rs`.

mod budget;
mod cache;
mod denial;
mod key;
mod keyring;
mod sign;
mod times;

pub use budget::{Budgets, Purse};
pub use denial::{Types, nsec, successor};
pub use key::{Algorithm, Flags, Key, KeyFiles, NewKey, file_stem};
pub use keyring::{Keyring, Keyrings, Phase, Records, Rules, ds};
pub use sign::{Counts, Payment, Signer, Spent, Subject};
pub use times::{Event, Times, UnixS};
