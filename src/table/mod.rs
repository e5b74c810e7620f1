//! What an inventory service pushes, as bytes and types.
pub mod routes;
pub use routes::{Candidate, Origin, RouteSet, Routes, ViaId, ViaPool};
