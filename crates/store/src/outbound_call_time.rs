//! Table `outside_time`: duration of outbound legs, and the user charged for them (security.md row 7).

use std::collections::BTreeMap;

use base::Timestamp;
use model::CallId;
use model::journal::{CallEvent, OutboundCallTime};

use crate::pool::Conn;
use crate::row::TENANT;
use crate::sql::{Row, query};
use crate::{Store, StoreError};

/// Apply journal records. An ended leg stays ended, even if its answer is fed again.
pub(crate) async fn feed(
    tx: &mut Conn,
    events: &BTreeMap<&CallId, Vec<&CallEvent>>,
    node: &str,
) -> Result<(), StoreError> {
    for event in events.values().flatten() {
        let CallEvent::Outside(time) = event else { continue };
        query(
            "INSERT INTO outside_time (tenant, call_id, leg, user_id, began_at, ended_at, node) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, call_id, leg) \
             DO UPDATE SET ended_at = COALESCE(excluded.ended_at, outside_time.ended_at)",
        )
        .bind(TENANT)
        .bind(time.call.as_str())
        .bind(i64::from(time.leg))
        .bind(time.user.as_str())
        .bind(time.since.as_micros())
        .bind(time.until.map(Timestamp::as_micros))
        .bind(node)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

impl Store {
    /// Outbound time that ended since an instant, of all nodes, and of the legs that are up on this node.
    pub async fn outside_since(&self, since: Timestamp) -> Result<Vec<OutboundCallTime>, StoreError> {
        let rows = query(
            "SELECT call_id, leg, user_id, began_at, ended_at FROM outside_time \
             WHERE tenant = $1 AND (ended_at >= $2 OR ended_at IS NULL AND node = $3) ORDER BY began_at, call_id, leg",
        )
        .bind(TENANT)
        .bind(since.as_micros())
        .bind(&*self.node)
        .fetch_all(self.readers())
        .await?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<OutboundCallTime, StoreError> {
    let damaged = |fault: String| StoreError::Damaged { table: "outside_time", fault };
    let (call, leg, user): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (began, ended): (i64, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
    Ok(OutboundCallTime {
        call: CallId::parse(&call).map_err(|error| damaged(error.to_string()))?,
        leg: u32::try_from(leg).map_err(|error| damaged(error.to_string()))?,
        user: model::UserId::parse(&user).map_err(|error| damaged(error.to_string()))?,
        since: Timestamp::from_micros(began),
        until: ended.map(Timestamp::from_micros),
    })
}
