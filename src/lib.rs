//! steerd tells a player device which cache appliance to stream from.
//!
//! It answers a DNS query and an HTTP request with the nearest healthy appliance for *that client's
//! network*, from a table that an inventory service pushes, and follows each push within milliseconds
//! without dropping or delaying a query. This page is the map of the crate.
//!
//! ```text
//! inventory ──push (full | delta | health)──► control ─► publish: table → guard → snapshot → disk → swap
//!                                                                                    │
//!                                                                        one ArcSwap<Snapshot>
//!                                                                                    │ loaded once a batch
//! UDP batch ─► dns::answer: wire → steer(snapshot, client, service, key) → wire ─► batch send
//! TCP, TLS  ─► the same answer()
//! HTTP      ─► http: request head → the same steer() → redirect or ranked list; /dns-query ─► the same answer()
//! ```
//!
//! # Layers
//!
//! A module imports from layers below its own only; `tests/tidy.rs` checks it.
//!
//! | layer | module | holds |
//! |---|---|---|
//! | 9 | [`cli`] | the program: `serve`, `check`, `explain`, `push`, … |
//! | 8 | [`serve`] | sockets, threads, signals; the UDP loop |
//! | 7 | [`dns`] | query bytes → reply bytes |
//! | 7 | [`http`] | request head → redirect, ranked list |
//! | 7 | [`control`] | the push API, status, explain, metrics |
//! | 7 | [`distribution`] | how tables reach this node but by push: a watched file |
//! | 6 | [`steer`] | THE decision, and [`steer::explain`], which is the same code with a recorder |
//! | 6 | [`publish`] | the one writer: accept, guard, build, persist, swap |
//! | 5 | [`snapshot`] | one immutable generation |
//! | 4 | [`policy`] | the order of candidates; rendezvous hashing |
//! | 3 | [`dnssec`] | keys by their times; signatures, made once and kept; denial |
//! | 3 | [`table`] | what is pushed: lines, deltas, diff, guards, artefact, journal |
//! | 2 | [`geo`] | GeoIP bytes → networks and places; distance |
//! | 2 | [`health`] | what is believed of each appliance; time passed in |
//! | 2 | [`zone`] | static zone data |
//! | 1 | [`lpm`] | longest-prefix table with scopes |
//! | 1 | [`wire`] | DNS messages as bytes |
//! | 1 | [`proxy`] | PROXY headers as bytes |
//! | 1 | [`dnstap`] | events of the query log as bytes |
//! | 1 | [`fleet`] | sites, clusters, appliances, services as ids and arrays |
//! | 1 | [`config`] | the config file, as written and as checked |
//! | 1 | [`metrics`] | counters that a worker owns |
//! | 0 | [`prefix`], [`units`], [`problem`], [`columns`] | address blocks · quantities · what is wrong, and where · arrays as octets |
//!
//! # What holds everywhere (several are absences)
//!
//! - `dns`, `http`, `steer` and what they stand on do no I/O, hold no lock and read no clock. On the
//!   usual path nothing allocates.
//! - `table`, `geo`, `health` take bytes and time, never files or clocks.
//! - `steer` does not know that DNS or HTTP exist; `policy` does not know addresses; `wire` does not
//!   know steering.
//! - One pointer, one generation: nothing loads the snapshot twice while it answers one query.
//! - Equal inputs give equal answers on every server, architecture and version.
//! - A query has exactly one outcome of a closed list, and the counters of that list sum to the
//!   packets received.
//! - Whatever is pushed, fed or mounted, the last good generation keeps serving, and says why.
//! - Beside every fast structure stands a slow one that is obviously right, and a seeded test that
//!   compares them: `tests/model` for the decision, linear scans for the tables.
//!
//! # Unsafe
//!
//! Denied everywhere but in `serve::udp`, where datagrams are received and sent in batches, and
//! `serve::memory`, which sets an option of the allocator.

pub mod cli;
pub mod columns;
pub mod config;
pub mod control;
pub mod distribution;
pub mod dns;
pub mod dnssec;
pub mod dnstap;
pub mod fleet;
pub mod geo;
pub mod health;
pub mod http;
pub mod lpm;
pub mod metrics;
pub mod policy;
pub mod prefix;
pub mod problem;
pub mod proxy;
#[allow(clippy::disallowed_methods, reason = "how long a push takes is told in its reply")]
pub mod publish;
pub mod serve;
pub mod snapshot;
pub mod steer;
pub mod table;
pub mod units;
pub mod wire;
pub mod zone;
