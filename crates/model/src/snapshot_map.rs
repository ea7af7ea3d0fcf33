//! A persistent map: a clone costs reference counts, and a change copies one of 256 buckets.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUCKETS: usize = 256;

/// One bucket, sorted by key hash. The hash is stored with the key, so that a search compares keys only where hashes are equal.
type Bucket<K, V> = Arc<Vec<(u64, K, Arc<V>)>>;

/// Number of entries that iterations over a map and its clones have visited: the simulator bounds the work per input with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryCounter(Arc<AtomicU64>);

impl EntryCounter {
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
    buckets: Arc<[Bucket<K, V>]>,
    len: usize,
    steps: EntryCounter,
}

impl<K: Ord + Hash + Clone, V> Default for SnapshotMap<K, V> {
    fn default() -> Self {
        SnapshotMap {
            buckets: (0..BUCKETS).map(|_| Arc::default()).collect(),
            len: 0,
            steps: EntryCounter::default(),
        }
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
        let bucket = self.buckets.get(bucket(hash))?;
        let position = position(bucket, hash, key).ok()?;
        bucket.get(position).map(|(_, _, value)| value)
    }

    /// Insert a value and return the previous one.
    pub fn insert(&mut self, key: K, value: V) -> Option<Arc<V>> {
        let hash = hash(&key);
        let bucket = Arc::make_mut(Arc::make_mut(&mut self.buckets).get_mut(bucket(hash))?);
        let value = Arc::new(value);
        match position(bucket, hash, &key) {
            Ok(position) => bucket.get_mut(position).map(|(_, _, old)| std::mem::replace(old, value)),
            Err(position) => {
                bucket.insert(position, (hash, key, value));
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
        let bucket = Arc::make_mut(Arc::make_mut(&mut self.buckets).get_mut(bucket(hash))?);
        let position = position(bucket, hash, key).ok()?;
        self.len -= 1;
        Some(bucket.remove(position).2)
    }

    /// Update the value of `key` in place, inserting a default first where there is none. Copies the value only where a clone shares it.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Clone + Default,
    {
        let hash = hash(&key);
        let Some(bucket) = Arc::make_mut(&mut self.buckets).get_mut(bucket(hash)) else { return };
        let bucket = Arc::make_mut(bucket);
        let position = position(bucket, hash, &key).unwrap_or_else(|position| {
            bucket.insert(position, (hash, key, Arc::default()));
            self.len += 1;
            position
        });
        if let Some((_, _, value)) = bucket.get_mut(position) {
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
        let visited = |bucket: &&Bucket<K, V>| self.steps.add(bucket.len() as u64);
        self.buckets.iter().inspect(visited).flat_map(|bucket| bucket.iter().map(|(_, _, value)| value))
    }

    /// Whether two clones share all their buckets, without comparing entries. `false` is possible for equal maps.
    pub fn is_unchanged(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buckets, &other.buckets)
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
fn bucket(hash: u64) -> usize {
    hash as usize % BUCKETS
}

/// Position of a key in its bucket, or the position where it would be inserted.
fn position<K, V, Q>(bucket: &[(u64, K, Arc<V>)], hash: u64, key: &Q) -> Result<usize, usize>
where
    K: std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    bucket
        .binary_search_by(|(other, other_key, _)| other.cmp(&hash).then_with(|| other_key.borrow().cmp(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_does_not_see_later_changes() {
        let mut map = SnapshotMap::default();
        for n in 0..1000_u32 {
            map.insert(n, n);
        }
        let snapshot = map.clone();
        map.remove(&7);
        map.insert(8, 80);
        assert_eq!((snapshot.get(&7).map(|v| **v), snapshot.get(&8).map(|v| **v)), (Some(7), Some(8)));
        assert_eq!((map.get(&7), map.get(&8).map(|v| **v)), (None, Some(80)));
        assert_eq!((snapshot.len(), map.len(), map.values().count()), (1000, 999, 999));
        assert!(!snapshot.is_unchanged(&map) && map.is_unchanged(&map.clone()));
    }
}
