//! Writing a reply into a buffer, within a limit.
//!
//! The OPT is settled first and its room kept, so that truncation can never lose it; then record
//! sets are written whole or not at all. Names are compressed against the question's name only
//! (RFC 1035 section 4.1.4), which is where the owners, the zone and mostly the name servers share
//! their labels. Layer 1.

use super::ecs::EcsReply;
use super::name::{labels, parent};
use super::query::{Echo, Query, Reject, Tsig};
use super::{CLASS_ANY, CLASS_IN, HEADER_LEN, OPT_LEN, Rcode, Rtype, UDP_SIZE, option};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Padded replies are a multiple of so many octets long (RFC 8467 section 4.1).
const PADDED_LEN: usize = 468;

/// What replies are padded with (RFC 7830 section 3).
const PADDING: [u8; PADDED_LEN] = [0; PADDED_LEN];

/// A section of records, in the order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer = 0,
    /// Whose word it is: SOA of a negative answer, NS of a referral.
    Authority = 1,
    /// Glue.
    Additional = 2,
}

/// An extended error (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ede<'a> {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT, UTF-8; may be empty, should stay below 64 octets.
    pub text: &'a str,
}

impl Ede<'_> {
    /// One without a text.
    pub const fn of(code: u16) -> Self {
        Self { code, text: "" }
    }

    /// Stale answer: made from data older than it should be.
    pub const STALE_ANSWER: u16 = 3;
    /// Not ready: the server has nothing to answer from yet.
    pub const NOT_READY: u16 = 14;
    /// Prohibited: not for this client.
    pub const PROHIBITED: u16 = 18;
    /// Not authoritative for the name.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// The type that was asked for exists in no answer (RFC 9824 section 9).
    pub const INVALID_QUERY_TYPE: u16 = 30;
    /// No reachable authority: of those who could serve, nobody is up.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
}

/// The OPT of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opt<'a> {
    /// The query's DO bit (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// The CO bit: NXDOMAIN is said in the response code (RFC 9824 section 5.1).
    pub compact_ok: bool,
    /// The client subnet with its scope.
    pub ecs: Option<EcsReply>,
    /// An extended error.
    pub ede: Option<Ede<'a>>,
    /// Cookie option data.
    pub cookie: Option<&'a [u8]>,
    /// NSID option data.
    pub nsid: Option<&'a [u8]>,
    /// Octets of padding, where there is to be a padding option; [`Reply::finish`] chooses them.
    pub padding: Option<u16>,
}

impl<'a> Opt<'a> {
    /// An OPT for `query` without options; `None` when the query has none.
    pub fn to(query: &Query<'_>) -> Option<Self> {
        query.edns().map(|edns| Self {
            dnssec_ok: edns.dnssec_ok,
            padding: edns.is_padded.then_some(0),
            ..Self::default()
        })
    }

    /// Octets of the options.
    #[inline]
    fn options_len(&self) -> usize {
        let ecs = self.ecs.map_or(0, |ecs| 4 + ecs.data_len());
        let ede = self.ede.map_or(0, |ede| 6 + ede.text.len());
        let raw = |data: Option<&[u8]>| data.map_or(0, |data| 4 + data.len());
        let padding = self.padding.map_or(0, |len| 4 + usize::from(len));
        ecs + ede + raw(self.cookie) + raw(self.nsid) + padding
    }

    /// Octets of the record.
    pub fn len(&self) -> usize {
        OPT_LEN + self.options_len()
    }

    /// Whether it has no options.
    pub fn is_empty(&self) -> bool {
        self.options_len() == 0
    }
}

/// Data of an SOA record; names canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soa<'a> {
    /// Primary name server.
    pub mname: &'a [u8],
    /// Mailbox of who is responsible.
    pub rname: &'a [u8],
    /// Serial, refresh, retry, expire (seconds) and negative TTL (seconds), as the record has them.
    pub numbers: [u32; 5],
}

