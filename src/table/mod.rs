//! What an inventory service pushes, as bytes and types.
pub mod routes;
pub use routes::{Candidate, Origin, RouteSet, Routes, ViaId, ViaPool};

use crate::fleet::Fleet;
use crate::units::Epoch;
use std::sync::Arc;
#[derive(Debug)]
pub struct Table {
    epoch: Epoch,
    fleet: Arc<Fleet>,
    routes: Arc<Routes>,
}
impl Table {
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }
}
