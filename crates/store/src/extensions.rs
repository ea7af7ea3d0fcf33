//! Table `extensions`.

use model::{DialledNumber, Extension, ExtensionNumber, Forwarding};

use crate::StoreError;
use crate::row::{Query, Reader, Table, enum_text, json};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "extensions",
    key: &["id"],
    rest: &[
        "user_id",
        "number",
        "display_name",
        "status",
        "username",
        "forwarding_enabled",
        "forwarding_number",
        "forwarding_mode",
        "voicemail_enabled",
        "do_not_disturb",
        "call_waiting",
        "ring_seconds",
        "created_at",
        "updated_at",
        "dial_permissions",
        "follow_me",
        "record_calls",
        "timezone",
    ],
};

pub(crate) fn bind(extension: &Extension, query: Query) -> Query {
    query
        .bind(extension.id.as_str().to_owned())
        .bind(extension.user.as_str().to_owned())
        .bind(extension.number.as_str().to_owned())
        .bind(extension.display_name.clone())
        .bind(enum_text(&extension.status))
        .bind(extension.username.to_string())
        .bind(i64::from(extension.forwarding.enabled))
        .bind(extension.forwarding.number.as_ref().map(DialledNumber::to_string))
        .bind(enum_text(&extension.forwarding.mode))
        .bind(i64::from(extension.voicemail_enabled))
        .bind(i64::from(extension.do_not_disturb))
        .bind(i64::from(extension.call_waiting))
        .bind(i64::from(extension.ring_seconds))
        .bind(extension.created_at.as_micros())
        .bind(extension.updated_at.as_micros())
        .bind(json(&extension.dial_permissions))
        .bind(extension.follow_me.as_ref().map(json))
        .bind(enum_text(&extension.record_calls))
        .bind(extension.timezone.as_ref().map(|zone| zone.name().to_owned()))
}

pub(crate) fn read(row: &Row) -> Result<Extension, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Extension {
        id: row.id()?,
        user: row.id()?,
        number: row.enum_text::<ExtensionNumber>()?,
        display_name: row.text()?,
        status: row.enum_text()?,
        username: row.text()?.into(),
        forwarding: Forwarding { enabled: row.flag()?, number: row.enum_or_none()?, mode: row.enum_text()? },
        voicemail_enabled: row.flag()?,
        do_not_disturb: row.flag()?,
        call_waiting: row.flag()?,
        ring_seconds: row.number()?,
        created_at: row.instant()?,
        updated_at: row.instant()?,
        dial_permissions: row.json()?,
        follow_me: row.json_or_none()?,
        record_calls: row.enum_text()?,
        timezone: row.enum_or_none()?,
    })
}
