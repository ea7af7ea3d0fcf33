//! Table `key_uses`: usage of API keys by day, route, client address and status (S61).

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Timestamp;
use model::ApiKeyId;

use crate::pool::{Conn, Pool};
use crate::row::{Reader, TENANT, Table};
use crate::sql::query;
use crate::{Store, StoreError};

/// Requests of one key on one route from one address with one status (S61).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// Id of the key.
    pub key: ApiKeyId,
    /// Method and route, without ids: `POST /api/v1/opensips/call/initiate`.
    pub route: String,
    /// Client address.
    pub ip: IpAddr,
    /// HTTP status of the responses.
    pub status: u16,
    /// Number of requests since the last report.
    pub count: u64,
    /// Time of the last request.
    pub last_used: Timestamp,
}

/// Usage of a key on one day (S61).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedBy {
    /// The day, in days since 1970-01-01.
    pub day: i64,
    /// Method and route, without ids.
    pub route: String,
    /// Client address.
    pub ip: String,
    /// HTTP status of the responses.
    pub status: u16,
    /// Number of requests.
    pub count: u64,
    /// Time of the last request.
    pub last_used: Timestamp,
}

const USES: Table =
    Table { name: "key_uses", key: &["day", "route", "ip", "status"], rest: &["uses", "last_used"] };

impl Store {
    /// Usage of a key, newest first: at most `limit` rows after the first `skip`.
    pub async fn key_uses(&self, key: &ApiKeyId, skip: u64, limit: u32) -> Result<Vec<UsedBy>, StoreError> {
        let rows = query(
            "SELECT day, route, ip, status, uses, last_used FROM key_uses WHERE tenant = $1 AND key_id = $2 \
             ORDER BY day DESC, last_used DESC, route, ip, status LIMIT $3 OFFSET $4",
        )
        .bind(TENANT)
        .bind(key.as_str())
        .bind(i64::from(limit))
        .bind(skip as i64)
        .fetch_all(&self.readers)
        .await?;
        let read = |row| {
            let mut row = Reader::new(&USES, row);
            Ok(UsedBy {
                day: row.number()?,
                route: row.text()?,
                ip: row.text()?,
                status: row.number()?,
                count: row.number()?,
                last_used: row.instant()?,
            })
        };
        rows.iter().map(read).collect()
    }
}

const DAY_SECS: i64 = 86_400;

pub(crate) async fn add(tx: &mut Conn, uses: &[KeyUse]) -> Result<(), StoreError> {
    // Concurrent nodes touch rows in the same order, to avoid deadlocks.
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
