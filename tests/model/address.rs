//! Addresses and blocks as plain numbers, the special blocks, and the transition forms.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

/// An address: its family and its bits, IPv4 in the low 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addr {
    /// Whether it is IPv6.
    pub v6: bool,
    /// The bits, in host order.
    pub bits: u128,
}

impl Addr {
    /// The same address in the standard library's form.
    pub fn ip(self) -> IpAddr {
        match self.v6 {
            true => Ipv6Addr::from(self.bits).into(),
            false => Ipv4Addr::from(self.bits as u32).into(),
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Self { v6: false, bits: u128::from(u32::from(a)) },
            IpAddr::V6(a) => Self { v6: true, bits: u128::from(a) },
        }
    }
}

/// Bits in an address of a family: 32 or 128.
pub fn width(v6: bool) -> u8 {
    if v6 { 128 } else { 32 }
}

/// An aligned block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Net {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Its lowest address.
    pub first: u128,
    /// Its prefix length.
    pub len: u8,
}

impl Net {
    /// The block of length `len` around `addr`.
    pub fn around(addr: Addr, len: u8) -> Self {
        let host = u32::from(width(addr.v6) - len);
        let first = if host == 128 { 0 } else { addr.bits >> host << host };
        Self { v6: addr.v6, first, len }
    }

    /// Reads `address/length`; host bits are cleared.
    pub fn parse(text: &str) -> Self {
        let (addr, len) = text.split_once('/').expect("a prefix has a slash");
        let ip: IpAddr = addr.parse().expect("an address before the slash");
        Self::around(ip.into(), len.parse().expect("a length after the slash"))
    }

    /// Its highest address.
    pub fn last(self) -> u128 {
        let host = u32::from(width(self.v6) - self.len);
        self.first | if host == 128 { u128::MAX } else { (1 << host) - 1 }
    }

    /// Whether `addr` lies in it; never so for the other family.
    pub fn contains(self, addr: Addr) -> bool {
        self.v6 == addr.v6 && self.first <= addr.bits && addr.bits <= self.last()
    }

    /// Whether all of `other` lies in it.
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(Addr { v6: other.v6, bits: other.first })
    }

    /// Whether they have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The two addresses where what is inside and what is outside may differ: its first one, and the
    /// one after its last if the family has one.
    pub fn edges(self) -> impl Iterator<Item = u128> {
        let top = Net { v6: self.v6, first: 0, len: 0 }.last();
        [Some(self.first), (self.last() < top).then(|| self.last() + 1)].into_iter().flatten()
    }
}

impl fmt::Display for Net {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", Addr { v6: self.v6, bits: self.first }.ip(), self.len)
    }
}

/// The IANA special-purpose registries: not globally reachable, and the globally reachable entries
/// (for `2001::/23` also Teredo, a transition form) inside each.
const SPECIAL: [(&str, &[&str]); 23] = [
    ("0.0.0.0/8", &[]),
    ("10.0.0.0/8", &[]),
    ("100.64.0.0/10", &[]),
    ("127.0.0.0/8", &[]),
    ("169.254.0.0/16", &[]),
    ("172.16.0.0/12", &[]),
    ("192.0.0.0/24", &["192.0.0.9/32", "192.0.0.10/32"]),
    ("192.0.2.0/24", &[]),
    ("192.168.0.0/16", &[]),
    ("198.18.0.0/15", &[]),
    ("198.51.100.0/24", &[]),
    ("203.0.113.0/24", &[]),
    ("240.0.0.0/4", &[]),
    ("::/128", &[]),
    ("::1/128", &[]),
    ("64:ff9b:1::/48", &[]),
    ("100::/64", &[]),
    (
        "2001::/23",
        &[
            "2001::/32",
            "2001:1::1/128",
            "2001:1::2/128",
            "2001:1::3/128",
            "2001:3::/32",
            "2001:4:112::/48",
            "2001:20::/28",
            "2001:30::/28",
        ],
    ),
    ("2001:db8::/32", &[]),
    ("3fff::/20", &[]),
    ("5f00::/16", &[]),
    ("fc00::/7", &[]),
    ("fe80::/10", &[]),
];

