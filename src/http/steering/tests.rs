//! Content steering by example.
