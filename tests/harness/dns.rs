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
    // Behind the question's name, its type and class.
    let mut at = name_end(reply, 12).ok_or_else(bad)? + 4;
    let mut found = Vec::new();
    for _ in 0..count {
        // Behind the owner: type, class, TTL, length.
        at = name_end(reply, at).ok_or_else(bad)?;
        let record = reply.get(at..at + 10).ok_or_else(bad)?;
        let len = usize::from(u16::from_be_bytes([record[8], record[9]]));
        if record[..2] == [0, 1] {
            let octets = reply.get(at + 10..at + 14).ok_or_else(bad)?;
            found.push(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
        }
        at += 10 + len;
    }
    Ok((id, found))
}

/// Where the name at `at` ends: behind a pointer, or behind the root.
fn name_end(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            192.. => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
}
