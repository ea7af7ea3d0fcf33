//! Table `credentials`: digest HA1 of SIP credentials, never a password.

use model::{Credential, ExtensionId, Ha1};

use crate::StoreError;
use crate::row::{Query, Reader, Table};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table {
    name: "credentials",
    key: &["username"],
    rest: &["user_id", "extension_id", "ha1_md5", "ha1_sha256", "created_at", "ha1_by_number"],
};

pub(crate) fn bind(credential: &Credential, query: Query) -> Query {
    query
        .bind(credential.username.to_string())
        .bind(credential.user.as_str().to_owned())
        .bind(credential.extension.as_ref().map(ExtensionId::to_string))
        .bind(credential.ha1.md5.to_vec())
        .bind(credential.ha1.sha256.to_vec())
        .bind(credential.created_at.as_micros())
        .bind(credential.ha1_by_number.as_ref().map(|ha1| [ha1.md5.as_slice(), &ha1.sha256].concat()))
}

pub(crate) fn read(row: &Row) -> Result<Credential, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(Credential {
        username: row.text()?.into(),
        user: row.id()?,
        extension: row.id_or_none()?,
        ha1: Ha1 { md5: row.array()?, sha256: row.array()? },
        created_at: row.instant()?,
        ha1_by_number: row.bytes_or_none()?.map(|both| by_number(&both)).transpose()?,
    })
}

/// Decode both hashes from one column: they exist together or not at all.
fn by_number(both: &[u8]) -> Result<Ha1, StoreError> {
    let damaged =
        || StoreError::Damaged { table: TABLE.name, fault: "ha1_by_number has the wrong length".into() };
    let (md5, sha256) = both.split_at_checked(16).ok_or_else(damaged)?;
    let (md5, sha256) = (md5.try_into().map_err(|_| damaged())?, sha256.try_into().map_err(|_| damaged())?);
    Ok(Ha1 { md5, sha256 })
}
