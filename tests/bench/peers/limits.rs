//! Limit programs: servers that do nothing but the system calls, for what the kernel costs.
//!
//! Each sends the same ready-made reply to everybody, as long as steerd's is. What steerd costs beyond
//! that is what steering costs.

use crate::system::{Batch, Epoll};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;

/// The reply to a query with a /24 client subnet: one address and the option again.
const DNS_REPLY: &[u8] = b"\0\0\x84\0\0\x01\0\x01\0\0\0\x01\x05video\x03cdn\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\0\0\0\0\0\x29\x04\xd0\0\0\0\0\0\x0b\0\x08\0\x07\0\x01\x18\x18\xc0\0\x02";

/// The redirect.
const HTTP_REPLY: &[u8] =
    b"HTTP/1.1 302 Found\r\nLocation: http://c000-a00.cdn.example/title/123/seg.m4s\r\n\
    Cache-Control: no-store\r\nContent-Length: 0\r\nDate: Thu, 26 Nov 2026 01:00:00 GMT\r\n\r\n";

/// Sends every query back as a reply, a batch at a time, for ever.
pub fn dns(at: SocketAddr) {
    echo(&UdpSocket::bind(at).expect("a free port"));
}

/// The same with two workers, each with a socket of its own on one port.
pub fn dns_two(at: SocketAddr) {
    let socket = || {
        let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("a socket option");
        socket.bind(&at.into()).expect("a free port");
        UdpSocket::from(socket)
    };
    let (one, other) = (socket(), socket());
    thread::spawn(move || echo(&one));
    echo(&other);
}

/// Answers what comes to `socket`.
fn echo(socket: &UdpSocket) {
    let mut batch = Batch::new(true);
    loop {
        let Ok(count) = batch.receive(socket, true) else { continue };
        for slot in 0..count {
            // The first two octets stay: the id.
            batch.write(slot, DNS_REPLY.len())[2..].copy_from_slice(&DNS_REPLY[2..]);
        }
        batch.send(socket, count);
    }
}

/// Answers every request of every connection, for ever.
pub fn http(at: SocketAddr) {
    let listener = TcpListener::bind(at).expect("a free port");
    listener.set_nonblocking(true).expect("a socket option");
    let mut epoll = Epoll::new();
    epoll.add(&listener, 0);
    let mut open: HashMap<usize, TcpStream> = HashMap::new();
    let mut buffer = [0; 16384];
    loop {
        let ready: Vec<usize> = epoll.wait(None).collect();
        for token in ready {
            if token != 0 {
                let stays = open.get_mut(&token).is_some_and(|stream| answer(stream, &mut buffer));
                if !stays {
                    open.remove(&token);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                // Neither can fail on an open socket.
                let _ = stream.set_nonblocking(true);
                let _ = stream.set_nodelay(true);
                // A descriptor is a name that nobody else has while it is open; 0 is not among them.
                let token = stream.as_raw_fd() as usize;
                epoll.add(&stream, token);
                open.insert(token, stream);
            }
        }
    }
}

/// Answers the requests that one read brings; whether the connection stays.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // The generator sends requests whole, in one segment each.
        Ok(len) => buffer[..len].ends_with(b"\r\n\r\n") && stream.write_all(HTTP_REPLY).is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
