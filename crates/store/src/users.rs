//! Table `users`.

use model::User;

use crate::StoreError;
use crate::row::{Query, Reader, Table};
use crate::sql::Row;

pub(crate) const TABLE: Table = Table { name: "users", key: &["id"], rest: &["created_at"] };

pub(crate) fn bind(user: &User, query: Query) -> Query {
    query.bind(user.id.as_str().to_owned()).bind(user.created_at.as_micros())
}

pub(crate) fn read(row: &Row) -> Result<User, StoreError> {
    let mut row = Reader::new(&TABLE, row);
    Ok(User { id: row.id()?, created_at: row.instant()? })
}
