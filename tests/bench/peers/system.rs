//! System calls that the standard library has no word for: processors, signals, batches of datagrams,
//! readiness. All `unsafe` of this bench is here.

use std::io;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::time::Duration;

/// Datagrams in a batch, at most.
pub const BATCH: usize = 64;

/// Octets of a datagram, at most; what is longer is cut off.
pub const DATAGRAM_LEN: usize = 512;

/// Keeps the calling thread, and every thread and process that it starts from now on, on `cpus`.
pub fn pin(cpus: &[usize]) {
    // SAFETY: a `cpu_set_t` is made of integers, for which all zeroes is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        assert!(cpu < libc::CPU_SETSIZE as usize, "processor {cpu}");
        // SAFETY: the number is inside the set, as was just checked.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is as long as is told and outlives the call.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    assert_eq!(result, 0, "to run on {cpus:?}: {}", io::Error::last_os_error());
}

/// Lets the calling thread wake up when it asked to, not up to 50 microseconds later.
pub fn wake_on_time() {
    // SAFETY: this option takes one number and no pointer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_usize) };
}

/// Ends the process that `command` will start when the thread that starts it ends, however it ends.
pub fn end_with_us(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec this makes one system call and touches no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        })
    }
}

/// A signal that peers understand.
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    /// End in order.
    Terminate = libc::SIGTERM as isize,
    /// Read the configuration again (nginx).
    Hangup = libc::SIGHUP as isize,
    /// Start over with a new worker (HAProxy).
    User2 = libc::SIGUSR2 as isize,
}

/// Sends `signal` to a process that we started and have not waited for.
pub fn signal(pid: u32, signal: Signal) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid as libc::pid_t, signal as libc::c_int) };
}

/// Waits until `socket` has something to read, at most for `time`.
pub fn wait_readable(socket: &impl AsRawFd, time: Duration) {
    let mut entry = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time =
        libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: libc::c_long::from(time.subsec_nanos()) };
    // SAFETY: one entry is told and given; both live over the call. Failing is waking up early.
    unsafe { libc::ppoll(&mut entry, 1, &time, ptr::null()) };
}

/// Datagrams received and sent by the batch, with the addresses they came from.
pub struct Batch {
    buffers: Box<[[u8; DATAGRAM_LEN]]>,
    lens: [usize; BATCH],
    peers: Box<[libc::sockaddr_in]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Whether the socket is not connected, so that each datagram has an address.
    is_addressed: bool,
}

impl Batch {
    /// An empty batch for sockets that are connected, or not.
    pub fn new(is_addressed: bool) -> Self {
        // SAFETY: all three are made of integers and raw pointers, for which all zeroes is a value.
        let (peer, vector, header) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            buffers: vec![[0; DATAGRAM_LEN]; BATCH].into(),
            lens: [0; BATCH],
            peers: vec![peer; BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            headers: vec![header; BATCH].into(),
            is_addressed,
        }
    }

    /// Points the headers of the first `count` slots at their buffers.
    fn point(&mut self, count: usize, is_receiving: bool) {
        for slot in 0..count {
            let len = if is_receiving { DATAGRAM_LEN } else { self.lens[slot] };
            self.vectors[slot] =
                libc::iovec { iov_base: self.buffers[slot].as_mut_ptr().cast(), iov_len: len };
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_iov = &mut self.vectors[slot];
            header.msg_iovlen = 1;
            if self.is_addressed {
                header.msg_name = (&raw mut self.peers[slot]).cast();
                header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            }
        }
    }

    /// Receives what is there, up to [`BATCH`] datagrams; waits for the first where told to.
    ///
    /// # Errors
    /// What the kernel says; `WouldBlock` when there is none and no waiting.
    pub fn receive(&mut self, socket: &UdpSocket, is_waiting: bool) -> io::Result<usize> {
        self.point(BATCH, true);
        let flags = if is_waiting { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: `point` has just set all `BATCH` headers to buffers of ours, with their lengths, which
        // nothing else touches during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as _,
                flags as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for slot in 0..count {
            self.lens[slot] = (self.headers[slot].msg_len as usize).min(DATAGRAM_LEN);
        }
        Ok(count)
    }

    /// Sends the first `count` slots, each to the address in it; says how many the kernel took.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> usize {
        assert!(count <= BATCH, "{count} datagrams");
        self.point(count, false);
        // SAFETY: as for receiving; `count` headers were set.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as _, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// The datagram in `slot`.
    pub fn datagram(&self, slot: usize) -> &[u8] {
        &self.buffers[slot][..self.lens[slot]]
    }

    /// Makes room for `len` octets in `slot`; what was there before is still there.
    pub fn write(&mut self, slot: usize, len: usize) -> &mut [u8] {
        self.lens[slot] = len;
        &mut self.buffers[slot][..len]
    }
}

/// Which of many connections have something to read.
pub struct Epoll {
    epoll: OwnedFd,
    events: Box<[libc::epoll_event]>,
}

impl Epoll {
    /// One that watches nothing yet.
    pub fn new() -> Self {
        // SAFETY: takes a number.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the descriptor is new, open, and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256].into() }
    }

    /// Watches `what`, which is called `token`, until it is closed.
    pub fn add(&self, what: &impl AsRawFd, token: usize) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token as u64 };
        // SAFETY: both descriptors are open, and the event lives over the call.
        let result = unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, what.as_raw_fd(), &mut event)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// Waits, for ever where no time is told, and names what is ready.
    pub fn wait(&mut self, time_ms: Option<i32>) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: room for as many events as told.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as _,
                time_ms.unwrap_or(-1),
            )
        };
        self.events[..usize::try_from(count).unwrap_or(0)].iter().map(|event| event.u64 as usize)
    }
}
