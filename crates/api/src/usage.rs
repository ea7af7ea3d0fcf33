//! Use of API keys (S61): counted in memory and written periodically, so that no request waits for the database.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use base::Timestamp;
use model::ApiKeyId;
use store::{KeyUse, Store};

use crate::limits::KEY_USE_ROWS;

type Row = (ApiKeyId, String, IpAddr, u16);

/// Uses counted since the last write.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    rows: Mutex<HashMap<Row, (u64, Timestamp)>>,
}

impl Usage {
    /// Count one answered request.
    pub(crate) fn count(&self, key: &ApiKeyId, route: &str, ip: IpAddr, status: u16, at: Timestamp) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let route = if rows.len() < KEY_USE_ROWS { route } else { "" };
        let row = rows.entry((key.clone(), route.to_owned(), ip, status)).or_default();
        *row = (row.0 + 1, at);
    }

    /// When a key was last used, among the uses that are not yet written.
    pub(crate) fn last_used(&self, key: &ApiKeyId) -> Option<Timestamp> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().filter(|(row, _)| row.0 == *key).map(|(_, (_, at))| *at).max()
    }

    /// Write the counted uses. If the write fails, they are kept for the next one.
    pub(crate) async fn flush(&self, store: &Store) {
        let taken = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        let uses: Vec<KeyUse> = taken
            .into_iter()
            .map(|((key, route, ip, status), (count, last_used))| KeyUse {
                key,
                route,
                ip,
                status,
                count,
                last_used,
            })
            .collect();
        if let Err(error) = store.key_used(&uses).await {
            tracing::error!(%error, "API key uses could not be written; retrying later");
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            for one in uses {
                let row = rows.entry((one.key, one.route, one.ip, one.status)).or_default();
                *row = (row.0 + one.count, row.1.max(one.last_used));
            }
        }
    }
}
