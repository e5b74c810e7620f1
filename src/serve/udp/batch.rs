//! Datagrams received and sent by the batch: all of steerd's socket system calls that need `unsafe`.
//!
//! A [`Batch`] owns one allocation, the arena, with everything the kernel writes to and reads from:
//! query and reply buffers, peer addresses, control messages and the headers that point at them. It is
//! made once a worker and used again for every batch; headers are written anew only for slots that
//! the last batch used. Answers nothing and counts nothing.
//!
//! ```text
//! slot i   0..received     header → peer address, query buffer, control (where it was sent to)
//! entry k  0..queued       header → peer address of its slot, reply buffer of its slot, control
//! ```
//! Invariant: every pointer inside the arena points into the arena, which never moves and is only
//! ever reached through [`Batch::arena`], never through a reference to the whole.
//! Layer 8. Tests: below, and round trips in the parent module.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::slice;

/// Datagrams in a batch, at most.
pub const BATCH: usize = 64;

/// Octets of a query or a reply, at most: the largest `[dns] edns_udp_max`, and an odd number of
/// cache lines so that equal offsets of neighbouring buffers do not compete for one cache set.
pub const DATAGRAM_LEN: usize = 65 * 64;

/// Octets of control messages for one datagram: one of packet information, of either family.
const CONTROL_LEN: usize = 64;

/// Control messages, aligned as their headers have to be.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// Everything that system calls are given pointers to.
#[repr(C)]
struct Arena {
    queries: [[u8; DATAGRAM_LEN]; BATCH],
    replies: [[u8; DATAGRAM_LEN]; BATCH],
    peers: [libc::sockaddr_storage; BATCH],
    asked: [Control; BATCH],
    sources: [Control; BATCH],
    query_vectors: [libc::iovec; BATCH],
    reply_vectors: [libc::iovec; BATCH],
    received: [libc::mmsghdr; BATCH],
    queued: [libc::mmsghdr; BATCH],
}

/// Ports that no query comes from: 0, and those of services that answer anything (echo, daytime,
/// quote of the day, chargen, time), between which and us a reply would begin a loop.
const LOOPING_PORTS: [u16; 6] = [0, 7, 13, 17, 19, 37];

/// Why a received datagram cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswerable {
    /// It is longer than [`DATAGRAM_LEN`].
    Oversized,
    /// It comes from no address, from port 0, or from a port where something answers whatever comes:
    /// nobody waits for a reply there.
    NoPeer,
    /// The kernel did not say which address it was sent to.
    NoDestination,
}

/// How long to wait for the first datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until the socket's receive timeout.
    Timeout,
    /// Not at all.
    No,
}

/// What became of queued replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: usize,
    /// Refused by it, one at a time.
    pub failed: usize,
}

/// The local address that a datagram was sent to, as the kernel tells it.
#[derive(Clone, Copy)]
enum Destination {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// A batch of datagrams. Made and used on one thread.
pub struct Batch {
    arena: NonNull<Arena>,
    /// Whether the socket hears on all addresses, so that each reply has to name its source.
    is_wildcard: bool,
    /// Slots filled by the last receive.
    received: usize,
    /// Slots taken by [`Batch::next`].
    taken: usize,
    /// Replies to be sent.
    queued: usize,
}

impl Batch {
    /// An empty batch; `is_wildcard` for sockets bound to `0.0.0.0` or `::`, which
    /// [`tell_destination`] has been called for.
    pub fn new(is_wildcard: bool) -> Self {
        let layout = Layout::new::<Arena>();
        // SAFETY: `Arena` has a size above 0.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(arena) = NonNull::new(pointer.cast::<Arena>()) else { handle_alloc_error(layout) };
        // All zeroes is an `Arena`: it is made of integers, arrays of them, and raw pointers.
        let mut batch = Self { arena, is_wildcard, received: BATCH, taken: 0, queued: 0 };
        batch.reset();
        batch
    }

