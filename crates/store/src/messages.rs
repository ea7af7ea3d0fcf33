//! Table `voicemail_messages`: metadata of messages; the audio is in files.

use base::Timestamp;
use model::{CallId, VoicemailMessage};

use crate::StoreError;
use crate::row::{Query, Reader, Table, enum_text};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "voicemail_messages",
    key: &["id"],
    rest: &["extension_id", "user_id", "state", "from_number", "call_id", "left_at", "millis", "heard_at"],
};

pub(crate) fn bind(message: &VoicemailMessage, query: Query) -> Query {
    query
        .bind(message.id.as_str().to_owned())
        .bind(message.extension.as_str().to_owned())
        .bind(message.user.as_str().to_owned())
        .bind(enum_text(&message.state))
        .bind(message.from_number.clone())
        .bind(message.call.as_ref().map(CallId::to_string))
        .bind(message.left_at.as_micros())
        .bind(i64::from(message.millis))
        .bind(message.heard_at.map(Timestamp::as_micros))
}

pub(crate) fn read(row: &Row) -> Result<VoicemailMessage, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(VoicemailMessage {
        id: row.id()?,
        extension: row.id()?,
        user: row.id()?,
        state: row.enum_text()?,
        from_number: row.text()?,
        call: row.id_or_none()?,
        left_at: row.instant()?,
        millis: row.number()?,
        heard_at: row.instant_or_none()?,
    })
}
