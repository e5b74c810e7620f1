//! PROXY headers as bytes, versions 1 and 2: whom a proxy speaks for.
//!
//! Own code where a crate could do it: `ppp` takes a text header that is cut inside an address for a wrong
//! one instead of an unfinished one, and brings a second `thiserror`; what is needed of it is a source
//! address and a length. What is not understood is wrong, never guessed at; addresses of a family that has
//! no clients for us (Unix sockets, none) leave the peer as it is, as the specification asks. Of the
//! type-length-value fields a checksum is checked where there is one, the others are passed over. Layer 1: no socket. Tests: below, and fuzzed.

use crate::prefix::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a header of version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How one of version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// Octets of a header of version 1, at most, its CRLF among them.
const TEXT_LEN_MAX: usize = 107;

/// Octets before the addresses of a header of version 2.
const FIXED_LEN: usize = 16;

/// The field that holds a checksum (CRC-32C) of the header.
const CHECKSUM: u8 = 3;

/// Octets of a header, at most. The specification has no limit; proxies send a few hundred.
pub const LEN_MAX: usize = 4096;

/// Octets of the shortest header: a text one that knows nobody is longer.
pub const SHORTEST_LEN: usize = 15;

/// How many octets a header that begins with `octets`, at least [`SHORTEST_LEN`] of them and not all, lacks at
/// least: reading so many never takes what follows it.
pub fn missing(octets: &[u8]) -> usize {
    match octets.split_first_chunk::<FIXED_LEN>() {
        Some(([.., l0, l1], rest)) if octets.starts_with(&SIGNATURE) => {
            usize::from(u16::from_be_bytes([*l0, *l1])).saturating_sub(rest.len()).max(1)
        }
        None if octets.starts_with(&SIGNATURE) => FIXED_LEN - octets.len(),
        _ => 1,
    }
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose connection or datagram it is; `None`: the proxy's own, as it checks our health.
    pub client: Option<SocketAddr>,
    /// Octets of the header.
    pub len: usize,
}

/// What octets begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header.
    Whole(Header),
    /// The beginning of one, perhaps.
    Partial,
    /// Something else.
    Wrong,
}

/// Peers that may say for whom they speak.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Speakers(pub Vec<Prefix>);

impl Speakers {
    /// Whether `peer`, if need be the IPv4 address in it, is one of them.
    pub fn contain(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|prefix| prefix.contains(peer))
    }

    /// The client and the rest of a datagram that came from `peer`; `None` where it does not begin with a
    /// header, or `peer` may not speak for others.
    pub fn introduced<'a>(&self, peer: SocketAddr, datagram: &'a [u8]) -> Option<(SocketAddr, &'a [u8])> {
        match parse(datagram) {
            Parsed::Whole(header) if self.contain(peer.ip()) => {
                Some((header.client.unwrap_or(peer), datagram.get(header.len..)?))
            }
            _ => None,
        }
    }
}

/// Reads the header that `octets` begin with.
pub fn parse(octets: &[u8]) -> Parsed {
    let begins = |start: &[u8]| {
        let len = start.len().min(octets.len());
        octets[..len] == start[..len]
    };
    if begins(&SIGNATURE) && !octets.is_empty() {
        binary(octets)
    } else if begins(WORD) {
        text(octets)
    } else {
        Parsed::Wrong
    }
}

/// Reads a header of version 2, or the beginning of one.
fn binary(octets: &[u8]) -> Parsed {
    let Some((fixed, rest)) = octets.split_first_chunk::<FIXED_LEN>() else { return Parsed::Partial };
    let [.., version_and_command, family, l0, l1] = *fixed;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if FIXED_LEN + len > LEN_MAX || !matches!(version_and_command, 0x20 | 0x21) {
        return Parsed::Wrong;
    }
    let Some(body) = rest.get(..len) else { return Parsed::Partial };
    if !is_intact(&octets[..FIXED_LEN + len], family) {
        return Parsed::Wrong;
    }
    let is_local = version_and_command == 0x20;
    let client = match family {
        _ if is_local => Ok(None),
        // Over IPv4 and IPv6; a stream or datagrams.
        0x11 | 0x12 => v4_source(body).map(Some).ok_or(()),
        0x21 | 0x22 => v6_source(body).map(Some).ok_or(()),
        // Unspecified, and Unix sockets.
        0x00..=0x02 | 0x10 | 0x20 | 0x30..=0x32 => Ok(None),
        _ => Err(()),
    };
    match client {
        Ok(client) => Parsed::Whole(Header { client, len: FIXED_LEN + len }),
        Err(()) => Parsed::Wrong,
    }
}