    /// Receives up to [`BATCH`] datagrams into the slots, after forgetting those of the last batch,
    /// and says how many.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when there was none in time.
    pub fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        self.reset();
        let flags = match wait {
            Wait::Timeout => libc::MSG_WAITFORONE,
            Wait::No => libc::MSG_DONTWAIT,
        };
        // SAFETY: `received` holds `BATCH` headers, whose pointers and lengths `reset` set to buffers
        // of the arena, which outlives the call; nothing else refers to them meanwhile.
        let count = unsafe {
            let headers = (&raw mut (*self.arena.as_ptr()).received).cast::<libc::mmsghdr>();
            libc::recvmmsg(socket.as_raw_fd(), headers, BATCH as _, flags as _, ptr::null_mut())
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// Whether every received datagram was taken.
    pub fn is_done(&self) -> bool {
        self.taken == self.received
    }

    /// Replies that wait for [`Batch::send`].
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Takes the next slot, once.
    pub fn next(&mut self) -> Option<usize> {
        let slot = self.taken;
        (slot < self.received).then(|| {
            self.taken += 1;
            slot
        })
    }

    /// Who sent the datagram in `slot`, and how many octets.
    ///
    /// # Errors
    /// Why it cannot be answered.
    pub fn peer(&self, slot: usize) -> Result<SocketAddr, Unanswerable> {
        let flags = self.header(slot).msg_hdr.msg_flags;
        if flags & libc::MSG_TRUNC != 0 {
            return Err(Unanswerable::Oversized);
        }
        if self.is_wildcard && (flags & libc::MSG_CTRUNC != 0 || self.destination(slot).is_none()) {
            return Err(Unanswerable::NoDestination);
        }
        self.peer_address(slot)
            .filter(|peer| !LOOPING_PORTS.contains(&peer.port()))
            .ok_or(Unanswerable::NoPeer)
    }

    /// How many datagrams the last receive brought.
    pub fn received(&self) -> usize {
        self.received
    }

    /// All queries received, in order.
    pub fn queries(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.received).map(|slot| {
            let len = (self.header(slot).msg_len as usize).min(DATAGRAM_LEN);
            // SAFETY: `slot` < `BATCH` (checked by `header`), so the pointer is to the start of a buffer
            // of `DATAGRAM_LEN` initialised octets; what writes to it needs `&mut self`.
            unsafe {
                let query = (&raw const (*self.arena.as_ptr()).queries[slot]).cast::<u8>();
                slice::from_raw_parts(query, len)
            }
        })
    }

    /// The query in `slot`, and where to write the reply to it.
    pub fn exchange(&mut self, slot: usize) -> (&[u8], &mut [u8]) {
        let len = (self.header(slot).msg_len as usize).min(DATAGRAM_LEN);
        // SAFETY: `slot` < `BATCH` (checked by `header`), so both pointers are to the start of a
        // buffer of `DATAGRAM_LEN` initialised octets (zeroed at first). The slices are of different
        // arrays, and `&mut self` keeps all others away while they live.
        unsafe {
            let query = (&raw const (*self.arena.as_ptr()).queries[slot]).cast::<u8>();
            let reply = (&raw mut (*self.arena.as_ptr()).replies[slot]).cast::<u8>();
            (slice::from_raw_parts(query, len), slice::from_raw_parts_mut(reply, DATAGRAM_LEN))
        }
    }

