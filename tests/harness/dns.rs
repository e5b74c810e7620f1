//! Queries and answers, the little that load tests need; conformance is checked with other codecs.

use std::net::Ipv4Addr;

/// An A query for `name` with an ECS option of `client`/24.
pub fn query(id: u16, name: &str, client: Ipv4Addr) -> Vec<u8> {
    let mut packet = Vec::with_capacity(80);
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    let [a, b, c, _] = client.octets();
    packet.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
    packet
}

/// Id and the A records of a reply, or what is wrong with it.
pub fn addresses(reply: &[u8]) -> Result<(u16, Vec<Ipv4Addr>), String> {
    let bad = || format!("bad reply {reply:02x?}");
    if reply.len() < 12 || reply[2] & 0x80 == 0 || reply[3] & 15 != 0 {
        return Err(bad());
    }
    let id = u16::from_be_bytes([reply[0], reply[1]]);
    let count = u16::from_be_bytes([reply[6], reply[7]]);
    let mut at = 12;
    while *reply.get(at).ok_or_else(bad)? != 0 {
        at += 1 + usize::from(reply[at]);
    }
    at += 5;
    let mut found = Vec::new();
    for _ in 0..count {
        // Owner is a pointer, then type, class, TTL, length.
        let record = reply.get(at..at + 12).ok_or_else(bad)?;
        let len = usize::from(u16::from_be_bytes([record[10], record[11]]));
        if record[2..4] == [0, 1] {
            let octets = reply.get(at + 12..at + 16).ok_or_else(bad)?;
            found.push(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
        }
        at += 12 + len;
    }
    Ok((id, found))
}
