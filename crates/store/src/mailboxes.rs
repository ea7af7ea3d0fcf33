//! Table `mailboxes`: settings of mailboxes.

use base::Timestamp;
use model::Mailbox;
use model::voicemail::PinProof;

use crate::StoreError;
use crate::row::{Query, Reader, Table, enum_text};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "mailboxes",
    key: &["extension_id"],
    rest: &["pin", "language", "email", "email_audio", "greeting_at"],
};

pub(crate) fn bind(mailbox: &Mailbox, query: Query) -> Query {
    query
        .bind(mailbox.extension.as_str().to_owned())
        .bind(mailbox.pin.as_ref().map(|pin| pin.as_bytes().to_vec()))
        .bind(enum_text(&mailbox.language))
        .bind(mailbox.email.clone())
        .bind(i64::from(mailbox.email_audio))
        .bind(mailbox.greeting_at.map(Timestamp::as_micros))
}

pub(crate) fn read(row: &Row) -> Result<Mailbox, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Mailbox {
        extension: row.id()?,
        pin: row.array_or_none()?.map(PinProof::from_bytes),
        language: row.enum_text()?,
        email: row.text_or_none()?,
        email_audio: row.flag()?,
        greeting_at: row.instant_or_none()?,
    })
}