    /// Queues the first `len` octets of the reply in `slot` for its peer, from the address it was
    /// asked on. A slot is queued at most once, and only when [`Batch::peer`] knew its peer.
    ///
    /// # Panics
    /// When `len` is above [`DATAGRAM_LEN`], or more is queued than was received.
    pub fn queue(&mut self, slot: usize, len: usize) {
        let entry = self.queued;
        assert!(len <= DATAGRAM_LEN && entry < self.received, "a reply of a received slot");
        let name_len = self.header(slot).msg_hdr.msg_namelen;
        let destination = if self.is_wildcard { self.destination(slot) } else { None };
        let arena = self.arena.as_ptr();
        // SAFETY: `slot` < `BATCH` (checked by `header`) and `entry` < `received` <= `BATCH`; every
        // place written is inside the arena, and `&mut self` keeps all others away.
        let header = unsafe {
            let vector = &raw mut (*arena).reply_vectors[entry];
            (*vector).iov_base = (&raw mut (*arena).replies[slot]).cast();
            (*vector).iov_len = len;
            let header = &raw mut (*arena).queued[entry].msg_hdr;
            (*header).msg_name = (&raw mut (*arena).peers[slot]).cast();
            (*header).msg_namelen = name_len;
            (*header).msg_iov = vector;
            (*header).msg_iovlen = 1;
            (*header).msg_control = (&raw mut (*arena).sources[entry]).cast();
            (*header).msg_controllen = CONTROL_LEN as _;
            (*header).msg_flags = 0;
            header
        };
        // SAFETY: the header was just filled in, its control buffer is `CONTROL_LEN` octets.
        unsafe { write_source(header, destination) };
        self.queued += 1;
    }

    /// Sends what is queued. A reply that the kernel does not take (no route, no room, a firewall)
    /// is given up by itself; the ones after it are sent all the same.
    pub fn send(&mut self, socket: &UdpSocket) -> Sent {
        let mut outcome = Sent::default();
        let mut at = 0;
        while at < self.queued {
            // SAFETY: entries `at..queued` were filled in by `queue`, with pointers into the arena;
            // the kernel writes nothing but each entry's length.
            let count = unsafe {
                let headers = (&raw mut (*self.arena.as_ptr()).queued).cast::<libc::mmsghdr>();
                libc::sendmmsg(socket.as_raw_fd(), headers.add(at), (self.queued - at) as _, 0)
            };
            match usize::try_from(count) {
                Ok(count) if count > 0 => {
                    outcome.sent += count;
                    at += count;
                }
                // The call fails only for the first of its entries, so that one is at fault.
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    outcome.failed += 1;
                    at += 1;
                }
            }
        }
        self.queued = 0;
        outcome
    }

    /// Writes the headers of the slots that the last receive used: the kernel overwrote their
    /// lengths and flags.
    fn reset(&mut self) {
        let arena = self.arena.as_ptr();
        for slot in 0..self.received {
            // SAFETY: `slot` < `received` <= `BATCH`; every place written is inside the arena, and
            // `&mut self` keeps all others away.
            unsafe {
                let vector = &raw mut (*arena).query_vectors[slot];
                (*vector).iov_base = (&raw mut (*arena).queries[slot]).cast();
                (*vector).iov_len = DATAGRAM_LEN;
                let header = &raw mut (*arena).received[slot].msg_hdr;
                (*header).msg_name = (&raw mut (*arena).peers[slot]).cast();
                (*header).msg_namelen = size_of::<libc::sockaddr_storage>() as _;
                (*header).msg_iov = vector;
                (*header).msg_iovlen = 1;
                if self.is_wildcard {
                    (*header).msg_control = (&raw mut (*arena).asked[slot]).cast();
                    (*header).msg_controllen = CONTROL_LEN as _;
                }
                (*header).msg_flags = 0;
            }
        }
        (self.received, self.taken, self.queued) = (0, 0, 0);
    }

    /// The header of a received datagram.
    ///
    /// # Panics
    /// When `slot` is not below [`BATCH`].
    fn header(&self, slot: usize) -> &libc::mmsghdr {
        assert!(slot < BATCH, "a slot of the batch");
        // SAFETY: `slot` < `BATCH`; the header is initialised, and written only under `&mut self`.
        unsafe { &(*self.arena.as_ptr()).received[slot] }
    }