/// Data of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rdata<'a> {
    /// A.
    A(Ipv4Addr),
    /// AAAA.
    Aaaa(Ipv6Addr),
    /// One canonical name: CNAME, NS, PTR. Compressed where it can be.
    Name(&'a [u8]),
    /// SOA.
    Soa(Soa<'a>),
    /// One text for TXT, cut into character-strings of at most 255 octets.
    Text(&'a [u8]),
    /// Anything, as its octets.
    Bytes(&'a [u8]),
}

impl Rdata<'_> {
    /// Data of an address record.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::A(address),
            IpAddr::V6(address) => Self::Aaaa(address),
        }
    }
}

/// Whose records they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The question's name, in the question's case (RFC 4343).
    Qname,
    /// A canonical name.
    Name(&'a [u8]),
}

/// A buffer that fills up; every write says whether it fitted.
struct Writer<'b> {
    out: &'b mut [u8],
    /// Octets written.
    len: usize,
    /// Octets that may be written.
    limit: usize,
}

impl Writer<'_> {
    /// Appends `octets` whole; `None` when they do not fit.
    #[inline]
    fn put(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.len.checked_add(octets.len()).filter(|end| *end <= self.limit)?;
        self.out.get_mut(self.len..end)?.copy_from_slice(octets);
        self.len = end;
        Some(())
    }

    /// Appends a number, big-endian.
    fn put_u16(&mut self, number: u16) -> Option<()> {
        self.put(&number.to_be_bytes())
    }

    /// Appends a number, big-endian.
    fn put_u32(&mut self, number: u32) -> Option<()> {
        self.put(&number.to_be_bytes())
    }

    /// Overwrites two octets already written at `at`.
    fn patch_u16(&mut self, at: usize, number: u16) {
        if let Some(place) = self.out.get_mut(at..at + 2) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }

    /// Appends one option.
    fn put_option(&mut self, code: u16, data: &[u8]) -> Option<()> {
        self.put_u16(code)?;
        self.put_u16(u16::try_from(data.len()).ok()?)?;
        self.put(data)
    }

    /// Appends a whole OPT for response code `rcode`.
    #[inline]
    fn put_opt(&mut self, opt: &Opt<'_>, rcode: Rcode) -> Option<()> {
        let extended = (rcode.code() >> 4) as u8;
        let [t0, t1] = Rtype::OPT.0.to_be_bytes();
        let [s0, s1] = UDP_SIZE.to_be_bytes();
        let [l0, l1] = u16::try_from(opt.options_len()).ok()?.to_be_bytes();
        let flags = u8::from(opt.dnssec_ok) << 7 | u8::from(opt.compact_ok) << 6;
        self.put(&[0, t0, t1, s0, s1, extended, 0, flags, 0, l0, l1])?;
        if let Some(ecs) = opt.ecs {
            let [c0, c1] = option::ECS.to_be_bytes();
            let [l0, l1] = (ecs.data_len() as u16).to_be_bytes();
            let [f0, f1, source_len, scope_len] = ecs.head();
            self.put(&[c0, c1, l0, l1, f0, f1, source_len, scope_len])?;
            self.put(ecs.octets().get(..ecs.data_len() - EcsReply::HEAD_LEN)?)?;
        }
        if let Some(ede) = opt.ede {
            self.put_u16(option::EDE)?;
            self.put_u16(u16::try_from(ede.text.len() + 2).ok()?)?;
            self.put_u16(ede.code)?;
            self.put(ede.text.as_bytes())?;
        }
        opt.cookie.map_or(Some(()), |data| self.put_option(option::COOKIE, data))?;
        opt.nsid.map_or(Some(()), |data| self.put_option(option::NSID, data))?;
        let padding = opt.padding.map(|len| PADDING.get(..usize::from(len)));
        padding.map_or(Some(()), |octets| self.put_option(option::PADDING, octets?))
    }
}

