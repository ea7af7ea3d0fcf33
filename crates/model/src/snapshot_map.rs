//! A persistent map: a clone costs reference counts, and a change copies one of 256 buckets.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PARTS: usize = 256;

/// One bucket, sorted by key hash. The hash is stored with the key, so that a search compares keys only where hashes are equal.
type Part<K, V> = Arc<Vec<(u64, K, Arc<V>)>>;

/// Number of entries that iterations over a map and its clones have visited: the simulator bounds the work per input with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Arc<AtomicU64>);

impl Steps {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A map for many readers and one writer. Readers hold a clone; the writer changes its own and hands out clones.
#[derive(Clone, Debug)]
pub struct SnapshotMap<K, V> {
    parts: Arc<[Part<K, V>]>,
    len: usize,
    steps: Steps,
}

impl<K: Ord + Hash + Clone, V> Default for SnapshotMap<K, V> {
    fn default() -> Self {
        SnapshotMap { parts: (0..PARTS).map(|_| Arc::default()).collect(), len: 0, steps: Steps::default() }
    }
}

impl<K: Ord + Hash + Clone, V> SnapshotMap<K, V> {
    /// The value of `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + Hash + ?Sized,
    {
        let hash = hash(key);
        let part = self.parts.get(part(hash))?;
        let place = place(part, hash, key).ok()?;
        part.get(place).map(|(_, _, value)| value)
    }

    /// Insert a value and return the previous one.
    pub fn insert(&mut self, key: K, value: V) -> Option<Arc<V>> {
        let hash = hash(&key);
        let part = Arc::make_mut(Arc::make_mut(&mut self.parts).get_mut(part(hash))?);
        let value = Arc::new(value);
        match place(part, hash, &key) {
            Ok(place) => part.get_mut(place).map(|(_, _, old)| std::mem::replace(old, value)),
            Err(place) => {
                part.insert(place, (hash, key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Remove a value.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + Hash + ?Sized,
    {
        let hash = hash(key);
        let part = Arc::make_mut(Arc::make_mut(&mut self.parts).get_mut(part(hash))?);
        let place = place(part, hash, key).ok()?;
        self.len -= 1;
        Some(part.remove(place).2)
    }

    /// Update the value of `key` in place, inserting a default first where there is none. Copies the value only where a clone shares it.
    pub fn alter(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Clone + Default,
    {
        let hash = hash(&key);
        let Some(part) = Arc::make_mut(&mut self.parts).get_mut(part(hash)) else { return };
        let part = Arc::make_mut(part);
        let place = place(part, hash, &key).unwrap_or_else(|place| {
            part.insert(place, (hash, key, Arc::default()));
            self.len += 1;
            place
        });
        if let Some((_, _, value)) = part.get_mut(place) {
            change(Arc::make_mut(value));
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values, bucket by bucket: a stable order for the same keys, but not sorted.
    pub fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        let entered = |part: &&Part<K, V>| self.steps.add(part.len() as u64);
        self.parts.iter().inspect(entered).flat_map(|part| part.iter().map(|(_, _, value)| value))
    }

    /// Whether two clones share all their buckets, without comparing entries. `false` is possible for equal maps.
    pub fn is_unchanged(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    /// Number of entries that iterations over this map and its clones have visited.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }
}

/// Keys are created by holders of API keys, not by anonymous peers, so the hash needs no secret.
fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

/// Index of the bucket of a hash.
fn part(hash: u64) -> usize {
    hash as usize % PARTS
}

/// Position of a key in its bucket, or the position where it would be inserted.
fn place<K, V, Q>(part: &[(u64, K, Arc<V>)], hash: u64, key: &Q) -> Result<usize, usize>
where
    K: std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    part.binary_search_by(|(other, theirs, _)| other.cmp(&hash).then_with(|| theirs.borrow().cmp(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_does_not_see_later_changes() {
        let mut table = SnapshotMap::default();
        for n in 0..1000_u32 {
            table.insert(n, n);
        }
        let snapshot = table.clone();
        table.remove(&7);
        table.insert(8, 80);
        assert_eq!((snapshot.get(&7).map(|v| **v), snapshot.get(&8).map(|v| **v)), (Some(7), Some(8)));
        assert_eq!((table.get(&7), table.get(&8).map(|v| **v)), (None, Some(80)));
        assert_eq!((snapshot.len(), table.len(), table.values().count()), (1000, 999, 999));
        assert!(!snapshot.is_unchanged(&table) && table.is_unchanged(&table.clone()));
    }
}
