//! What is told about appliances: the bodies of a health push and of a heartbeat.
//!
//! Owns the JSON forms; what follows from them stands in [`super`]. Unknown keys are passed over, so
//! that a monitor of a later version is still heard. Layer 2.

use super::rfc3339;
use crate::units::UnixMs;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What an appliance is believed to be; worse states are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Serves.
    #[default]
    Up,
    /// Serves whom it has; takes new clients only when nobody is up.
    Draining,
    /// Does not serve.
    Down,
}

impl State {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// One line of health: `{"appliance":"ams1-c001","state":"up","load":0.73,"since":"…","reason":"…"}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Report {
    /// Its name.
    pub appliance: Box<str>,
    /// Its state.
    pub state: State,
    /// Share of its capacity in use, 0.0 up; above 1.0 is overload.
    #[serde(default, deserialize_with = "load")]
    pub load: Option<f64>,
    /// Since when it is in that state, RFC 3339.
    #[serde(default, deserialize_with = "moment")]
    pub since: Option<UnixMs>,
    /// For people; kept to [`REASON_MAX`] characters.
    #[serde(default, deserialize_with = "reason")]
    pub reason: Option<Box<str>>,
}

/// Longest reason that is kept, in characters.
pub const REASON_MAX: usize = 200;

/// Longest name of a source of health pushes, in octets.
pub const FROM_LEN_MAX: usize = 128;

/// The body of a health push: a bare list of reports, or one with order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Push {
    /// Who pushed, and its sequence number; `None` for a bare list, which is taken as it comes.
    pub from: Option<(Box<str>, u64)>,
    /// The reports.
    pub states: Vec<Report>,
}

impl<'de> Deserialize<'de> for Push {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        body.deserialize_any(PushVisitor)
    }
}

/// Reads a [`Push`].
struct PushVisitor;

impl<'de> Visitor<'de> for PushVisitor {
    type Value = Push;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of reports, or an object with from, seq and states")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Push, A::Error> {
        let mut states = Vec::new();
        while let Some(report) = list.next_element()? {
            states.push(report);
        }
        Ok(Push { from: None, states })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Push, A::Error> {
        let (mut from, mut seq, mut states) = (None::<Box<str>>, None::<u64>, None);
        while let Some(key) = map.next_key::<Box<str>>()? {
            match &*key {
                "from" => from = Some(map.next_value()?),
                "seq" => seq = Some(map.next_value()?),
                "states" => states = Some(map.next_value()?),
                _ => {
                    map.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        let from = from.ok_or_else(|| de::Error::missing_field("from"))?;
        let seq = seq.ok_or_else(|| de::Error::missing_field("seq"))?;
        let states = states.ok_or_else(|| de::Error::missing_field("states"))?;
        if from.is_empty() || from.len() > FROM_LEN_MAX {
            return Err(de::Error::custom("from must have 1 to 128 octets"));
        }
        Ok(Push { from: Some((from, seq)), states })
    }
}

/// Reads a load: absent, null, or a number that is not negative.
fn load<'de, D: Deserializer<'de>>(value: D) -> Result<Option<f64>, D::Error> {
    let load = Option::<f64>::deserialize(value)?;
    match load {
        Some(load) if !load.is_finite() || load < 0.0 => {
            Err(de::Error::custom("a load must be a number of at least 0"))
        }
        load => Ok(load),
    }
}

/// Reads a moment: absent, null, or RFC 3339 text.
fn moment<'de, D: Deserializer<'de>>(value: D) -> Result<Option<UnixMs>, D::Error> {
    let Some(text) = Option::<Box<str>>::deserialize(value)? else { return Ok(None) };
    let found = rfc3339::parse(&text);
    found.map(Some).ok_or_else(|| de::Error::custom("since must be RFC 3339, as 2026-11-23T01:00:00Z"))
}

/// Reads a reason and shortens it.
fn reason<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<str>>, D::Error> {
    let text = Option::<String>::deserialize(value)?;
    Ok(text.map(|text| text.chars().take(REASON_MAX).collect::<String>().into_boxed_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<&str, &str>) {
        let found = serde_json::from_str::<Push>(json);
        let found = found.map(|p| {
            let from = p.from.map_or_else(|| "-".to_owned(), |(from, seq)| format!("{from} {seq}"));
            let told = |r: &Report| {
                format!("{} {} {:?} {:?} {:?}", r.appliance, r.state.as_str(), r.load, r.since, r.reason)
            };
            format!("{from}: {}", p.states.iter().map(told).collect::<Vec<_>>().join("; "))
        });
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{json}"),
            (Err(found), Err(part)) => assert!(found.to_string().contains(part), "{json}: {found}"),
            (found, _) => panic!("{json}: {found:?}"),
        }
    }

    #[test]
    fn both_bodies_are_read() {
        check("[]", Ok("-: "));
        check(r#"[{"appliance":"a","state":"up"}]"#, Ok("-: a up None None None"));
        check(
            r#"[{"appliance":"a","state":"down","load":null,"since":"1970-01-01T00:00:01Z","reason":"x","more":{}}]"#,
            Ok(r#"-: a down None Some(UnixMs(1000)) Some("x")"#),
        );
        check(
            r#"{"from":"monitor-1","seq":77,"states":[{"appliance":"a","state":"draining","load":0.5}]}"#,
            Ok("monitor-1 77: a draining Some(0.5) None None"),
        );
        check(r#"{"seq":77,"states":[]}"#, Err("missing field `from`"));
        check(r#"{"from":"m","states":[]}"#, Err("missing field `seq`"));
        check(r#"{"from":"m","seq":-1,"states":[]}"#, Err("invalid value"));
        check(r#"{"from":"","seq":1,"states":[]}"#, Err("1 to 128"));
        check(r#"[{"appliance":"a","state":"UP"}]"#, Err("unknown variant"));
        check(r#"[{"state":"up"}]"#, Err("missing field `appliance`"));
        check(r#"[{"appliance":"a","state":"up","load":-0.1}]"#, Err("at least 0"));
        check(r#"[{"appliance":"a","state":"up","since":"yesterday"}]"#, Err("RFC 3339"));
        check(r#""up""#, Err("a list of reports"));
    }
}