/// Flag bits of a reply (RFC 1035 section 4.1.1). AD and CD stay clear: an authoritative reply
/// says nothing of validation (RFC 4035 section 3.1.6).
fn flags(echo: &Echo<'_>, rcode: Rcode, authoritative: bool, truncated: bool) -> u16 {
    0x8000
        | u16::from(echo.opcode & 0x0f) << 11
        | u16::from(authoritative) << 10
        | u16::from(truncated) << 9
        | u16::from(echo.recursion_desired) << 8
        | (rcode.code() & 0x0f)
}

/// How far a reply was, to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    len: usize,
    counts: [u16; 3],
    section: Section,
}

/// A reply being written. Finished by [`Reply::finish`]; until then the buffer is no message.
pub struct Reply<'b, 'q> {
    writer: Writer<'b>,
    echo: Echo<'q>,
    /// The question's name, canonical.
    qname: &'q [u8],
    opt: Option<Opt<'q>>,
    /// ANCOUNT, NSCOUNT, ARCOUNT without the OPT.
    counts: [u16; 3],
    /// The section written last.
    section: Section,
    /// Class of the records.
    class: u16,
    truncated: bool,
}

impl<'b, 'q> Reply<'b, 'q> {
    /// Begins the reply to `query`: header, question, and room for `opt`.
    ///
    /// At most `limit` octets of `out` are used. `None` when header, question and OPT alone do not
    /// fit; 512 octets always suffice for options below 200 octets.
    pub fn start(out: &'b mut [u8], limit: usize, query: &Query<'q>, opt: Option<Opt<'q>>) -> Option<Self> {
        let limit = limit.min(out.len()).min(usize::from(u16::MAX));
        let limit = limit.checked_sub(opt.map_or(0, |opt| opt.len()))?;
        let mut writer = Writer { out, len: 0, limit };
        let [i0, i1] = query.id().to_be_bytes();
        writer.put(&[i0, i1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        writer.put(query.question())?;
        Some(Self {
            writer,
            echo: *query.echo(),
            qname: query.qname(),
            opt,
            counts: [0; 3],
            section: Section::Answer,
            class: CLASS_IN,
            truncated: false,
        })
    }

    /// Makes the records that follow of another class than IN.
    pub fn set_class(&mut self, class: u16) {
        self.class = class;
    }

    /// Writes one record set whole, and says whether it fitted.
    ///
    /// One that does not fit leaves no trace but the TC bit, and nothing is written after it
    /// (RFC 2181 section 9). Sections must come in order. `ttl_s` is in seconds.
    pub fn rrset<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl_s: u32,
        rdatas: impl IntoIterator<Item = Rdata<'r>>,
    ) -> bool {
        let fits = self.rrset_if_room(section, owner, rtype, ttl_s, rdatas);
        self.truncated |= !fits;
        fits
    }

    /// As [`Reply::rrset`], for records that the client can do without: TC stays as it is.
    pub fn rrset_if_room<'r>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: Rtype,
        ttl_s: u32,
        rdatas: impl IntoIterator<Item = Rdata<'r>>,
    ) -> bool {
        debug_assert!(section >= self.section, "sections are written in order");
        if self.truncated {
            return false;
        }
        self.section = section;
        let start = self.writer.len;
        let mut count = 0u16;
        for rdata in rdatas {
            if self.record(owner, rtype, ttl_s, &rdata).is_none() {
                self.writer.len = start;
                return false;
            }
            count = count.saturating_add(1);
        }
        if let Some(total) = self.counts.get_mut(section as usize) {
            *total = total.saturating_add(count);
        }
        true
    }