    /// The address of the peer in `slot`; `None` where it is of no Internet family.
    fn peer_address(&self, slot: usize) -> Option<SocketAddr> {
        let len = self.header(slot).msg_hdr.msg_namelen as usize;
        // SAFETY: `slot` < `BATCH` (checked by `header`). A `sockaddr_storage` is large enough and
        // aligned for either family's address, and any octets are one.
        unsafe {
            let storage = &raw const (*self.arena.as_ptr()).peers[slot];
            match i32::from((*storage).ss_family) {
                libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                    let name = &*storage.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
                    Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
                }
                libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
                    let name = &*storage.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                    let port = u16::from_be(name.sin6_port);
                    Some(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into())
                }
                _ => None,
            }
        }
    }

    /// Where the datagram in `slot` was sent to; `None` where no control message says so.
    fn destination(&self, slot: usize) -> Option<Destination> {
        let header = &raw const self.header(slot).msg_hdr;
        // SAFETY: the kernel filled in the control buffer and its length, or `reset` did; the macros
        // stay inside that length. A message's data is at least as long as its length says, which is
        // compared with the structure read; it may be unaligned.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while let Some(found) = message.as_ref() {
                let data = libc::CMSG_DATA(message);
                let holds = |len: usize| found.cmsg_len >= libc::CMSG_LEN(len as _) as _;
                match (found.cmsg_level, found.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) if holds(size_of::<libc::in_pktinfo>()) => {
                        return Some(Destination::V4(data.cast::<libc::in_pktinfo>().read_unaligned()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if holds(size_of::<libc::in6_pktinfo>()) => {
                        return Some(Destination::V6(data.cast::<libc::in6_pktinfo>().read_unaligned()));
                    }
                    _ => message = libc::CMSG_NXTHDR(header, message),
                }
            }
        }
        None
    }

    /// Makes the peer in `slot` one that the kernel refuses to send to.
    #[cfg(test)]
    fn spoil_peer(&mut self, slot: usize) {
        assert!(slot < BATCH, "a slot of the batch");
        // SAFETY: `slot` < `BATCH`, the storage is inside the arena and holds an IPv4 address.
        unsafe {
            let storage = &raw mut (*self.arena.as_ptr()).peers[slot];
            (*storage.cast::<libc::sockaddr_in>()).sin_port = 0;
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and given back once.
        unsafe { dealloc(self.arena.as_ptr().cast(), Layout::new::<Arena>()) }
    }
}

