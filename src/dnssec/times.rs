//! What happens to a key and when: times as BIND's key files write them. Layer 3.

use crate::units::UnixMs;
use std::fmt;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixS(pub u64);

impl From<UnixMs> for UnixS {
    fn from(moment: UnixMs) -> Self {
        Self(moment.0 / 1000)
    }
}

/// Seconds of a day.
const DAY_S: u64 = 86_400;

impl UnixS {
    /// The end of the year 9999, which is the last that four digits write.
    pub const MAX: Self = Self(253_402_300_799);

    /// `seconds` later, at most [`UnixS::MAX`].
    #[must_use]
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds)).min(Self::MAX)
    }

    /// Reads `YYYYMMDDHHMMSS`, or `YYYYMMDD` for its first second, in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        if !matches!(text.len(), 8 | 14) || !text.bytes().all(|octet| octet.is_ascii_digit()) {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to).map_or(Some(0), |part| part.parse().ok());
        let (year, month, day): (u64, u64, u64) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second): (u64, u64, u64) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
        if year < 1970 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let moment = Self(days_to(year, month, day)? * DAY_S + hour * 3600 + minute * 60 + second);
        // The 30th of February and its like come out as another day.
        (moment.to_string().get(..8) == text.get(..8)).then_some(moment)
    }
}

impl fmt::Display for UnixS {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, rest) = (self.0 / DAY_S, self.0 % DAY_S);
        let (year, month, day) = date_of(days);
        write!(out, "{year:04}{month:02}{day:02}{:02}{:02}{:02}", rest / 3600, rest / 60 % 60, rest % 60)
    }
}

/// Whether February has 29 days.
fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Days of a year's months.
fn months(year: u64) -> [u64; 12] {
    [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days from 1970-01-01 to the first of January of `year`, 1970 or later.
fn days_to_year(year: u64) -> u64 {
    // Leap days of the years 1 to `before`.
    let leaps = |before: u64| before / 4 - before / 100 + before / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

/// Days from 1970-01-01 to a date of the year 1970 or later; `None` when there is no such month or day.
fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    let months = months(year);
    let before = months.get(..usize::try_from(month).ok()?.checked_sub(1)?)?;
    months.get(before.len())?;
    Some(days_to_year(year) + before.iter().sum::<u64>() + day.checked_sub(1)?)
}

/// The date that is `days` after 1970-01-01.
fn date_of(days: u64) -> (u64, u64, u64) {
    let mut year = 1970 + days / 366;
    while days_to_year(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_to_year(year);
    for (month, len) in (1..).zip(months(year)) {
        if rest < len {
            return (year, month, rest + 1);
        }
        rest -= len;
    }
    (year, 12, 31)
}

/// What happens to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// It was made.
    Created,
    /// It comes into the DNSKEY set.
    Publish,
    /// It begins to sign.
    Activate,
    /// It signs no more.
    Inactive,
    /// It leaves the DNSKEY set.
    Delete,
    /// The parent is asked to point to it (CDS, CDNSKEY).
    SyncPublish,
    /// The parent is asked so no more.
    SyncDelete,
}

impl Event {
    /// All, in the order in which they are written.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Publish,
        Self::Activate,
        Self::Inactive,
        Self::Delete,
        Self::SyncPublish,
        Self::SyncDelete,
    ];

    /// As key files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Publish => "Publish",
            Self::Activate => "Activate",
            Self::Inactive => "Inactive",
            Self::Delete => "Delete",
            Self::SyncPublish => "SyncPublish",
            Self::SyncDelete => "SyncDelete",
        }
    }

    /// The event that key files call `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// The times of a key; an event without one does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times([Option<UnixS>; Event::ALL.len()]);

impl Times {
    /// When `event` happens.
    pub fn at(&self, event: Event) -> Option<UnixS> {
        self.0[event as usize]
    }

    /// Sets when `event` happens; `None`: never.
    pub fn set(&mut self, event: Event, moment: Option<UnixS>) {
        self.0[event as usize] = moment;
    }

    /// All that happen, in the order of [`Event::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Event, UnixS)> {
        Event::ALL.into_iter().filter_map(|event| self.at(event).map(|moment| (event, moment)))
    }

    /// Whether `moment` lies between two events; one that never happens leaves that side open.
    fn is_between(&self, from: Option<UnixS>, to: Option<UnixS>, moment: UnixS) -> bool {
        from.is_none_or(|from| from <= moment) && to.is_none_or(|to| moment < to)
    }

    /// Whether the key is in the DNSKEY set at `moment`. One that only has a time to sign from is there
    /// before, as BIND reads it; a key without any times is always.
    pub fn is_published(&self, moment: UnixS) -> bool {
        self.is_between(self.at(Event::Publish), self.at(Event::Delete), moment)
    }

    /// Whether the key signs at `moment`. Times of their own for Delete and Inactive let a key sign
    /// before it is published and after, as a change of algorithm needs (RFC 6781 section 4.1.4).
    pub fn is_active(&self, moment: UnixS) -> bool {
        let activate = self.at(Event::Activate);
        if activate.is_none() && self.at(Event::Publish).is_some() {
            return false;
        }
        let inactive = self.at(Event::Inactive).or_else(|| self.at(Event::Delete));
        self.is_between(activate, inactive, moment)
    }

    /// Whether the parent is asked at `moment` to point to the key.
    pub fn is_synced(&self, moment: UnixS) -> bool {
        let publish = self.at(Event::SyncPublish);
        publish.is_some() && self.is_between(publish, self.at(Event::SyncDelete), moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, expected) in [
            ("19700101000000", Some(0)),
            ("20240229235959", Some(1_709_251_199)),
            ("20260101", Some(1_767_225_600)),
            ("99991231235959", Some(UnixS::MAX.0)),
            ("20230229000000", None),
            ("20230431000000", None),
            ("20231301000000", None),
            ("20230001000000", None),
            ("20230100000000", None),
            ("20230101240000", None),
            ("2023010100000", None),
            ("+1234567", None),
            ("", None),
        ] {
            assert_eq!(UnixS::parse(text).map(|moment| moment.0), expected, "{text}");
        }
        for days in (0..2_932_000).step_by(97) {
            let moment = UnixS(days * DAY_S + days % DAY_S);
            assert_eq!(UnixS::parse(&moment.to_string()), Some(moment));
        }
    }

    #[test]
    fn a_key_without_times_is_always_used_and_one_without_activation_never_signs() {
        let mut times = Times::default();
        assert!(times.is_published(UnixS(5)) && times.is_active(UnixS(5)) && !times.is_synced(UnixS(5)));
        times.set(Event::Publish, Some(UnixS(5)));
        assert!(times.is_published(UnixS(5)) && !times.is_published(UnixS(4)));
        assert!(!times.is_active(UnixS(5)));
        times.set(Event::Activate, Some(UnixS(7)));
        times.set(Event::Delete, Some(UnixS(9)));
        assert!(!times.is_active(UnixS(6)) && times.is_active(UnixS(8)) && !times.is_active(UnixS(9)));
    }
}
