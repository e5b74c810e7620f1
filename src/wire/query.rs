//! What a query says, or what to do with a packet that is none.
//!
//! [`Query::parse`] accepts exactly: a header of a request with opcode QUERY, one question, no
//! answer or authority records, at most one OPT and one TSIG as additional records, and nothing
//! after them. All else becomes a [`Reject`], which carries just what its reply may repeat, so that
//! an error reply is never larger than the packet and an OPT. Layer 1.

use super::ecs::EcsRequest;
use super::name::{NameBuf, wire_len};
use super::{CLASS_ANY, HEADER_LEN, Rtype, UDP_SIZE_PLAIN, option};

/// Why a packet gets no reply at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Fewer octets than a header has.
    Short,
    /// A reply (QR is set): answering it could start a loop between servers.
    Reply,
}

/// What a reply repeats of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// ID.
    pub id: u16,
    /// OPCODE, 4 bits.
    pub opcode: u8,
    /// Recursion desired, of a query.
    pub recursion_desired: bool,
    /// The question as sent, when there is one and it was read intact.
    pub question: Option<&'a [u8]>,
    /// The DO bit of the OPT, when there is one and it was understood.
    pub opt: Option<bool>,
}

/// A packet that is no query to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject<'a> {
    /// Send nothing.
    Drop(DropReason),
    /// Reply FORMERR.
    FormErr(Echo<'a>),
    /// Reply NOTIMP: an opcode other than QUERY. Nothing after the header was read.
    NotImp(Echo<'a>),
    /// Reply BADVERS: EDNS of a version above 0 (RFC 6891 section 6.1.3).
    BadVers(Echo<'a>),
    /// Reply NOTAUTH with the TSIG error BADKEY, unsigned: no key is known here
    /// (RFC 8945 sections 5.2.1 and 5.3.2).
    NotAuth(Echo<'a>, Tsig<'a>),
    /// No question, only a cookie, whose option data this is: reply with the server's (RFC 7873
    /// section 5.4).
    CookieOnly(Echo<'a>, &'a [u8]),
}

/// A query's transaction signature, as far as its refusal repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsig<'a> {
    /// Key name as sent, uncompressed wire form.
    pub key: &'a [u8],
    /// Algorithm name, time signed and fudge: the octets before MAC Size.
    pub head: &'a [u8],
    /// Original ID.
    pub original_id: u16,
}

/// A query's OPT, read and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'a> {
    /// The client's UDP payload size, octets, as written.
    pub udp_size: u16,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The CO bit: compact denial may say NXDOMAIN (RFC 9824 section 5.1).
    pub compact_ok: bool,
    /// The client subnet.
    pub ecs: Option<EcsRequest>,
    /// Data of the first cookie option, unchecked.
    pub cookie: Option<&'a [u8]>,
    /// Data of the first NSID option, unchecked.
    pub nsid: Option<&'a [u8]>,
    /// Whether it has a padding option (RFC 7830): the reply may be padded, where nobody can read it.
    pub is_padded: bool,
}

/// One query, checked. The canonical name lies in the [`NameBuf`] given to [`Query::parse`].
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// What a reply repeats.
    echo: Echo<'a>,
    /// QNAME, QTYPE and QCLASS as sent.
    question: &'a [u8],
    /// The canonical QNAME.
    qname: &'a NameBuf,
    /// QTYPE.
    qtype: Rtype,
    /// QCLASS.
    qclass: u16,
    /// Checking disabled.
    checking_disabled: bool,
    /// The OPT.
    edns: Option<Edns<'a>>,
}

/// A shrinking view of a packet; every read is checked.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next `count` octets.
    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next two octets, big-endian.
    #[inline]
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next `N` octets.
    #[inline]
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next name, which must not be compressed.
    #[inline]
    fn name(&mut self) -> Option<&'a [u8]> {
        self.take(wire_len(self.rest)?)
    }
}

/// A header's fields.
struct Header {
    id: u16,
    flags: u16,
    /// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT.
    counts: [u16; 4],
}

impl Header {
    /// QR.
    const REPLY: u16 = 0x8000;
    /// RD.
    const RECURSION_DESIRED: u16 = 0x0100;
    /// CD.
    const CHECKING_DISABLED: u16 = 0x0010;

    /// The first twelve octets.
    #[inline]
    fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [i0, i1, f0, f1, q0, q1, a0, a1, n0, n1, r0, r1] = cursor.array::<HEADER_LEN>()?;
        let number = |high, low| u16::from_be_bytes([high, low]);
        let counts = [number(q0, q1), number(a0, a1), number(n0, n1), number(r0, r1)];
        Some(Self { id: number(i0, i1), flags: number(f0, f1), counts })
    }

    /// OPCODE.
    fn opcode(&self) -> u8 {
        (self.flags >> 11) as u8 & 0x0f
    }
}

/// The OPT record before its options are looked at.
struct OptRecord<'a> {
    udp_size: u16,
    version: u8,
    dnssec_ok: bool,
    compact_ok: bool,
    options: &'a [u8],
}

