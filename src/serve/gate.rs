//! How many connections may be open: in all, and from one peer.
//!
//! A [`Permit`] is held by a connection and gives its place back when dropped. The lock is taken once
//! a connection, never for a query. Layer 8.

use crate::prefix::Prefix;
use rustc_hash::FxHashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Limits on open connections.
#[derive(Debug)]
pub struct Gate {
    /// Most connections at a time.
    open_max: usize,
    /// Most connections from one IPv4 address or IPv6 /64 at a time.
    peer_max: usize,
    /// Peers without that limit: whatever is there speaks for many.
    exempt: Vec<Prefix>,
    /// Who is inside.
    inside: Mutex<Inside>,
}

/// Open connections, counted.
#[derive(Debug, Default)]
struct Inside {
    /// In all.
    count: usize,
    /// By [`peer_key`], only those with any.
    by_peer: FxHashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// There are as many as may be.
    All,
    /// There are as many of this peer as may be.
    Peer,
}

impl Gate {
    /// Lets in `open_max` connections, of them `peer_max` from one peer that is not `exempt`.
    pub fn new(open_max: usize, peer_max: usize, exempt: Vec<Prefix>) -> Arc<Self> {
        Arc::new(Self { open_max, peer_max, exempt, inside: Mutex::default() })
    }

    /// Whether so many connections of `peer` are too many for one more.
    fn is_enough(&self, peer: IpAddr, count: usize) -> bool {
        count >= self.peer_max && !self.exempt.iter().any(|prefix| prefix.contains(peer.to_canonical()))
    }

    /// Counts a connection in.
    ///
    /// # Errors
    /// Which limit is reached.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, Full> {
        let key = peer_key(peer);
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.count >= self.open_max {
            return Err(Full::All);
        }
        let of_peer = inside.by_peer.get(&key).copied().unwrap_or_default();
        if self.is_enough(peer, of_peer) {
            return Err(Full::Peer);
        }
        inside.count += 1;
        inside.by_peer.insert(key, of_peer + 1);
        Ok(Permit { gate: Arc::clone(self), key: Some(key) })
    }

    /// Counts a connection in whose client is not known yet: a proxy made it, and will say.
    ///
    /// # Errors
    /// There are as many as may be.
    pub fn enter_unknown(self: &Arc<Self>) -> Result<Permit, Full> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.count >= self.open_max {
            return Err(Full::All);
        }
        inside.count += 1;
        Ok(Permit { gate: Arc::clone(self), key: None })
    }

    /// Open connections.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    /// Whose it is, if that is known.
    key: Option<IpAddr>,
}

impl Permit {
    /// Makes the place that of `client`, whose it is as a proxy says.
    ///
    /// # Errors
    /// There are as many of this client as may be.
    pub fn assign(&mut self, client: IpAddr) -> Result<(), Full> {
        if self.key.is_none() {
            let key = peer_key(client);
            let mut inside = self.gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
            let of_client = inside.by_peer.entry(key).or_default();
            if self.gate.is_enough(client, *of_client) {
                return Err(Full::Peer);
            }
            *of_client += 1;
            self.key = Some(key);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inside = self.gate.inside.lock().unwrap_or_else(PoisonError::into_inner);
        inside.count -= 1;
        let Some(key) = self.key else { return };
        match inside.by_peer.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.by_peer.remove(&key)),
        }
    }
}

/// What counts as one peer: an IPv4 address, or the /64 of an IPv6 one, which is one machine's to
/// fill.
fn peer_key(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::loopback;

    #[test]
    fn connections_are_counted_in_all_and_by_peer() {
        let gate = Gate::new(4, 2, Vec::new());
        let enter = |peer: &str| gate.enter(peer.parse().expect("an address"));
        let first = enter("192.0.2.1");
        let _second = enter("192.0.2.1").expect("two of a peer");
        assert_eq!(enter("192.0.2.1").err(), Some(Full::Peer));
        drop(first);
        let _again = enter("192.0.2.1").expect("a place given back");
        let _six = enter("2001:db8::1").expect("another peer");
        let _same_64 = enter("2001:db8::2:0:0:1").expect("two of a /64");
        assert_eq!(gate.count(), 4);
        assert_eq!(enter("198.51.100.1").err(), Some(Full::All));
    }

    #[test]
    fn a_proxys_connection_counts_for_its_client() {
        let gate = Gate::new(3, 1, Vec::new());
        let client: IpAddr = "192.0.2.1".parse().expect("an address");
        let mut places: Vec<Permit> = (0..3).map(|_| gate.enter_unknown().expect("room")).collect();
        assert_eq!(gate.enter_unknown().err(), Some(Full::All));
        assert_eq!(places[0].assign(client), Ok(()));
        assert_eq!(places[1].assign(client), Err(Full::Peer));
        places.truncate(1);
        assert_eq!(gate.enter(client).err(), Some(Full::Peer));
        places.clear();
        assert_eq!((gate.count(), gate.enter(client).err()), (0, None));
    }

    #[test]
    fn loopback_speaks_for_many_and_a_64_for_one() {
        let gate = Gate::new(10, 1, loopback());
        let enter = |peer: &str| gate.enter(peer.parse().expect("an address"));
        let _held = [enter("127.0.0.1"), enter("127.0.0.1"), enter("::1"), enter("::1")];
        assert_eq!(gate.count(), 4);
        let _other = enter("2001:db8::1").expect("the first of a /64");
        assert_eq!(enter("2001:db8::ffff:0:0:1").err(), Some(Full::Peer));
        assert_eq!(enter("2001:db8:0:1::1").err(), None);
    }
}