    /// Appends one record.
    #[inline]
    fn record(&mut self, owner: Owner<'_>, rtype: Rtype, ttl_s: u32, rdata: &Rdata<'_>) -> Option<()> {
        if let Owner::Name(name) = owner {
            self.name(name)?;
        }
        let known_len = match rdata {
            Rdata::A(_) => 4,
            Rdata::Aaaa(_) => 16,
            // Written when it is known.
            _ => 0,
        };
        let [t0, t1] = rtype.0.to_be_bytes();
        let [c0, c1] = self.class.to_be_bytes();
        let [x0, x1, x2, x3] = ttl_s.to_be_bytes();
        let pointer_and_head = [0xc0, HEADER_LEN as u8, t0, t1, c0, c1, x0, x1, x2, x3, 0, known_len];
        match owner {
            Owner::Qname => self.writer.put(&pointer_and_head)?,
            Owner::Name(_) => self.writer.put(pointer_and_head.get(2..)?)?,
        }
        let len_at = self.writer.len - 2;
        match *rdata {
            Rdata::A(addr) => return self.writer.put(&addr.octets()),
            Rdata::Aaaa(addr) => return self.writer.put(&addr.octets()),
            Rdata::Name(name) => self.name(name)?,
            Rdata::Bytes(octets) => self.writer.put(octets)?,
            Rdata::Text(text) => self.text(text)?,
            Rdata::Soa(soa) => {
                self.name(soa.mname)?;
                self.name(soa.rname)?;
                soa.numbers.into_iter().try_for_each(|number| self.writer.put_u32(number))?;
            }
        }
        let len = u16::try_from(self.writer.len - len_at - 2).ok()?;
        self.writer.patch_u16(len_at, len);
        Some(())
    }

    /// Appends character-strings (RFC 1035 section 3.3); an empty text is one empty string.
    fn text(&mut self, text: &[u8]) -> Option<()> {
        if text.is_empty() {
            return self.writer.put(&[0]);
        }
        for piece in text.chunks(255) {
            self.writer.put(&[piece.len() as u8])?;
            self.writer.put(piece)?;
        }
        Some(())
    }

    /// Appends a canonical name, its longest ending that the question's name has as a pointer.
    fn name(&mut self, name: &[u8]) -> Option<()> {
        let mut rest = name;
        for label in labels(name) {
            if let Some(offset) = self.offset_in_question(rest) {
                return self.writer.put_u16(0xc000 | offset);
            }
            self.writer.put(&[label.len() as u8])?;
            self.writer.put(label)?;
            rest = parent(rest)?;
        }
        self.writer.put(&[0])
    }

    /// Offset in the message of `suffix`, a name below the root, inside the question's name.
    fn offset_in_question(&self, suffix: &[u8]) -> Option<u16> {
        let at = self.qname.len().checked_sub(suffix.len())?;
        if self.qname.get(at..)? != suffix {
            return None;
        }
        // The same octets could begin inside a label; only a label boundary counts.
        let mut rest = self.qname;
        while rest.len() > suffix.len() {
            rest = parent(rest)?;
        }
        (rest.len() == suffix.len()).then_some((HEADER_LEN + at) as u16)
    }

    /// Where it is now.
    pub fn mark(&self) -> Mark {
        Mark { len: self.writer.len, counts: self.counts, section: self.section }
    }

    /// Takes back everything that was written since `mark`.
    pub fn go_back(&mut self, mark: Mark) {
        (self.writer.len, self.counts, self.section) = (mark.len, mark.counts, mark.section);
    }

    /// Octets that can still be written.
    pub fn room(&self) -> usize {
        if self.truncated { 0 } else { self.writer.limit.saturating_sub(self.writer.len) }
    }

    /// Sets TC: nothing is written after it.
    pub fn truncate(&mut self) {
        self.truncated = true;
    }

    /// Takes all records back, and TC.
    pub fn withdraw(&mut self) {
        // The canonical name is as long as the one that was sent; type and class follow it.
        self.writer.len = HEADER_LEN + self.qname.len() + 4;
        (self.counts, self.section, self.truncated) = ([0; 3], Section::Answer, false);
    }