/// Makes the reply under `header` leave from `destination`, or from whatever address the kernel
/// picks when there is none or when it is no address to send from (multicast).
///
/// # Safety
/// `header.msg_control` points to `CONTROL_LEN` octets aligned for a control message header, and
/// `header.msg_controllen` is `CONTROL_LEN`.
unsafe fn write_source(header: *mut libc::msghdr, destination: Option<Destination>) {
    /// Writes one control message with `data` and sets the length.
    ///
    /// # Safety
    /// As of `write_source`.
    unsafe fn write<T>(header: *mut libc::msghdr, level: i32, kind: i32, data: T) {
        let len = size_of::<T>();
        debug_assert!(size_of::<libc::cmsghdr>() + len <= CONTROL_LEN - 8, "one message fits");
        // SAFETY: the buffer is long enough for a header, so the first one is not null, and for
        // either packet information after it.
        unsafe {
            let message = libc::CMSG_FIRSTHDR(header);
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(len as _) as _;
            libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
            (*header).msg_controllen = libc::CMSG_SPACE(len as _) as _;
        }
    }
    // SAFETY: as the caller promises.
    unsafe {
        match destination {
            Some(Destination::V4(mut info)) => {
                // The address of ours that was asked; a route decides the interface.
                info.ipi_ifindex = 0;
                write(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(Destination::V6(mut info)) if info.ipi6_addr.s6_addr[0] != 0xff => {
                let asked = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                if !asked.is_unicast_link_local() {
                    info.ipi6_ifindex = 0;
                }
                write(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            _ => {
                (*header).msg_control = ptr::null_mut();
                (*header).msg_controllen = 0;
            }
        }
    }
}

/// Asks the kernel to say of each datagram which address it was sent to.
///
/// # Errors
/// When the kernel does not do that.
pub fn tell_destination(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Lets replies be fragmented on the way rather than believe what anybody says about the path's MTU
/// (RFC 9715 section 3.1, and its Appendix B); they are small enough not to need it.
///
/// # Errors
/// When the kernel does not do that.
pub fn ignore_path_mtu(socket: &UdpSocket) -> io::Result<()> {
    match socket.local_addr()? {
        SocketAddr::V4(_) => {
            set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)
        }
        SocketAddr::V6(_) => {
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)
        }
    }
}

/// Sets a socket option that is a number.
fn set_option(socket: &UdpSocket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option's value is the `c_int` at the pointer, of that length, for the call only.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as _,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A socket on loopback that waits at most five seconds.
    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket
    }

    /// Receives until `count` datagrams are in one batch: what is sent over loopback is there.
    fn receive(batch: &mut Batch, socket: &UdpSocket, count: usize) {
        assert_eq!(batch.receive(socket, Wait::Timeout).expect("datagrams"), count);
    }

    #[test]
    fn one_refused_reply_does_not_lose_the_others() {
        let (server, client) = (socket(), socket());
        let to = server.local_addr().expect("bound");
        for query in [b"a", b"b", b"c", b"d"] {
            client.send_to(query, to).expect("sent");
        }
        let mut batch = Batch::new(false);
        receive(&mut batch, &server, 4);
        while let Some(slot) = batch.next() {
            assert_eq!(batch.peer(slot), Ok(client.local_addr().expect("bound")));
            let (query, reply) = batch.exchange(slot);
            reply[..query.len()].copy_from_slice(query);
            let len = query.len();
            batch.queue(slot, len);
        }
        batch.spoil_peer(0);
        batch.spoil_peer(2);
        assert_eq!(batch.send(&server), Sent { sent: 2, failed: 2 });
        let mut buffer = [0; 16];
        let mut replies = Vec::new();
        for _ in 0..2 {
            let len = client.recv(&mut buffer).expect("a reply");
            replies.extend_from_slice(&buffer[..len]);
        }
        assert_eq!(replies, b"bd");
        assert!(batch.is_done());
        assert_eq!(batch.peer(2), Err(Unanswerable::NoPeer), "port 0");
    }

    #[test]
    fn a_datagram_above_the_buffer_is_told_apart() {
        let (server, client) = (socket(), socket());
        let to = server.local_addr().expect("bound");
        for len in [DATAGRAM_LEN + 1, DATAGRAM_LEN, 0] {
            client.send_to(&vec![7; len], to).expect("sent");
        }
        let mut batch = Batch::new(false);
        receive(&mut batch, &server, 3);
        assert_eq!(batch.peer(0), Err(Unanswerable::Oversized));
        assert!(batch.peer(1).is_ok() && batch.exchange(1).0.len() == DATAGRAM_LEN);
        assert!(batch.peer(2).is_ok() && batch.exchange(2).0.is_empty());
    }

    #[test]
    fn slots_are_as_new_after_every_batch() {
        let (server, client) = (socket(), socket());
        let to = server.local_addr().expect("bound");
        let mut batch = Batch::new(false);
        for round in 0..3_u8 {
            for slot in 0..=round {
                client.send_to(&vec![slot; usize::from(slot) + 1], to).expect("sent");
            }
            receive(&mut batch, &server, usize::from(round) + 1);
            for slot in 0..=round {
                let (query, _) = batch.exchange(usize::from(slot));
                assert_eq!(query, vec![slot; usize::from(slot) + 1]);
            }
        }
        let error = batch.receive(&server, Wait::No).expect_err("nothing is left");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(batch.next(), None);
    }

    #[test]
    fn a_wildcard_socket_that_is_not_told_the_destination_answers_nobody() {
        let (server, client) = (socket(), socket());
        let to = server.local_addr().expect("bound");
        client.send_to(b"q", to).expect("sent");
        let mut batch = Batch::new(true);
        receive(&mut batch, &server, 1);
        assert_eq!(batch.peer(0), Err(Unanswerable::NoDestination));
        tell_destination(&server).expect("an option");
        ignore_path_mtu(&server).expect("an option");
        client.send_to(b"q", to).expect("sent");
        receive(&mut batch, &server, 1);
        assert!(batch.peer(0).is_ok());
    }
}
