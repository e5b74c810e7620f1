//! Sockets, bound: groups that share a port, one socket a worker.
//!
//! The first socket of a group binds *without* `SO_REUSEPORT`, so that it fails where anybody else
//! has the port, a second steerd of the same user included, and is given an unused one for port 0.
//! Only then is the group opened to the workers' sockets. The kernel spreads peers over a group by a
//! hash of both addresses and ports. Layer 8; sends and receives nothing.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// Octets of receive buffer asked of the kernel for a UDP socket: a few milliseconds of a full
/// link. It gives what it allows (`net.core.rmem_max`).
const UDP_RECEIVE_BUFFER_LEN: usize = 4 << 20;

/// How long a UDP worker waits for a packet before it looks whether it should stop.
const UDP_RECEIVE_WAIT: Duration = Duration::from_millis(200);

/// How long a UDP worker waits for room in the send buffer before it gives a reply up.
const UDP_SEND_WAIT: Duration = Duration::from_millis(10);

/// Connections that wait to be accepted.
const TCP_BACKLOG: i32 = 1024;

/// How often a port that is free for UDP and TCP is looked for.
const PORT_ATTEMPTS: usize = 32;

/// A listener that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{listener} {addr}: {source}")]
pub struct BindError {
    /// What was to listen.
    pub listener: Listener,
    /// Where.
    pub addr: SocketAddr,
    /// Why it cannot.
    pub source: io::Error,
}

/// What listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// DNS over UDP.
    DnsUdp,
    /// DNS over TCP.
    DnsTcp,
    /// DNS over TLS.
    DnsTls,
    /// Redirects.
    Http,
    /// The same over TLS.
    Https,
    /// The same over QUIC.
    Http3,
    /// The push API.
    Control,
    /// The same over TLS.
    ControlTls,
}

impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::DnsUdp => "dns udp",
            Self::DnsTcp => "dns tcp",
            Self::DnsTls => "dns tls",
            Self::Http => "http",
            Self::Https => "https",
            Self::Http3 => "http3",
            Self::Control => "control",
            Self::ControlTls => "control tls",
        })
    }
}

/// Sockets for DNS on one address.
#[derive(Debug)]
pub struct DnsSockets {
    /// Where, the port resolved; the same for UDP and TCP.
    pub addr: SocketAddr,
    /// One a worker.
    pub udp: Vec<UdpSocket>,
    /// One a worker; they do not block.
    pub tcp: Vec<TcpListener>,
}

/// Binds UDP and TCP on `addr`, `workers` (at least 1) sockets each. Port 0 becomes one that is free
/// for both.
///
/// # Errors
/// When the address cannot be had.
pub fn dns(addr: SocketAddr, workers: usize) -> Result<DnsSockets, BindError> {
    let mut attempt = 1;
    loop {
        let udp = udp(addr, workers)?;
        let at = bound(Listener::DnsUdp, addr, udp[0].local_addr())?;
        match tcp(Listener::DnsTcp, at, workers) {
            Ok(tcp) => return Ok(DnsSockets { addr: at, udp, tcp }),
            Err(error) if addr.port() != 0 || attempt == PORT_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

/// Binds a group of `count` (at least 1) UDP sockets on `addr`, ready for a worker.
fn udp(addr: SocketAddr, count: usize) -> Result<Vec<UdpSocket>, BindError> {
    let socket = |addr| {
        let socket = socket(addr, Type::DGRAM, Protocol::UDP)?;
        // Best effort: less is served as well, until it overflows.
        let _ = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER_LEN);
        socket.set_read_timeout(Some(UDP_RECEIVE_WAIT))?;
        socket.set_write_timeout(Some(UDP_SEND_WAIT))?;
        Ok(socket)
    };
    let sockets = bound(Listener::DnsUdp, addr, group(addr, count, socket))?;
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

/// Binds one UDP socket on `addr`, whose port is taken over TCP already; it does not block.
///
/// # Errors
/// When the address cannot be had.
#[cfg(feature = "http3")]
pub fn quic(addr: SocketAddr) -> Result<UdpSocket, BindError> {
    let socket = |addr| {
        let socket = socket(addr, Type::DGRAM, Protocol::UDP)?;
        let _ = socket.set_recv_buffer_size(UDP_RECEIVE_BUFFER_LEN);
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let mut sockets = bound(Listener::Http3, addr, group(addr, 1, socket))?;
    Ok(sockets.remove(0).into())
}

/// Binds a group of `count` (at least 1) TCP listeners on `addr`; they do not block. All have the
/// first one's port.
///
/// # Errors
/// When the address cannot be had.
pub fn tcp(listener: Listener, addr: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let socket = |addr| {
        let socket = socket(addr, Type::STREAM, Protocol::TCP)?;
        // Connections of a former process that still wait for their end do not hold the port.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    let sockets = bound(listener, addr, group(addr, count, socket))?;
    for socket in &sockets {
        bound(listener, addr, socket.listen(TCP_BACKLOG))?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// A socket for `addr`; an IPv6 one takes no IPv4 packets, which have listeners of their own.
fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Makes `count` sockets and binds them to `addr` as one group.
fn group(
    addr: SocketAddr,
    count: usize,
    make: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> io::Result<Vec<Socket>> {
    let first = make(addr)?;
    first.bind(&SockAddr::from(addr))?;
    if count < 2 {
        return Ok(vec![first]);
    }
    let at = first.local_addr()?;
    first.set_reuse_port(true)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let next = make(addr)?;
        next.set_reuse_port(true)?;
        next.bind(&at)?;
        sockets.push(next);
    }
    Ok(sockets)
}

/// Says which listener an error is about.
fn bound<T>(listener: Listener, addr: SocketAddr, result: io::Result<T>) -> Result<T, BindError> {
    result.map_err(|source| BindError { listener, addr, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    #[test]
    fn a_group_shares_one_port_over_udp_and_tcp() {
        let sockets = dns(addr("127.0.0.1:0"), 3).expect("a free port");
        assert_ne!(sockets.addr.port(), 0);
        for socket in &sockets.udp {
            assert_eq!(socket.local_addr().expect("bound"), sockets.addr);
        }
        for socket in &sockets.tcp {
            assert_eq!(socket.local_addr().expect("bound"), sockets.addr);
        }
        assert_eq!((sockets.udp.len(), sockets.tcp.len()), (3, 3));
    }

    #[test]
    fn a_second_server_does_not_join_the_group() {
        let sockets = dns(addr("127.0.0.1:0"), 2).expect("a free port");
        let error = dns(sockets.addr, 2).expect_err("the port is taken");
        assert_eq!((error.listener, error.source.kind()), (Listener::DnsUdp, io::ErrorKind::AddrInUse));
        let error = tcp(Listener::Http, sockets.addr, 2).expect_err("the port is taken");
        assert!(error.to_string().starts_with(&format!("http {}: ", sockets.addr)), "{error}");
    }
}
