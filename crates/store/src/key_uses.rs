//! Table `key_uses`: which key was used where, from where and with what outcome, by day (S61).

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Timestamp;
use model::ApiKeyId;

use crate::StoreError;
use crate::pool::{Conn, Pool};
use crate::row::TENANT;
use crate::sql::query;

/// Requests that one key made on one route from one address with one outcome (S61).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// The key.
    pub key: ApiKeyId,
    /// `POST /api/v1/opensips/call/initiate`: the route, never the ids in it.
    pub route: String,
    /// From where.
    pub ip: IpAddr,
    /// HTTP status of the answers.
    pub status: u16,
    /// How many since the last report.
    pub count: u64,
    /// The last of them.
    pub last_used: Timestamp,
}

const DAY_SECS: i64 = 86_400;

pub(crate) async fn add(tx: &mut Conn, uses: &[KeyUse]) -> Result<(), StoreError> {
    // Nodes that count at once touch rows in the same order, so that none waits for one that waits for it.
    let mut uses: Vec<&KeyUse> = uses.iter().collect();
    uses.sort_by(|a, b| (&a.key, &a.route, a.ip, a.status).cmp(&(&b.key, &b.route, b.ip, b.status)));
    for one in uses {
        query(
            "INSERT INTO key_uses (tenant, key_id, day, route, ip, status, uses, last_used) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (tenant, key_id, day, route, ip, status) \
             DO UPDATE SET uses = key_uses.uses + excluded.uses, last_used = excluded.last_used",
        )
        .bind(TENANT)
        .bind(one.key.as_str())
        .bind(one.last_used.as_secs().div_euclid(DAY_SECS))
        .bind(one.route.as_str())
        .bind(one.ip.to_string())
        .bind(i64::from(one.status))
        .bind(one.count as i64)
        .bind(one.last_used.as_micros())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(crate) async fn last(pool: &Pool) -> Result<BTreeMap<ApiKeyId, Timestamp>, StoreError> {
    let rows = query("SELECT key_id, MAX(last_used) FROM key_uses WHERE tenant = $1 GROUP BY key_id")
        .bind(TENANT)
        .fetch_all(pool)
        .await?;
    let mut last = BTreeMap::new();
    for row in rows {
        let key: String = row.try_get(0)?;
        if let Ok(key) = ApiKeyId::parse(&key) {
            last.insert(key, Timestamp::from_micros(row.try_get(1)?));
        }
    }
    Ok(last)
}
