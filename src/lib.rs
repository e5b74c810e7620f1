//! steerd
#![allow(missing_docs)]
pub mod config;
pub mod dns;
pub mod fleet;
pub mod geo;
pub mod health;
pub mod http;
pub mod lpm;
pub mod metrics;
pub mod policy;
pub mod prefix;
pub mod problem;
pub mod publish;
pub mod snapshot;
pub mod steer;
pub mod table;
pub mod units;
pub mod wire;
pub mod zone;
