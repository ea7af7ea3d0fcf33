//! Table `ladders`: SIP messages of ended calls, as compressed by the switch.

use model::CallId;

use crate::StoreError;
use crate::pool::Pool;
use crate::row::{Query, TENANT, Table};
use crate::sql::query;

pub(crate) const TABLE: Table = Table { name: "ladders", key: &["call_id"], rest: &["messages"] };

pub(crate) fn bind((call, blob): &(&CallId, &[u8]), query: Query) -> Query {
    query.bind(call.as_str().to_owned()).bind(blob.to_vec())
}

pub(crate) async fn one(pool: &Pool, id: &CallId) -> Result<Option<Vec<u8>>, StoreError> {
    let row = query("SELECT messages FROM ladders WHERE tenant = $1 AND call_id = $2")
        .bind(TENANT)
        .bind(id.as_str())
        .fetch_optional(pool)
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}
