//! Tables `legs` (leg records of calls) and `open_legs` (dialogs to be ended with BYE after a crash).

use base::Timestamp;
use model::journal::{DialogSnapshot, ListenerId};
use model::{CallId, LegRecord};

use crate::StoreError;
use crate::bindings::{listener_address, listener_index};
use crate::row::{Query, Reader, Table, enum_text, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "legs",
    key: &["call_id", "place"],
    rest: &[
        "role",
        "party",
        "address",
        "sip_call_id",
        "started_at",
        "answered_at",
        "ended_at",
        "cause",
        "sip_status",
        "codec",
        "quality",
    ],
};

pub(crate) const OPEN: Table = Table {
    name: "open_legs",
    key: &["call_id", "dialog"],
    rest: &["transport", "listener", "local", "remote", "listener_address", "place", "record"],
};

pub(crate) fn bind((call, place, leg): &(&CallId, usize, &LegRecord), query: Query) -> Query {
    query
        .bind(call.as_str().to_owned())
        .bind(*place as i64)
        .bind(enum_text(&leg.role))
        .bind(leg.party.clone())
        .bind(leg.address.map(|a| a.to_string()))
        .bind(leg.sip_call_id.clone())
        .bind(leg.started_at.as_micros())
        .bind(leg.answered_at.map(Timestamp::as_micros))
        .bind(leg.ended_at.map(Timestamp::as_micros))
        .bind(leg.cause.as_ref().map(enum_text))
        .bind(leg.sip_status.map(i64::from))
        .bind(leg.codec.clone())
        .bind(leg.quality.as_ref().map(json))
}

/// A leg with its call and its index in the call.
pub(crate) fn read(row: &Row) -> Result<(CallId, i64, LegRecord), StoreError> {
    let mut row = Reader::new(&TABLE, row);
    let call = row.id()?;
    let place = row.number()?;
    let leg = LegRecord {
        role: row.enum_text()?,
        party: row.text()?,
        address: row.enum_or_none()?,
        sip_call_id: row.text()?,
        started_at: row.instant()?,
        answered_at: row.instant_or_none()?,
        ended_at: row.instant_or_none()?,
        cause: row.enum_or_none()?,
        sip_status: row.number_or_none()?,
        codec: row.text_or_none()?,
        quality: row.json_or_none()?,
    };
    Ok((call, place, leg))
}

pub(crate) fn bind_open((call, leg): &(&CallId, &DialogSnapshot), query: Query) -> Query {
    query
        .bind(call.as_str().to_owned())
        .bind(leg.dialog.clone())
        .bind(i64::from(leg.transport))
        .bind(listener_index(leg.listener))
        .bind(leg.local.to_string())
        .bind(leg.remote.to_string())
        .bind(listener_address(leg.listener))
        .bind(leg.place.map(i64::from))
        .bind(leg.record.as_ref().map(json))
}

pub(crate) fn read_open(row: &Row) -> Result<(CallId, DialogSnapshot), StoreError> {
    let mut row = Reader::new(&OPEN, row);
    let call = row.id()?;
    let mut leg = DialogSnapshot {
        dialog: row.bytes()?,
        transport: row.number()?,
        listener: ListenerId::Index(row.number()?),
        local: row.address()?,
        remote: row.address()?,
        place: None,
        record: None,
    };
    if let Some(address) = row.address_or_none()? {
        leg.listener = ListenerId::Address(address);
    }
    (leg.place, leg.record) = (row.number_or_none()?, row.json_or_none()?);
    Ok((call, leg))
}