/// [`SPECIAL`], parsed.
static BLOCKS: LazyLock<Vec<(Net, Vec<Net>)>> = LazyLock::new(|| {
    SPECIAL.iter().map(|(b, holes)| (Net::parse(b), holes.iter().map(|h| Net::parse(h)).collect())).collect()
});

/// Every special block with its holes.
pub fn specials() -> &'static [(Net, Vec<Net>)] {
    &BLOCKS
}

/// The special block that `addr` is in, and its holes; `None` for ordinary space, holes included.
pub fn special_of(addr: Addr) -> Option<&'static (Net, Vec<Net>)> {
    specials().iter().find(|(b, holes)| b.contains(addr) && !holes.iter().any(|h| h.contains(addr)))
}

/// How a client's address was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As itself.
    Native,
    /// IPv4-mapped.
    Mapped,
    /// NAT64, well-known prefix.
    Nat64,
    /// 6to4.
    SixToFour,
    /// Teredo.
    Teredo,
}

/// The blocks whose addresses stand for IPv4 clients.
pub const TRANSITION: [(&str, Form); 4] = [
    ("::ffff:0:0/96", Form::Mapped),
    ("64:ff9b::/96", Form::Nat64),
    ("2002::/16", Form::SixToFour),
    ("2001::/32", Form::Teredo),
];

/// [`TRANSITION`], parsed.
pub static TRANSITION_NETS: LazyLock<[(Net, Form); 4]> =
    LazyLock::new(|| TRANSITION.map(|(text, form)| (Net::parse(text), form)));

/// The address that decides, and how it was written.
pub fn decode(addr: Addr) -> (Addr, Form) {
    for (net, form) in *TRANSITION_NETS {
        if net.contains(addr) {
            let v4 = match form {
                Form::Mapped | Form::Nat64 | Form::Native => addr.bits as u32,
                Form::SixToFour => (addr.bits >> 80) as u32,
                Form::Teredo => !(addr.bits as u32),
            };
            return (Addr { v6: false, bits: u128::from(v4) }, form);
        }
    }
    (addr, Form::Native)
}

/// An address of `form` that stands for the IPv4 client `v4`, other bits zero.
pub fn encode(v4: u32, form: Form) -> Option<u128> {
    let (net, _) = TRANSITION_NETS.iter().find(|(_, f)| *f == form)?;
    Some(match form {
        Form::SixToFour => net.first | (u128::from(v4) << 80),
        Form::Teredo => net.first | u128::from(!v4),
        _ => net.first | u128::from(v4),
    })
}

/// A scope of `len` bits of the deciding address, in bits of the address as written.
pub fn as_written(len: u8, form: Form) -> u8 {
    match form {
        Form::Native => len,
        Form::Mapped | Form::Nat64 => 96 + len,
        Form::SixToFour => 16 + len,
        Form::Teredo => 128,
    }
}

#[test]
fn blocks_and_forms() {
    assert_eq!(Net::parse("20.1.0.0/16").last(), 0x1401_ffff);
    assert_eq!(Net::parse("::/0").last(), u128::MAX);
    assert_eq!(Net::parse("0.0.0.0/0").edges().collect::<Vec<_>>(), [0]);
    assert_eq!(Net::parse("10.0.0.0/8").edges().collect::<Vec<_>>(), [0x0a00_0000, 0x0b00_0000]);
    assert!(!Net::parse("::/0").contains(Addr { v6: false, bits: 5 }));
    for (written, decides) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("2002:c000:201::5", "192.0.2.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1"),
        ("2001:1::1", "2001:1::1"),
        ("::fffe:192.0.2.1", "::fffe:192.0.2.1"),
    ] {
        let ip: IpAddr = written.parse().expect("an address");
        assert_eq!(decode(ip.into()).0.ip(), decides.parse::<IpAddr>().expect("an address"), "{written}");
    }
    for (_, form) in TRANSITION {
        let bits = encode(0x0102_0304, form).expect("a transition form");
        assert_eq!(decode(Addr { v6: true, bits }), (Addr { v6: false, bits: 0x0102_0304 }, form));
    }
    assert_eq!(specials().iter().filter(|(b, _)| b.v6).count(), 10);
}
