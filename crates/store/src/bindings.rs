//! Table `bindings`: registered contacts.

use std::sync::Arc;

use model::journal::{Binding, ListenerId};

use crate::StoreError;
use crate::row::{Query, Reader, Table, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "bindings",
    key: &["username", "contact"],
    rest: &[
        "path",
        "call_id",
        "cseq",
        "q",
        "expires_at",
        "created_at",
        "user_agent",
        "transport",
        "listener",
        "local",
        "remote",
        "flow_epoch",
        "flow_number",
        "node",
        "listener_address",
        "instance",
        "reg_id",
    ],
};

/// Bind a row with the node that holds the phone's flow.
pub(crate) fn bind_at(node: &str, binding: &Binding, query: Query) -> Query {
    bind(binding, query)
        .bind(node)
        .bind(listener_address(binding.listener))
        .bind(binding.instance.clone())
        .bind(binding.reg_id.clone())
}

fn bind(binding: &Binding, query: Query) -> Query {
    query
        .bind(binding.username.to_string())
        .bind(binding.contact.clone())
        .bind(json(&binding.path))
        .bind(binding.call_id.clone())
        .bind(i64::from(binding.cseq))
        .bind(i64::from(binding.q))
        .bind(binding.expires_at.as_micros())
        .bind(binding.created_at.as_micros())
        .bind(binding.user_agent.clone())
        .bind(i64::from(binding.transport))
        .bind(listener_index(binding.listener))
        .bind(binding.local.to_string())
        .bind(binding.remote.to_string())
        .bind(i64::from(binding.flow.0))
        .bind(i64::from(binding.flow.1))
}

pub(crate) fn read(row: &Row) -> Result<Binding, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    let mut binding = Binding {
        username: Arc::from(row.text()?),
        contact: row.text()?,
        path: row.json()?,
        call_id: row.text()?,
        cseq: row.number()?,
        q: row.number()?,
        expires_at: row.instant()?,
        created_at: row.instant()?,
        user_agent: row.text()?,
        transport: row.number()?,
        listener: ListenerId::Index(row.number()?),
        local: row.address()?,
        remote: row.address()?,
        flow: (row.number()?, row.number()?),
        instance: None,
        reg_id: None,
    };
    row.text()?; // column `node`
    if let Some(address) = row.address_or_none()? {
        binding.listener = ListenerId::Address(address);
    }
    (binding.instance, binding.reg_id) = (row.text_or_none()?, row.text_or_none()?);
    Ok(binding)
}

/// Columns `listener` and `listener_address`: rows of older versions have only the index, newer ones the address.
pub(crate) fn listener_index(listener: ListenerId) -> i64 {
    match listener {
        ListenerId::Index(index) => i64::from(index),
        ListenerId::Address(_) => 0,
    }
}

pub(crate) fn listener_address(listener: ListenerId) -> Option<String> {
    match listener {
        ListenerId::Index(_) => None,
        ListenerId::Address(address) => Some(address.to_string()),
    }
}
