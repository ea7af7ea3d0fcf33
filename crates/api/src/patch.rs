//! What is said of a value that may be missing: nothing, that it is to go, or what it is from now on.

/// In JSON: absent, `null`, a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patch<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is taken away.
    Clear,
    /// It is this.
    Set(T),
}

impl<T> Patch<T> {
    /// What is there afterwards.
    pub(crate) fn of(self, old: Option<T>) -> Option<T> {
        match self {
            Patch::Keep => old,
            Patch::Clear => None,
            Patch::Set(new) => Some(new),
        }
    }

    /// Do it to what is there.
    pub(crate) fn apply(self, place: &mut Option<T>) {
        *place = self.of(place.take());
    }

    pub(crate) fn is_keep(&self) -> bool {
        matches!(self, Patch::Keep)
    }

    pub(crate) fn map<U>(self, into: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Patch::Keep => Patch::Keep,
            Patch::Clear => Patch::Clear,
            Patch::Set(value) => Patch::Set(into(value)),
        }
    }
}