/// Whether the checksum in a whole header of version 2 is right, or there is none.
fn is_intact(header: &[u8], family: u8) -> bool {
    let mut at = FIXED_LEN
        + match family >> 4 {
            1 => 12,
            2 => 36,
            3 => 216,
            _ => 0,
        };
    while let Some([kind, l0, l1]) = header.get(at..).and_then(|rest| rest.first_chunk()) {
        let (start, len) = (at + 3, usize::from(u16::from_be_bytes([*l0, *l1])));
        let Some(value) = header.get(start..start + len) else { return true };
        if *kind == CHECKSUM {
            // It is that of the header with nothing in its place.
            let parts = [&header[..start], &[0; 4], &header[start + len..]];
            return value == crc32c(parts.into_iter().flatten()).to_be_bytes();
        }
        at = start + len;
    }
    true
}

/// CRC-32C (RFC 3720 appendix B.4), a bit at a time: few headers have one.
fn crc32c<'a>(octets: impl Iterator<Item = &'a u8>) -> u32 {
    /// Its polynomial, the lowest power first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
    !octets.fold(!0, |crc, octet| (0..8).fold(crc ^ u32::from(*octet), step))
}

/// The source among two IPv4 addresses and two ports.
fn v4_source(body: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, p0, p1, _, _] = *body.first_chunk()?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1])).into())
}

/// The source among two IPv6 addresses and two ports.
fn v6_source(body: &[u8]) -> Option<SocketAddr> {
    let [addresses @ .., p0, p1, _, _] = body.first_chunk::<36>()?;
    let source = addresses.first_chunk::<16>()?;
    Some((Ipv6Addr::from(*source), u16::from_be_bytes([*p0, *p1])).into())
}