/// The additional section of a query.
#[derive(Default)]
struct Additional<'a> {
    opt: Option<OptRecord<'a>>,
    tsig: Option<Tsig<'a>>,
}

impl<'a> Additional<'a> {
    /// Reads `count` records. `None`: one is cut, of another type, an OPT twice or not at the root
    /// (RFC 6891 section 6.1.1), or a TSIG that is not the last (RFC 8945 section 5.1).
    #[inline]
    fn read(cursor: &mut Cursor<'a>, count: u16) -> Option<Self> {
        let mut found = Self::default();
        for _ in 0..count {
            if found.tsig.is_some() {
                return None;
            }
            // The usual owner is the root, of one octet.
            let owner = if cursor.rest.first() == Some(&0) { cursor.take(1)? } else { cursor.name()? };
            let [t0, t1, c0, c1, x0, x1, x2, x3, l0, l1] = cursor.array()?;
            let (rtype, class) = (Rtype(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1]));
            let ttl = u32::from_be_bytes([x0, x1, x2, x3]);
            let rdata = cursor.take(usize::from(u16::from_be_bytes([l0, l1])))?;
            if rtype == Rtype::OPT && owner == [0] && found.opt.is_none() {
                found.opt = Some(OptRecord {
                    udp_size: class,
                    version: (ttl >> 16) as u8,
                    dnssec_ok: ttl & 0x8000 != 0,
                    compact_ok: ttl & 0x4000 != 0,
                    options: rdata,
                });
            } else if rtype == Rtype::TSIG && class == CLASS_ANY && ttl == 0 {
                found.tsig = Some(Tsig::read(owner, rdata)?);
            } else {
                return None;
            }
        }
        Some(found)
    }
}

impl<'a> Tsig<'a> {
    /// Octets of time signed and fudge.
    const TIMES_LEN: usize = 8;

    /// Reads TSIG rdata (RFC 8945 section 4.2) without judging the signature.
    fn read(key: &'a [u8], rdata: &'a [u8]) -> Option<Self> {
        let algorithm_len = wire_len(rdata)?;
        let mut cursor = Cursor { rest: rdata };
        let head = cursor.take(algorithm_len + Self::TIMES_LEN)?;
        let mac_len = usize::from(cursor.u16()?);
        cursor.take(mac_len)?;
        let (original_id, _error) = (cursor.u16()?, cursor.u16()?);
        let other_len = usize::from(cursor.u16()?);
        cursor.take(other_len)?;
        cursor.rest.is_empty().then_some(Self { key, head, original_id })
    }
}

/// What is wrong with an OPT's options.
enum OptionFault {
    /// An option runs past the record: the OPT is not understood.
    List,
    /// A client subnet is malformed or comes twice: the OPT as such is understood.
    Ecs,
}

impl<'a> Edns<'a> {
    /// Reads the options of a version 0 OPT. Options not known here are ignored.
    #[inline]
    fn read(opt: &OptRecord<'a>) -> Result<Self, OptionFault> {
        let mut edns = Self {
            udp_size: opt.udp_size,
            dnssec_ok: opt.dnssec_ok,
            compact_ok: opt.compact_ok,
            ecs: None,
            cookie: None,
            nsid: None,
            is_padded: false,
        };
        let mut ecs_fault = false;
        let mut cursor = Cursor { rest: opt.options };
        while !cursor.rest.is_empty() {
            let (code, data) = Self::read_option(&mut cursor).ok_or(OptionFault::List)?;
            match code {
                option::ECS => match EcsRequest::parse(data) {
                    Ok(ecs) if edns.ecs.is_none() => edns.ecs = Some(ecs),
                    _ => ecs_fault = true,
                },
                option::COOKIE => edns.cookie = edns.cookie.or(Some(data)),
                option::NSID => edns.nsid = edns.nsid.or(Some(data)),
                option::PADDING => edns.is_padded = true,
                _ => {}
            }
        }
        if ecs_fault { Err(OptionFault::Ecs) } else { Ok(edns) }
    }

    /// Reads the OPT of a message that is nothing else; gives the DO bit and the cookie.
    fn read_alone(cursor: &mut Cursor<'a>) -> Option<(bool, &'a [u8])> {
        let opt = Additional::read(cursor, 1)?.opt.filter(|opt| opt.version == 0)?;
        let edns = Self::read(&opt).ok().filter(|_| cursor.rest.is_empty())?;
        Some((edns.dnssec_ok, edns.cookie?))
    }

    /// The next option's code and data.
    #[inline]
    fn read_option(cursor: &mut Cursor<'a>) -> Option<(u16, &'a [u8])> {
        let [c0, c1, l0, l1] = cursor.array()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        Some((u16::from_be_bytes([c0, c1]), cursor.take(len)?))
    }
}

