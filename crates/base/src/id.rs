//! Typed ids in the documented API format, `ext_1234567890_abc123` (S31).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Now, Rng};

/// A kind of entity that has ids; all ids of one kind share a prefix.
pub trait Kind {
    /// The text before the first underscore: `ext` in `ext_1234567890_abc123`.
    const PREFIX: &'static str;
}

/// Id of a `T`. Clients must treat it as opaque: at most 128 characters of `[0-9A-Za-z_.-]`.
pub struct Id<T> {
    text: Arc<str>,
    of: PhantomData<fn() -> T>,
}

/// The text is not a valid id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id is 1 to 128 characters out of letters, digits, '_', '.' and '-'")
    }
}

impl std::error::Error for IdError {}

impl<T: Kind> Id<T> {
    /// A new id: prefix, Unix time in seconds, eight random characters (41 bits).
    pub fn new(now: Now, rng: &mut Rng) -> Self {
        let text = format!("{}_{:010}_{}", T::PREFIX, now.wall.as_secs().max(0), rng.base36(8));
        Id { text: text.into(), of: PhantomData }
    }
}

impl<T> Id<T> {
    /// Parse an id from outside, for example from a request.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if text.is_empty() || text.len() > 128 || !text.chars().all(legal) {
            return Err(IdError);
        }
        Ok(Id { text: text.into(), of: PhantomData })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        Id { text: Arc::clone(&self.text), of: PhantomData }
    }
}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl<T> Eq for Id<T> {}

impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> Serialize for Id<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Id::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Extension;
    impl Kind for Extension {
        const PREFIX: &'static str = "ext";
    }

    #[test]
    fn ids_keep_the_documented_shape() {
        let id = Id::<Extension>::new(Now::default(), &mut Rng::from_number(1)); // S31
        let parts: Vec<&str> = id.as_str().split('_').collect();
        assert_eq!((parts[0], parts[1].len(), parts[2].len()), ("ext", 10, 8));
        assert_eq!(Id::<Extension>::parse(id.as_str()), Ok(id));
        assert_eq!(Id::<Extension>::parse("a b"), Err(IdError));
        assert_eq!(Id::<Extension>::parse(""), Err(IdError));
    }
}
