//! The data of an HTTPS or SVCB record (RFC 9460 section 2.2): ServiceMode for the name itself. Layer 7.

use std::net::IpAddr;

/// SvcParamKeys (RFC 9460 section 14.3.2), which come in this order.
mod key {
    /// Protocols.
    pub const ALPN: u16 = 1;
    /// Another port than the scheme's.
    pub const PORT: u16 = 3;
    /// Addresses.
    pub const IPV4HINT: u16 = 4;
    /// The same.
    pub const IPV6HINT: u16 = 6;
}

/// Priority 1, the name itself, and what is there of protocols, a port, and addresses of either family;
/// each protocol id has 1 to 255 octets.
pub(super) fn rdata(alpn: &[Box<str>], port: Option<u16>, hints: &[Vec<IpAddr>; 2]) -> Vec<u8> {
    let mut out = vec![0, 1, 0];
    let mut put = |key: u16, value: &[u8]| {
        if !value.is_empty() {
            out.extend_from_slice(&key.to_be_bytes());
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
        }
    };
    let ids = alpn.iter().flat_map(|id| [&[id.len() as u8], id.as_bytes()].concat());
    put(key::ALPN, &ids.collect::<Vec<u8>>());
    put(key::PORT, &port.map(u16::to_be_bytes).unwrap_or_default()[..if port.is_some() { 2 } else { 0 }]);
    let [v4, v6] = hints.each_ref().map(|addresses| addresses.iter().flat_map(octets).collect::<Vec<u8>>());
    put(key::IPV4HINT, &v4);
    put(key::IPV6HINT, &v6);
    out
}

/// The octets of an address.
fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9460_s2_2_parameters_come_in_the_order_of_their_keys() {
        let hints =
            [vec!["192.0.2.1".parse().expect("an address")], vec!["2001:db8::1".parse().expect("one")]];
        let found = rdata(&["h2".into(), "h3".into()], Some(8443), &hints);
        let mut expected = vec![0, 1, 0, 0, 1, 0, 6, 2, b'h', b'2', 2, b'h', b'3', 0, 3, 0, 2, 0x20, 0xfb];
        expected.extend_from_slice(&[0, 4, 0, 4, 192, 0, 2, 1, 0, 6, 0, 16, 0x20, 1, 0x0d, 0xb8]);
        expected.extend_from_slice(&[0; 11]);
        expected.push(1);
        assert_eq!(found, expected);
        assert_eq!(rdata(&[], None, &Default::default()), [0, 1, 0]);
    }
}
