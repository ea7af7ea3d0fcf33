//! A map whose copies share what did not change: a snapshot costs reference counts, a change copies one part in 256.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PARTS: usize = 256;

/// Values in the order of their keys' hashes, which lie beside them: a search reads the keys of others only where hashes are equal.
type Part<K, V> = Arc<Vec<(u64, K, Arc<V>)>>;

/// How many entries walks over a table and its copies have passed: what the simulator holds each input to.
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
    /// What `key` names.
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

    /// Put a value; the old one is returned.
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

    /// Take a value away.
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

    /// Change a value in place, one that is made where there is none; it is copied only where a snapshot holds it too.
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values, part by part: the same order for the same keys, but not sorted.
    pub fn values(&self) -> impl Iterator<Item = &Arc<V>> {
        let entered = |part: &&Part<K, V>| self.steps.add(part.len() as u64);
        self.parts.iter().inspect(entered).flat_map(|part| part.iter().map(|(_, _, value)| value))
    }

    /// Whether nothing has changed between two copies of one table, without a look at what is in them.
    pub fn is_unchanged(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    /// Entries that walks have passed, of this table and its copies.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }
}

/// Keys are made by holders of API keys, not by strangers, so the hash needs no secret.
fn hash<Q: Hash + ?Sized>(key: &Q) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

/// Which part a key lies in.
fn part(hash: u64) -> usize {
    hash as usize % PARTS
}

/// Where in its part a key is, or belongs.
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
