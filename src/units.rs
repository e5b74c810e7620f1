//! Quantities with a unit, as types, so that two numbers cannot change places.
//!
//! Layer 0: imports nothing of the crate.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A table's epoch: 1 to 2^53 − 1, so that every JSON reader keeps it exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// The largest epoch, 2^53 − 1 (RFC 8259 section 6, interoperable integers).
    pub const MAX: u64 = (1 << 53) - 1;

    /// The lowest epoch.
    pub const FIRST: Self = Self(1);

    /// Makes an epoch of `number`; `None` outside 1 to [`Epoch::MAX`].
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Ten-thousandths, 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BasisPoints(u16);

impl BasisPoints {
    /// All of it.
    pub const ONE: Self = Self(10_000);
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Makes basis points of `count`, values above 10,000 becoming 10,000.
    pub const fn saturating(count: u32) -> Self {
        if count > 10_000 { Self::ONE } else { Self(count as u16) }
    }

    /// Rounds a fraction (0.0 to 1.0; outside is clamped, NaN is 0) to the nearest basis point.
    pub fn of_fraction(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 10_000.0).round() as u16)
    }

    /// The number, 0 to 10,000.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Whole kilometres along the surface of the earth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Km(pub u16);

/// Milliseconds since 1970-01-01T00:00:00Z. Passed in by whoever may read a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
