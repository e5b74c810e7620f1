//! DNS over TCP (RFC 7766) over a real socket, octet by octet where that matters; replies are read by
//! another codec.

use crate::harness::{Steerd, dns, write_config};
use domain::base::Message;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Serves the demo fleet; a silent connection may stay for `idle_s`.
fn start(dir: &std::path::Path, idle_s: u64) -> Steerd {
    let config = write_config(dir, "");
    let text = std::fs::read_to_string(&config).expect("just written");
    let text = text.replace("[[dns.zone]]", &format!("tcp_idle_s = {idle_s}\n[[dns.zone]]"));
    std::fs::write(&config, text).expect("written again");
    let steerd = Steerd::start(&config);
    let table = include_bytes!("../../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    steerd
}

/// A connection to it.
fn connect(steerd: &Steerd) -> TcpStream {
    let stream = TcpStream::connect(steerd.dns).expect("loopback");
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
    stream
}

/// A framed query of that number, from a client network of its own.
fn framed(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let query = dns::query(id, "video.cdn.example", Ipv4Addr::new(193, 0, high, low));
    [&(query.len() as u16).to_be_bytes()[..], &query].concat()
}

/// Reads a reply.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).expect("a length");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut reply).expect("a reply");
    reply
}

/// Reads a reply and checks that it is the whole answer to the query of that number.
fn expect_answer(stream: &mut TcpStream, id: u16) {
    let reply = read(stream);
    let message = Message::from_octets(&reply[..]).expect("a message");
    let header = message.header();
    assert_eq!(header.id(), id);
    assert!(header.qr() && header.aa() && !header.tc(), "{reply:02x?}");
    assert!(message.header_counts().ancount() > 0, "{reply:02x?}");
}

#[test]
fn rfc7766_s6_2_1_1_many_queries_in_one_segment_are_all_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let mut stream = connect(&steerd);
    let all: Vec<u8> = (0..300).flat_map(framed).collect();
    stream.write_all(&all).expect("sent");
    (0..300).for_each(|id| expect_answer(&mut stream, id));
    // The connection is good for more.
    stream.write_all(&framed(7)).expect("sent");
    expect_answer(&mut stream, 7);
}

#[test]
fn rfc7766_s8_a_query_may_be_cut_anywhere_and_the_length_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let mut stream = connect(&steerd);
    let query = framed(9);
    for cut in 1..query.len() {
        // Each write is a segment of its own: Nagle's algorithm is off, and the reply before is read.
        stream.write_all(&query[..cut]).expect("sent");
        stream.write_all(&query[cut..]).expect("sent");
        expect_answer(&mut stream, 9);
    }
    // Half of the next one comes with the one before.
    let two = [framed(1), framed(2)].concat();
    let cut = two.len() / 2 + 20;
    stream.write_all(&two[..cut]).expect("sent");
    expect_answer(&mut stream, 1);
    stream.write_all(&two[cut..]).expect("sent");
    expect_answer(&mut stream, 2);
}

#[test]
fn rfc7766_s8_length_and_message_leave_together() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let mut stream = connect(&steerd);
    for id in 0..50 {
        stream.write_all(&framed(id)).expect("sent");
        // What one segment brought is read at once.
        let mut octets = [0; 4096];
        let len = stream.read(&mut octets).expect("a reply");
        assert!(len > 14);
        assert_eq!(usize::from(u16::from_be_bytes([octets[0], octets[1]])), len - 2);
    }
}

#[test]
fn rfc1035_s4_2_2_who_has_no_more_to_ask_is_still_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let mut stream = connect(&steerd);
    stream.write_all(&(0..20).flat_map(framed).collect::<Vec<_>>()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    (0..20).for_each(|id| expect_answer(&mut stream, id));
    assert_eq!(stream.read(&mut [0; 1]).expect("the end"), 0, "and then closed");
}

#[test]
fn rfc7766_s6_2_3_a_silent_connection_is_closed_and_a_busy_one_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 1);
    for sent in [&b""[..], &[0], &framed(1)[..9]] {
        let mut stream = connect(&steerd);
        stream.write_all(sent).expect("sent");
        assert_eq!(stream.read(&mut [0; 1]).expect("closed, not reset"), 0);
    }
    let mut stream = connect(&steerd);
    let silent = &mut connect(&steerd);
    // Busy for longer than the silent one may stay: until the server ends that one.
    silent.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
    let mut asked = 0;
    while silent.read(&mut [0; 1]).is_err() {
        asked += 1;
        stream.write_all(&framed(asked)).expect("sent");
        expect_answer(&mut stream, asked);
        assert!(asked < 400, "the silent connection is still open");
    }
    stream.write_all(&framed(3)).expect("sent");
    expect_answer(&mut stream, 3);
}

#[test]
fn rfc7766_s6_2_2_connections_are_served_side_by_side() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let mut streams: Vec<TcpStream> = (0..50).map(|_| connect(&steerd)).collect();
    // One that sends half a query keeps nobody waiting.
    streams[0].write_all(&framed(0)[..20]).expect("sent");
    for (id, stream) in streams.iter_mut().enumerate().skip(1).rev() {
        stream.write_all(&framed(id as u16)).expect("sent");
        expect_answer(stream, id as u16);
    }
    streams[0].write_all(&framed(0)[20..]).expect("sent");
    expect_answer(&mut streams[0], 0);
}

#[test]
fn rfc7766_s5_udp_and_tcp_answer_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path(), 10);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    udp.connect(steerd.dns).expect("loopback");
    udp.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    let mut stream = connect(&steerd);
    for id in [0, 257, 1234] {
        let query = framed(id);
        udp.send(&query[2..]).expect("sent");
        let mut by_udp = [0; 1500];
        let len = udp.recv(&mut by_udp).expect("a reply");
        stream.write_all(&query).expect("sent");
        assert_eq!(read(&mut stream), by_udp[..len]);
    }
}
