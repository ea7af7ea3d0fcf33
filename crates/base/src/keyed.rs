//! Hash maps whose hasher is keyed from our own chance: an attacker chooses Call-IDs, not our buckets.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::Rng;

/// A map for lookup. Its order is not defined: never iterate where the order can be seen.
pub type KeyedMap<K, V> = HashMap<K, V, KeyedHash>;
/// A set for lookup; see [`KeyedMap`].
pub type KeyedSet<K> = HashSet<K, KeyedHash>;

/// SipHash-1-3 under a key of 128 bits.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash(u64, u64);

impl KeyedHash {
    /// Draw a key.
    pub fn new(rng: &mut Rng) -> Self {
        KeyedHash(rng.u64(), rng.u64())
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}
