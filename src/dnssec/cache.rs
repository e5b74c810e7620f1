//! Signatures that were made, found by the exact content that they sign.
//!
//! A table of sets of [`WAYS`] places. The content's hash chooses the set and is kept beside it, one
//! line of memory a set; then the whole content is compared, so that a hit is right whatever the hash.
//! A full set gives up a place that was not used since it was looked at last. Owned by one worker: no
//! lock. A hit allocates nothing; a place keeps its memory when its content changes. Layer 3.

use super::times::UnixS;

/// Places of a set.
const WAYS: usize = 8;

/// One signature and what it signs.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The content, then the signature's record data.
    octets: Vec<u8>,
    /// Octets of the content.
    content_len: usize,
    /// From when on it is made again.
    renew_at: UnixS,
    /// Used since it was last considered for another content.
    is_used: bool,
}

/// A worker's signatures.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    /// Hashes, never 0 where there is something; set after set.
    hashes: Box<[u64]>,
    places: Box<[Place]>,
}

impl Cache {
    /// Longest content that is kept, octets: more is no answer over UDP.
    pub(super) const CONTENT_LEN_MAX: usize = 4096;

    /// Room for at least `count` signatures.
    pub(super) fn new(count: usize) -> Self {
        let places = count.div_ceil(WAYS).max(1).next_power_of_two() * WAYS;
        Self { hashes: vec![0; places].into(), places: vec![Place::default(); places].into() }
    }

    /// Whether it is what [`Cache::new`] makes for `count`.
    pub(super) fn is_for(&self, count: usize) -> bool {
        self.places.len() == count.div_ceil(WAYS).max(1).next_power_of_two() * WAYS
    }

    /// The first place of the set for `hash`.
    #[inline]
    fn set_of(&self, hash: u64) -> usize {
        // The high bits: the low ones are the weaker half of a multiplication.
        let set = (hash >> 32) as usize & (self.places.len() / WAYS).wrapping_sub(1);
        set * WAYS
    }

    /// The place of the signature of `content`, if it need not be made again yet.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, content: &[u8], now: UnixS) -> Option<usize> {
        let (first, hash) = (self.set_of(hash), hash | 1);
        let hashes = self.hashes.get(first..first + WAYS)?;
        for (way, _) in hashes.iter().enumerate().filter(|(_, found)| **found == hash) {
            let place = self.places.get_mut(first + way)?;
            if place.octets.get(..place.content_len) == Some(content) {
                place.is_used = true;
                return (now < place.renew_at).then_some(first + way);
            }
        }
        None
    }

    /// The signature at a place that was found.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&[u8]> {
        self.places.get(place).and_then(|place| place.octets.get(place.content_len..))
    }

    /// The signature of `content`, if it need not be made again yet.
    #[inline]
    pub(super) fn get(&mut self, hash: u64, content: &[u8], now: UnixS) -> Option<&[u8]> {
        let place = self.find(hash, content, now)?;
        self.at(place)
    }

    /// Keeps `signature` of `content`, in the place of its predecessor or of what is needed least.
    pub(super) fn put(&mut self, hash: u64, content: &[u8], signature: &[u8], renew_at: UnixS) {
        if content.len() > Self::CONTENT_LEN_MAX || self.places.is_empty() {
            return;
        }
        let (first, hash) = (self.set_of(hash), hash | 1);
        let set = &mut self.places[first..first + WAYS];
        let is_same = |place: &Place| place.octets.get(..place.content_len) == Some(content);
        let hashes = &mut self.hashes[first..first + WAYS];
        let same = (0..WAYS).find(|&way| hashes[way] == hash && is_same(&set[way]));
        let empty = || (0..WAYS).find(|&way| hashes[way] == 0);
        let way = same.or_else(empty).unwrap_or_else(|| give_up(set, hash));
        hashes[way] = hash;
        let place = &mut set[way];
        place.octets.clear();
        place.octets.extend_from_slice(content);
        place.octets.extend_from_slice(signature);
        (place.content_len, place.renew_at, place.is_used) = (content.len(), renew_at, false);
    }
}

/// The way of a full set to use for another content: the first that was not used, from one that the
/// hash chooses on; those that are passed over must be used again to stay.
fn give_up(set: &mut [Place], hash: u64) -> usize {
    let start = (hash >> 1) as usize;
    for step in 0..WAYS {
        let way = (start + step) % WAYS;
        if !std::mem::take(&mut set[way].is_used) {
            return way;
        }
    }
    start % WAYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_hit_is_what_was_put_last_for_exactly_that_content() {
        let mut cache = Cache::new(64);
        let mut twin: HashMap<Vec<u8>, (Vec<u8>, u64)> = HashMap::new();
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut hits, mut misses) = (0, 0);
        for step in 0..100_000_u64 {
            // Contents that are beginnings of each other, and hashes of which many are equal.
            let content = vec![next(3) as u8; next(40) as usize];
            let hash = (content.len() as u64 % 7) << 32 | content.len() as u64;
            let now = UnixS(step);
            match cache.get(hash, &content, now) {
                Some(found) => {
                    let (expected, renew_at) = &twin[&content];
                    assert_eq!(found, expected);
                    assert!(*renew_at > step);
                    hits += 1;
                }
                None => {
                    let (signature, renew_at) = (step.to_be_bytes().to_vec(), step + next(5000));
                    cache.put(hash, &content, &signature, UnixS(renew_at));
                    twin.insert(content, (signature, renew_at));
                    misses += 1;
                }
            }
        }
        assert!(hits > 20_000 && misses > 1000, "{hits} {misses}");
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(8);
        cache.put(0, b"used", b"signature", UnixS(1000));
        for n in 0..1000_u64 {
            assert_eq!(cache.get(0, b"used", UnixS(n.min(999))), Some(&b"signature"[..]), "{n}");
            cache.put(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), &n.to_be_bytes(), b"x", UnixS(1000));
        }
        assert_eq!(cache.get(0, b"used", UnixS(1000)), None, "to be renewed");
        assert!(cache.is_for(8) && cache.is_for(1) && !cache.is_for(9));
    }

    #[test]
    fn nothing_is_found_where_nothing_is_kept() {
        assert_eq!(Cache::default().get(1, b"x", UnixS(0)), None);
        let mut cache = Cache::new(8);
        cache.put(1, &[0; Cache::CONTENT_LEN_MAX + 1], b"x", UnixS(9));
        assert_eq!(cache.get(1, &[0; Cache::CONTENT_LEN_MAX + 1], UnixS(0)), None);
    }
}