impl<'a> Query<'a> {
    /// Reads one message. `qname` is overwritten with the canonical name.
    ///
    /// # Errors
    /// What to do instead of answering; see [`Reject`]. A malformed packet is FORMERR, never
    /// repaired; the order is header, opcode, QDCOUNT (RFC 9619), question, other counts,
    /// additional records, trailing octets, TSIG, EDNS version, options. Without a question only a cookie may
    /// be asked for.
    pub fn parse(packet: &'a [u8], qname: &'a mut NameBuf) -> Result<Self, Reject<'a>> {
        let mut cursor = Cursor { rest: packet };
        let header = Header::read(&mut cursor).ok_or(Reject::Drop(DropReason::Short))?;
        if header.flags & Header::REPLY != 0 {
            return Err(Reject::Drop(DropReason::Reply));
        }
        let mut echo = Echo {
            id: header.id,
            opcode: header.opcode(),
            // Under another opcode the bit may mean anything (RFC 8906 section 3.1.4).
            recursion_desired: header.opcode() == 0 && header.flags & Header::RECURSION_DESIRED != 0,
            question: None,
            opt: None,
        };
        if echo.opcode != 0 {
            return Err(Reject::NotImp(echo));
        }
        let [questions, answers, authorities, additional] = header.counts;
        if questions != 1 {
            let is_bare = header.counts == [0, 0, 0, 1];
            let cookie = is_bare.then(|| Edns::read_alone(&mut cursor)).flatten();
            return Err(match cookie {
                Some((dnssec_ok, cookie)) => {
                    Reject::CookieOnly(Echo { opt: Some(dnssec_ok), ..echo }, cookie)
                }
                None => Reject::FormErr(echo),
            });
        }
        let question = Self::read_question(&mut cursor, qname).ok_or(Reject::FormErr(echo))?;
        let (question, qtype, qclass) = question;
        echo.question = Some(question);
        if answers != 0 || authorities != 0 {
            return Err(Reject::FormErr(echo));
        }
        let extra = Additional::read(&mut cursor, additional).ok_or(Reject::FormErr(echo))?;
        echo.opt = extra.opt.as_ref().map(|opt| opt.dnssec_ok);
        if !cursor.rest.is_empty() {
            return Err(Reject::FormErr(echo));
        }
        if let Some(tsig) = extra.tsig {
            return Err(Reject::NotAuth(echo, tsig));
        }
        let edns = match &extra.opt {
            None => None,
            Some(opt) if opt.version != 0 => return Err(Reject::BadVers(echo)),
            Some(opt) => Some(Edns::read(opt).map_err(|fault| {
                if matches!(fault, OptionFault::List) {
                    echo.opt = None;
                }
                Reject::FormErr(echo)
            })?),
        };
        let checking_disabled = header.flags & Header::CHECKING_DISABLED != 0;
        Ok(Self { echo, question, qname, qtype, qclass, checking_disabled, edns })
    }

    /// Takes the question; lowers its name into `qname`. Returns its octets, type and class.
    #[inline]
    fn read_question(cursor: &mut Cursor<'a>, qname: &mut NameBuf) -> Option<(&'a [u8], Rtype, u16)> {
        let question = cursor.take(wire_len(cursor.rest)? + 4)?;
        let (name, &[t0, t1, c0, c1]) = question.split_last_chunk()?;
        qname.set(name);
        Some((question, Rtype(u16::from_be_bytes([t0, t1])), u16::from_be_bytes([c0, c1])))
    }

    /// What a reply repeats.
    pub fn echo(&self) -> &Echo<'a> {
        &self.echo
    }

    /// ID.
    pub fn id(&self) -> u16 {
        self.echo.id
    }

    /// The question as sent: QNAME in its original case, QTYPE, QCLASS.
    pub fn question(&self) -> &'a [u8] {
        self.question
    }

    /// The canonical QNAME, root label included.
    pub fn qname(&self) -> &'a [u8] {
        self.qname.as_wire()
    }

    /// QTYPE.
    pub fn qtype(&self) -> Rtype {
        self.qtype
    }

    /// QCLASS.
    pub fn qclass(&self) -> u16 {
        self.qclass
    }

    /// CD.
    pub fn checking_disabled(&self) -> bool {
        self.checking_disabled
    }

    /// Forgets a wish for padding: a reply that anybody can read has none (RFC 7830 section 6).
    pub fn forget_padding(&mut self) {
        if let Some(edns) = &mut self.edns {
            edns.is_padded = false;
        }
    }

    /// The OPT, if one came.
    pub fn edns(&self) -> Option<&Edns<'a>> {
        self.edns.as_ref()
    }

    /// The client subnet, if one came.
    pub fn ecs(&self) -> Option<&EcsRequest> {
        self.edns.as_ref()?.ecs.as_ref()
    }

    /// The largest reply over UDP, octets: what the client takes, at least 512, at most `cap`
    /// (itself at least 512); 512 when no OPT came (RFC 6891 section 6.2.5).
    pub fn udp_limit(&self, cap: u16) -> usize {
        let cap = cap.max(UDP_SIZE_PLAIN);
        let asked = self.edns.as_ref().map_or(UDP_SIZE_PLAIN, |edns| edns.udp_size);
        usize::from(asked.clamp(UDP_SIZE_PLAIN, cap))
    }
}
