//! Store operations of the scheduler: each is one transaction with its event, and repeating it has no further effect.

use base::Timestamp;
use model::{Occurrence, RecurringCallId};

use crate::store::Store;
use crate::{Audit, StoreError, events, occurrences};

impl Store {
    /// Claim a due instant, with its event. `false`, without an event, where another row exists, or the recurring call has changed since `since`.
    pub async fn claim(
        &self,
        occurrence: &Occurrence,
        since: Timestamp,
        event: Option<Audit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let done = occurrences::claim(&mut tx, occurrence, since).await?;
        if let Some(event) = event.filter(|_| done) {
            events::insert(&mut tx, &event).await?;
        }
        let is_stored = done || occurrences::is_stored(&mut tx, occurrence).await?;
        self.commit_with_events(tx).await?;
        Ok(is_stored)
    }

    /// Update an occurrence from its previous version, with its event. `false`, without an event, where the row has another version.
    pub async fn change_occurrence(
        &self,
        occurrence: &Occurrence,
        event: Option<Audit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let done = occurrences::change(&mut tx, occurrence).await?;
        if let Some(event) = event.filter(|_| done) {
            events::insert(&mut tx, &event).await?;
        }
        let is_stored = done || occurrences::is_stored(&mut tx, occurrence).await?;
        self.commit_with_events(tx).await?;
        Ok(is_stored)
    }

    /// Open occurrences whose lease expired at `now`.
    pub async fn abandoned_occurrences(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Occurrence>, StoreError> {
        occurrences::expired(&self.readers, now, limit).await
    }

    /// Open occurrences whose last owner was a process of `node`.
    pub async fn open_occurrences_of(&self, node: &str) -> Result<Vec<Occurrence>, StoreError> {
        occurrences::open_of(&self.readers, node).await
    }

    /// The last instant of each recurring call that has an occurrence.
    pub async fn last_occurrences(&self) -> Result<Vec<(RecurringCallId, Timestamp)>, StoreError> {
        occurrences::last(&self.readers).await
    }

    /// The occurrences of a recurring call that were due before `before`, newest first.
    pub async fn occurrences(
        &self,
        recurring: &RecurringCallId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Occurrence>, StoreError> {
        occurrences::page(&self.readers, recurring, before, limit).await
    }
}
