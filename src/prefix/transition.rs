//! The IPv6 forms that carry an IPv4 client, and the client under them.
//!
//! | form | block | the IPv4 address | a scope of n IPv4 bits is |
//! |---|---|---|---|
//! | IPv4-mapped (RFC 4291 section 2.5.5.2) | `::ffff:0:0/96` | last 32 bits | 96 + n |
//! | NAT64 (RFC 6052 section 2.1) | `64:ff9b::/96` | last 32 bits | 96 + n |
//! | 6to4 (RFC 3056 section 2) | `2002::/16` | bits 16 to 47 | 16 + n |
//! | Teredo (RFC 4380 section 4) | `2001::/32` | last 32 bits, inverted | 128 |

use super::{Block, Family};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a client's address was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As itself.
    Native,
    /// IPv4-mapped or NAT64: the last 32 bits.
    Tail,
    /// 6to4.
    SixToFour,
    /// Teredo.
    Teredo,
}

/// The four blocks as `(first address, length, form)`.
const FORMS: [(u128, u8, Form); 4] = [
    (0xffff_0000_0000, 96, Form::Tail),
    (0x0064_ff9b << 96, 96, Form::Tail),
    (0x2001_0000 << 96, 32, Form::Teredo),
    (0x2002 << 112, 16, Form::SixToFour),
];

/// The four IPv6 blocks whose addresses stand for IPv4 clients, in address order.
pub fn blocks() -> [Block<u128>; 4] {
    FORMS.map(|(first, len, _)| Block::around(first, len))
}

/// A client's address, transition forms taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    addr: IpAddr,
    form: Form,
}

impl Client {
    /// What `addr` means: the IPv4 client of a transition form, else itself.
    pub fn of(addr: IpAddr) -> Self {
        let IpAddr::V6(v6) = addr else { return Self { addr, form: Form::Native } };
        let bits = u128::from(v6);
        // Nearly all clients are told by their first 16 bits.
        if FORMS.iter().all(|(first, ..)| (first ^ bits) >> 112 != 0) {
            return Self { addr, form: Form::Native };
        }
        for (first, len, form) in FORMS {
            if Block::around(first, len).contains(bits) {
                let v4 = match form {
                    Form::SixToFour => (bits >> 80) as u32,
                    Form::Teredo => !(bits as u32),
                    Form::Tail | Form::Native => bits as u32,
                };
                return Self { addr: IpAddr::V4(Ipv4Addr::from(v4)), form };
            }
        }
        Self { addr, form: Form::Native }
    }

    /// The address that decides.
    pub fn addr(self) -> IpAddr {
        self.addr
    }

    /// The family that decides, not the family it was written in.
    pub fn family(self) -> Family {
        Family::of(self.addr)
    }

    /// Whether the address was written as itself.
    pub fn is_native(self) -> bool {
        self.form == Form::Native
    }

    /// A scope of the deciding address as a scope of the address as written.
    pub fn scope_as_written(self, scope_len: u8) -> u8 {
        match self.form {
            Form::Native => scope_len,
            Form::Tail => 96 + scope_len,
            Form::SixToFour => 16 + scope_len,
            Form::Teredo => 128,
        }
    }

    /// The deciding address with all but the first `v4_len` or `v6_len` bits cleared.
    pub fn truncated(self, v4_len: u8, v6_len: u8) -> IpAddr {
        match self.addr {
            IpAddr::V4(a) => Ipv4Addr::from(Block::around(u32::from(a), v4_len).first()).into(),
            IpAddr::V6(a) => Ipv6Addr::from(Block::around(u128::from(a), v6_len).first()).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, decides: &str, scope_of_24: u8) {
        let client = Client::of(written.parse().expect("an address"));
        assert_eq!(client.addr().to_string(), decides, "{written}");
        assert_eq!(client.scope_as_written(24), scope_of_24, "{written}");
    }

    #[test]
    fn transition_forms_are_their_ipv4_client() {
        check("192.0.2.1", "192.0.2.1", 24);
        check("2001:db8::1", "2001:db8::1", 24);
        check("::ffff:192.0.2.1", "192.0.2.1", 120);
        check("64:ff9b::192.0.2.1", "192.0.2.1", 120);
        check("2002:c000:201::5", "192.0.2.1", 40);
        check("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1", 128);
        check("2001:1::1", "2001:1::1", 24);
        check("64:ff9b:1::1", "64:ff9b:1::1", 24);
        check("::fffe:192.0.2.1", "::fffe:c000:201", 24);
    }
}
