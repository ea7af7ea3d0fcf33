//! What the scheduler asks of the store: each of these is one transaction, with the event that belongs to it. Told twice, it happens once.

use base::Timestamp;
use model::{Occurrence, RecurringCallId};

use crate::store::Store;
use crate::{Audit, StoreError, audit, occurrences};

impl Store {
    /// Make the row of an instant that is due, and tell of it. `false`, and nothing is told, where it is there already or the recurring
    /// call is not any more what it was `since` then.
    pub async fn claim(
        &self,
        occurrence: &Occurrence,
        since: Timestamp,
        event: Option<Audit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let done = occurrences::claim(&mut tx, occurrence, since).await?;
        if let Some(event) = event.filter(|_| done) {
            audit::insert(&mut tx, &event).await?;
        }
        let stands = done || occurrences::stands(&mut tx, occurrence).await?;
        self.commit_told(tx).await?;
        Ok(stands)
    }

    /// Put an occurrence in the place of its version before, and tell of it. `false`, and nothing is told, where somebody was faster.
    pub async fn change_occurrence(
        &self,
        occurrence: &Occurrence,
        event: Option<Audit>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.writer.begin().await?;
        let done = occurrences::change(&mut tx, occurrence).await?;
        if let Some(event) = event.filter(|_| done) {
            audit::insert(&mut tx, &event).await?;
        }
        let stands = done || occurrences::stands(&mut tx, occurrence).await?;
        self.commit_told(tx).await?;
        Ok(stands)
    }

    /// Occurrences that are not over and that nobody holds at `now`.
    pub async fn forsaken_occurrences(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Occurrence>, StoreError> {
        occurrences::forsaken(&self.readers, now, limit).await
    }

    /// Occurrences that are not over and were last held by `node`, in this life of it or an earlier one.
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