/// Reads a header of version 1, or the beginning of one.
fn text(octets: &[u8]) -> Parsed {
    let line = &octets[..octets.len().min(TEXT_LEN_MAX)];
    let Some(end) = line.iter().position(|&octet| octet == b'\n') else {
        return if line.len() < TEXT_LEN_MAX { Parsed::Partial } else { Parsed::Wrong };
    };
    let len = end + 1;
    let words = line[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let Some(words) = words.and_then(|line| line.strip_prefix("PROXY ")) else { return Parsed::Wrong };
    if words == "UNKNOWN" || words.starts_with("UNKNOWN ") {
        return Parsed::Whole(Header { client: None, len });
    }
    match text_source(words) {
        Some(client) => Parsed::Whole(Header { client: Some(client), len }),
        None => Parsed::Wrong,
    }
}

/// The source in `TCP4 source destination port port`, or the same with `TCP6`.
fn text_source(words: &str) -> Option<SocketAddr> {
    let mut words = words.split(' ');
    let is_v4 = match words.next()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || words.next()?.parse::<IpAddr>().ok().filter(|addr| addr.is_ipv4() == is_v4);
    let (source, _destination) = (address()?, address()?);
    let mut port = || {
        let digits = words.next().filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))?;
        digits.parse::<u16>().ok().filter(|_| digits.len() == 1 || !digits.starts_with('0'))
    };
    let (source_port, _destination_port) = (port()?, port()?);
    words.next().is_none().then_some(SocketAddr::new(source, source_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    /// A whole header of `len` octets.
    fn whole(client: Option<&str>, len: usize) -> Parsed {
        Parsed::Whole(Header { client: client.map(|client| client.parse().expect("an address")), len })
    }

    const V4: &[u8] = &[192, 0, 2, 1, 192, 0, 2, 2, 0x10, 0, 0, 53];

    #[test]
    fn a_checksum_is_right_where_there_is_one() {
        // The vectors of RFC 3720 appendix B.4.
        assert_eq!(crc32c([0_u8; 32].iter()), 0x8a91_36aa);
        assert_eq!(crc32c((0_u8..32).collect::<Vec<_>>().iter()), 0x46dd_794e);
        for (command, family, addresses) in [(0x21, 0x11, V4), (0x20, 0x11, V4), (0x20, 0x00, &[])] {
            let fields = [&[4, 0, 2, 9, 9][..], &[CHECKSUM, 0, 4, 0, 0, 0, 0], &[1, 0, 1, b'h']].concat();
            let mut header = binary(command, family, &[addresses, &fields].concat());
            let at = FIXED_LEN + addresses.len() + 8;
            let sum = crc32c(header.iter()).to_be_bytes();
            header[at..at + 4].copy_from_slice(&sum);
            assert!(matches!(parse(&header), Parsed::Whole(_)), "{family}");
            for damaged in FIXED_LEN..header.len() {
                // Those before the checksum may hide that there is one.
                if damaged >= at || (FIXED_LEN..FIXED_LEN + addresses.len()).contains(&damaged) {
                    let mut header = header.clone();
                    header[damaged] ^= 1;
                    assert_eq!(parse(&header), Parsed::Wrong, "{family} {damaged}");
                }
            }
        }
        let short = [V4, &[CHECKSUM, 0, 2, 0, 0]].concat();
        assert_eq!(parse(&binary(0x21, 0x11, &short)), Parsed::Wrong);
    }

    #[test]
    fn binary_headers_say_who_it_is() {
        for family in [0x11, 0x12] {
            assert_eq!(parse(&binary(0x21, family, V4)), whole(Some("192.0.2.1:4096"), 28));
        }
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        let v6 = [&source.octets()[..], &[0; 16], &[0x10, 0, 0, 53]].concat();
        for family in [0x21, 0x22] {
            assert_eq!(parse(&binary(0x21, family, &v6)), whole(Some("[2001:db8::1]:4096"), 52));
        }
        // Fields after the addresses, and what follows the header.
        let more = [V4, &[0xe0, 0, 4, 1, 2, 3, 4]].concat();
        let sent = [binary(0x21, 0x11, &more), b"GET / ".to_vec()].concat();
        assert_eq!(parse(&sent), whole(Some("192.0.2.1:4096"), 35));
        // The proxy's own connection, and families that have no clients of ours.
        assert_eq!(parse(&binary(0x20, 0x11, V4)), whole(None, 28));
        assert_eq!(parse(&binary(0x20, 0x00, &[])), whole(None, 16));
        assert_eq!(parse(&binary(0x21, 0x00, &[])), whole(None, 16));
        assert_eq!(parse(&binary(0x21, 0x31, &[0; 216])), whole(None, 232));
        for wrong in [
            binary(0x22, 0x11, V4),
            binary(0x11, 0x11, V4),
            binary(0x21, 0x13, V4),
            binary(0x21, 0x41, V4),
            binary(0x21, 0x11, &V4[1..]),
            binary(0x21, 0x21, V4),
            binary(0x21, 0x11, &[0; LEN_MAX - FIXED_LEN + 1]),
        ] {
            assert_eq!(parse(&wrong), Parsed::Wrong, "{wrong:?}");
        }
    }

    #[test]
    fn text_headers_say_who_it_is() {
        let check = |line: &str, client| {
            let sent = format!("{line}\r\nGET / HTTP/1.1");
            assert_eq!(parse(sent.as_bytes()), whole(client, line.len() + 2), "{line}");
        };
        check("PROXY TCP4 192.0.2.1 192.0.2.2 4096 80", Some("192.0.2.1:4096"));
        check("PROXY TCP6 2001:db8::1 ::1 65535 0", Some("[2001:db8::1]:65535"));
        check("PROXY UNKNOWN", None);
        check("PROXY UNKNOWN ffff::1 whatever 1 2", None);
        for wrong in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 4096 80 9",
            "PROXY TCP4 192.0.2.1 192.0.2.2 4096",
            "PROXY TCP4 192.0.2.1 192.0.2.2 04096 80",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +80 80",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 80",
            "PROXY TCP4 192.0.2.1  192.0.2.2 80 80",
            "PROXY TCP4 2001:db8::1 ::1 80 80",
            "PROXY TCP6 192.0.2.1 192.0.2.2 80 80",
            "PROXY UDP4 192.0.2.1 192.0.2.2 80 80",
            "PROXY UNKNOWNS",
            "PROXY ",
            "proxy UNKNOWN",
            "GET / HTTP/1.1",
        ] {
            assert_eq!(parse(format!("{wrong}\r\n").as_bytes()), Parsed::Wrong, "{wrong}");
        }
        assert_eq!(parse(b"PROXY UNKNOWN\n"), Parsed::Wrong);
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(TEXT_LEN_MAX));
        assert_eq!(parse(long.as_bytes()), Parsed::Wrong);
    }

    #[test]
    fn every_beginning_of_a_header_is_partial_and_never_read_past() {
        for sent in [
            binary(0x21, 0x11, V4),
            binary(0x20, 0x00, &[]),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 4096 80\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
        ] {
            for len in 0..sent.len() {
                assert_eq!(parse(&sent[..len]), Parsed::Partial, "{len} of {sent:?}");
                assert!(len < SHORTEST_LEN || (1..=sent.len() - len).contains(&missing(&sent[..len])));
            }
            let Parsed::Whole(header) = parse(&sent) else { panic!("a header: {sent:?}") };
            assert_eq!(header.len, sent.len());
        }
    }

    #[test]
    fn changed_headers_are_read_or_not_and_nothing_breaks() {
        let mut seed = 0x5eed_0007u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 4096 80\r\n".to_vec();
        let seeds = [binary(0x21, 0x11, V4), binary(0x21, 0x21, &[7; 40]), line];
        for _ in 0..20_000 {
            let mut sent = seeds[random(seeds.len())].clone();
            for _ in 0..random(4) {
                let at = random(sent.len());
                sent[at] = [0, 1, b' ', b'0', b'\r', b'\n', 0xff, random(256) as u8][random(8)];
            }
            sent.truncate(random(sent.len()) + 1);
            match parse(&sent) {
                Parsed::Whole(header) => {
                    assert!(header.len <= sent.len() && header.len <= LEN_MAX);
                    assert_eq!(parse(&sent[..header.len]), parse(&sent), "what follows does not matter");
                }
                // More octets cannot mend what is wrong.
                Parsed::Wrong => assert_eq!(parse(&[&sent[..], b"\r\n"].concat()), Parsed::Wrong),
                Parsed::Partial => {}
            }
        }
    }

    #[test]
    fn only_trusted_peers_speak_for_others() {
        let speakers = Speakers(vec!["10.0.0.0/8".parse().expect("a prefix")]);
        let datagram = [binary(0x21, 0x12, V4), b"query".to_vec()].concat();
        let ask = |peer: &str, datagram| {
            let found = speakers.introduced(peer.parse().expect("an address"), datagram);
            found.map(|(client, rest)| (client.to_string(), String::from_utf8_lossy(rest).into_owned()))
        };
        let expected = Some(("192.0.2.1:4096".to_owned(), "query".to_owned()));
        assert_eq!(ask("10.1.1.1:53", &datagram), expected);
        assert_eq!(ask("[::ffff:10.1.1.1]:53", &datagram), expected);
        assert_eq!(ask("192.0.2.9:53", &datagram), None);
        assert_eq!(ask("10.1.1.1:53", b"query"), None);
        let own = [binary(0x20, 0, &[]), b"query".to_vec()].concat();
        assert_eq!(ask("10.1.1.1:53", &own), Some(("10.1.1.1:53".to_owned(), "query".to_owned())));
    }
}
