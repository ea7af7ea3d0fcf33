//! Tri-state field of a PATCH request: absent (unchanged), `null` (cleared) or a value (set).

/// A change of an optional value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Patch<T> {
    /// Absent: unchanged.
    #[default]
    Keep,
    /// `null`: cleared.
    Clear,
    /// A value: set.
    Set(T),
}

impl<T> Patch<T> {
    /// The value after the change.
    pub(crate) fn of(self, old: Option<T>) -> Option<T> {
        match self {
            Patch::Keep => old,
            Patch::Clear => None,
            Patch::Set(new) => Some(new),
        }
    }

    /// Change the value in place.
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
