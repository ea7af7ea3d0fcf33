//! Hash maps with a keyed hasher: a peer chooses Call-IDs, but cannot cause hash collisions.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::Rng;

/// A map for lookup. Its iteration order is undefined: never iterate where the order is visible.
pub type KeyedMap<K, V> = HashMap<K, V, KeyedHash>;
/// A set for lookup; see [`KeyedMap`].
pub type KeyedSet<K> = HashSet<K, KeyedHash>;

/// SipHash-1-3 with a 128-bit key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedHash(u64, u64);

impl KeyedHash {
    /// A hasher with a random key.
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