    /// Whether a record set did not fit.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Writes the OPT, the counts and the flags; returns the octets of the message.
    pub fn finish(mut self, rcode: Rcode, authoritative: bool) -> usize {
        let [answers, authorities, mut additional] = self.counts;
        if let Some(mut opt) = self.opt {
            self.writer.limit += opt.len();
            if opt.padding.is_some() {
                let len = self.writer.len + opt.len();
                let padded = len.next_multiple_of(PADDED_LEN).min(self.writer.limit).max(len);
                opt.padding = Some((padded - len) as u16);
            }
            let written = self.writer.put_opt(&opt, rcode);
            debug_assert!(written.is_some(), "the room of the OPT was kept");
            additional = additional.saturating_add(u16::from(written.is_some()));
        }
        let [f0, f1] = flags(&self.echo, rcode, authoritative, self.truncated).to_be_bytes();
        let ([a0, a1], [n0, n1]) = (answers.to_be_bytes(), authorities.to_be_bytes());
        let [r0, r1] = additional.to_be_bytes();
        if let Some([_, _, rest @ ..]) = self.writer.out.first_chunk_mut::<HEADER_LEN>() {
            *rest = [f0, f1, 0, 1, a0, a1, n0, n1, r0, r1];
        }
        self.writer.len
    }
}

/// Writes the reply to a packet that was rejected; `None` when it gets none (or `out` is smaller
/// than the packet and an OPT). It has no records but the OPT and a refused TSIG, so it is at most
/// 11 octets longer than the packet.
pub fn compose_reject(reject: &Reject<'_>, out: &mut [u8]) -> Option<usize> {
    let (echo, rcode, tsig) = match reject {
        Reject::Drop(_) => return None,
        Reject::FormErr(echo) => (echo, Rcode::FormErr, None),
        Reject::NotImp(echo) => (echo, Rcode::NotImp, None),
        Reject::BadVers(echo) => (echo, Rcode::BadVers, None),
        Reject::NotAuth(echo, tsig) => (echo, Rcode::NotAuth, Some(tsig)),
        Reject::CookieOnly(echo, _) => (echo, Rcode::FormErr, None),
    };
    let limit = out.len();
    let mut writer = Writer { out, len: 0, limit };
    let additional = u8::from(echo.opt.is_some()) + u8::from(tsig.is_some());
    writer.put_u16(echo.id)?;
    writer.put_u16(flags(echo, rcode, false, false))?;
    writer.put(&[0, u8::from(echo.question.is_some()), 0, 0, 0, 0, 0, additional])?;
    writer.put(echo.question.unwrap_or_default())?;
    if let Some(dnssec_ok) = echo.opt {
        writer.put_opt(&Opt { dnssec_ok, ..Opt::default() }, rcode)?;
    }
    if let Some(tsig) = tsig {
        put_refused_tsig(&mut writer, tsig)?;
    }
    Some(writer.len)
}

/// Writes the reply to a message that asked for nothing but a cookie; `cookie` is its option's data.
/// `None` when `out` is too small.
pub fn compose_cookie(echo: &Echo<'_>, cookie: &[u8], out: &mut [u8]) -> Option<usize> {
    let limit = out.len();
    let mut writer = Writer { out, len: 0, limit };
    writer.put_u16(echo.id)?;
    writer.put_u16(flags(echo, Rcode::NoError, false, false))?;
    writer.put(&[0, 0, 0, 0, 0, 0, 0, 1])?;
    let dnssec_ok = echo.opt.unwrap_or_default();
    writer.put_opt(&Opt { dnssec_ok, cookie: Some(cookie), ..Opt::default() }, Rcode::NoError)?;
    Some(writer.len)
}

/// Appends an unsigned TSIG with the error BADKEY (RFC 8945 section 5.3.2).
fn put_refused_tsig(writer: &mut Writer<'_>, tsig: &Tsig<'_>) -> Option<()> {
    /// TSIG error BADKEY.
    const BADKEY: u16 = 17;
    writer.put(tsig.key)?;
    writer.put_u16(Rtype::TSIG.0)?;
    writer.put_u16(CLASS_ANY)?;
    writer.put_u32(0)?;
    writer.put_u16(u16::try_from(tsig.head.len() + 8).ok()?)?;
    writer.put(tsig.head)?;
    writer.put_u16(0)?;
    writer.put_u16(tsig.original_id)?;
    writer.put_u16(BADKEY)?;
    writer.put_u16(0)
}
