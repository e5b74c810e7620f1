//! steerd
#![allow(missing_docs)]
pub mod fleet;
pub mod geo;
pub mod health;
pub mod prefix;
pub mod problem;
pub mod table;
pub mod units;
