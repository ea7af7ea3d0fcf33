//! A persistent sorted map: a clone costs a reference count, a change copies one chunk and the list of chunks, and a page costs its own
//! length.

use std::sync::Arc;

use crate::snapshot_map::EntryCounter;

/// A chunk longer than this is split in two.
const CHUNK: usize = 256;

/// Entries in key order; never empty.
type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A persistent sorted map. Readers hold a clone; the writer changes its own and hands out clones.
#[derive(Clone, Debug)]
pub(crate) struct SortedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    steps: EntryCounter,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        SortedMap { chunks: Arc::default(), steps: EntryCounter::default() }
    }
}

impl<K: Ord + Clone, V: Clone> SortedMap<K, V> {
    /// The value of `key`.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let position = chunk.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        chunk.get(position).map(|(_, value)| value)
    }

    /// Insert a value, replacing one of the same key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            return chunks.push(Arc::new(vec![(key, value)]));
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(position) => {
                if let Some(entry) = chunk.get_mut(position) {
                    entry.1 = value;
                }
            }
            Err(position) => {
                chunk.insert(position, (key, value));
                if chunk.len() > CHUNK {
                    let upper = chunk.split_off(CHUNK / 2);
                    chunks.insert(at + 1, Arc::new(upper));
                }
            }
        }
    }

    /// Remove a value.
    pub(crate) fn remove(&mut self, key: &K) {
        let at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else { return };
        if let Ok(position) = chunk.binary_search_by(|(other, _)| other.cmp(key)) {
            let chunk = Arc::make_mut(chunk);
            chunk.remove(position);
            if chunk.is_empty() {
                chunks.remove(at);
            }
        }
    }

    /// Iterate over the entries after those for which `before` is true. `before` must be true for a prefix of the order and false for the rest.
    pub(crate) fn after<'s>(
        &'s self,
        before: &dyn Fn(&K) -> bool,
    ) -> impl Iterator<Item = (&'s K, &'s V)> + use<'s, K, V> {
        let last_before = |chunk: &Chunk<K, V>| chunk.last().is_some_and(|(key, _)| before(key));
        let skipped = self.chunks.partition_point(last_before);
        let within =
            self.chunks.get(skipped).map_or(0, |chunk| chunk.partition_point(|(key, _)| before(key)));
        let rest = self.chunks.iter().skip(skipped).flat_map(|chunk| chunk.iter());
        rest.skip(within).inspect(|_| self.steps.add(1)).map(|(key, value)| (key, value))
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Index of the chunk that contains a key, or would contain it.
    fn chunk_of(&self, key: &K) -> usize {
        let begins = |chunk: &Chunk<K, V>| chunk.first().is_some_and(|(first, _)| first <= key);
        self.chunks.partition_point(begins).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_in_order_through_changes_and_a_snapshot_sees_none_of_them() {
        let mut sorted_map = SortedMap::default();
        for n in (0..3000_u32).map(|n| n * 7919 % 3000) {
            sorted_map.insert(n, n);
        }
        let snapshot = sorted_map.clone();
        for n in (0..3000).filter(|n| n % 3 != 0) {
            sorted_map.remove(&n);
        }
        sorted_map.insert(9, 90);
        let keys = |sorted_map: &SortedMap<u32, u32>, from: u32| -> Vec<u32> {
            sorted_map.after(&|key| *key < from).map(|(key, _)| *key).collect()
        };
        assert_eq!(keys(&snapshot, 0), (0..3000).collect::<Vec<_>>());
        assert_eq!(keys(&sorted_map, 1000), (1000..3000).filter(|n| n % 3 == 0).collect::<Vec<_>>());
        assert_eq!((snapshot.get(&9), sorted_map.get(&9), sorted_map.get(&10)), (Some(&9), Some(&90), None));
        for n in 0..3000 {
            sorted_map.remove(&n);
        }
        assert_eq!((keys(&sorted_map, 0).len(), keys(&snapshot, 2999)), (0, vec![2999]));
    }
}
