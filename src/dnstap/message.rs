//! One event, as the dnstap schema numbers its fields. Encoded by `prost`.

use prost::Message as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A datagram.
    Udp = 1,
    /// A connection.
    Tcp = 2,
    /// TLS (RFC 7858).
    Dot = 3,
    /// HTTPS (RFC 8484).
    Doh = 4,
}

/// A query and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Who asked.
    pub peer: SocketAddr,
    /// How.
    pub protocol: Protocol,
    /// When, since 1970-01-01T00:00:00Z.
    pub asked: Duration,
    /// The query, as it came.
    pub query: &'a [u8],
    /// When it was replied to, and the reply; `None` when there was none.
    pub reply: Option<(Duration, &'a [u8])>,
    /// The server's name; empty: it does not say.
    pub identity: &'a str,
    /// Whatever else is known: the `extra` field.
    pub extra: &'a [u8],
}

/// The outer message.
#[derive(Clone, PartialEq, prost::Message)]
struct Dnstap {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    version: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    extra: Option<Vec<u8>>,
    #[prost(message, optional, tag = "14")]
    message: Option<Message>,
    /// 1: a message.
    #[prost(int32, required, tag = "15")]
    kind: i32,
}

/// The inner one. Zones and policies are not filled in.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    /// 1: an authoritative server's query; 2: its response.
    #[prost(int32, required, tag = "1")]
    kind: i32,
    /// 1: IPv4; 2: IPv6.
    #[prost(int32, optional, tag = "2")]
    socket_family: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    socket_protocol: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    query_address: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "6")]
    query_port: Option<u32>,
    #[prost(uint64, optional, tag = "8")]
    query_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "9")]
    query_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "10")]
    query_message: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "12")]
    response_time_sec: Option<u64>,
    #[prost(fixed32, optional, tag = "13")]
    response_time_nsec: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "14")]
    response_message: Option<Vec<u8>>,
}

/// What writes the events.
const VERSION: &str = concat!("steerd ", env!("CARGO_PKG_VERSION"));

impl Event<'_> {
    /// The event as one message: AUTH_RESPONSE with the query in it, or AUTH_QUERY without a reply.
    pub fn encode(&self) -> Vec<u8> {
        let address = match self.peer.ip() {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        let message = Message {
            kind: if self.reply.is_some() { 2 } else { 1 },
            socket_family: Some(if self.peer.is_ipv4() { 1 } else { 2 }),
            socket_protocol: Some(self.protocol as i32),
            query_address: Some(address),
            query_port: Some(self.peer.port().into()),
            query_time_sec: Some(self.asked.as_secs()),
            query_time_nsec: Some(self.asked.subsec_nanos()),
            query_message: Some(self.query.to_vec()),
            response_time_sec: self.reply.map(|(at, _)| at.as_secs()),
            response_time_nsec: self.reply.map(|(at, _)| at.subsec_nanos()),
            response_message: self.reply.map(|(_, octets)| octets.to_vec()),
        };
        let filled = |octets: &[u8]| Some(octets.to_vec()).filter(|octets| !octets.is_empty());
        Dnstap {
            identity: filled(self.identity.as_bytes()),
            version: Some(VERSION.into()),
            extra: filled(self.extra),
            message: Some(message),
            kind: 1,
        }
        .encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_back_as_it_was() {
        let event = Event {
            peer: "[2001:db8::1]:5353".parse().expect("an address"),
            protocol: Protocol::Doh,
            asked: Duration::new(1_700_000_000, 5),
            query: b"query",
            reply: Some((Duration::new(1_700_000_001, 6), b"reply")),
            identity: "ams-1",
            extra: b"{}",
        };
        let read = Dnstap::decode(&event.encode()[..]).expect("a message");
        assert_eq!(
            (read.kind, read.identity, read.extra),
            (1, Some(b"ams-1".to_vec()), Some(b"{}".to_vec()))
        );
        let message = read.message.expect("a message inside");
        assert_eq!((message.kind, message.socket_family, message.socket_protocol), (2, Some(2), Some(4)));
        assert_eq!(message.query_address.map(|octets| octets.len()), Some(16));
        assert_eq!(
            (message.query_port, message.query_time_sec, message.query_time_nsec),
            (Some(5353), Some(1_700_000_000), Some(5))
        );
        assert_eq!(
            (message.query_message, message.response_message),
            (Some(b"query".to_vec()), Some(b"reply".to_vec()))
        );
        let unanswered = Event { reply: None, identity: "", extra: b"", ..event };
        let read = Dnstap::decode(&unanswered.encode()[..]).expect("a message");
        assert_eq!((read.identity, read.extra), (None, None));
        let message = read.message.expect("a message inside");
        assert_eq!((message.kind, message.response_message, message.response_time_sec), (1, None, None));
    }

    #[test]
    fn fields_have_the_numbers_of_the_schema() {
        let event = Event {
            peer: "192.0.2.1:53".parse().expect("an address"),
            protocol: Protocol::Udp,
            asked: Duration::new(1, 2),
            query: b"q",
            reply: None,
            identity: "",
            extra: b"",
        };
        let octets = event.encode();
        // Version (2), message (14), kind (15) = 1.
        assert_eq!(octets[..2], [0x12, VERSION.len() as u8]);
        let inner = &octets[2 + VERSION.len()..];
        let expected = [
            &[0x72, 31][..],
            &[0x08, 1, 0x10, 1, 0x18, 1, 0x22, 4, 192, 0, 2, 1, 0x30, 53],
            &[0x40, 1, 0x4d, 2, 0, 0, 0, 0x52, 1, b'q'],
        ]
        .concat();
        let len = inner[1] as usize;
        assert_eq!(inner[2..2 + len], expected[2..], "the inner message");
        assert_eq!(inner[2 + len..], [0x78, 1]);
    }
}
