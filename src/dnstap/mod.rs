//! dnstap: what was asked and replied, as other programs read it.
//!
//! `message` is the event, as protocol buffers; `frames` is Frame Streams, the form that events have in
//! a file or on a socket. Bytes only: who makes events and who waits for a socket is elsewhere. Layer 1.

pub mod frames;
pub mod message;
