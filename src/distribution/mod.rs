//! How tables reach this node other than by a push.
//!
//! A distributor finds bytes and brings them to the publisher, whose rules are the same for all of
//! them: it decides nothing about tables itself. So far there is one, [`mod@file`]. Layer 7.

pub mod file;
