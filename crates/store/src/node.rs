//! Name of this node among the nodes of one database.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use crate::StoreError;

/// The name of the node that owns a data directory: generated once, stored in its file `node`, and unique. Rows owned by a node carry this name,
/// so it must not change.
pub fn node_name(data_dir: &Path) -> Result<Arc<str>, StoreError> {
    let path = data_dir.join("node");
    let io = |source| StoreError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().into()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(io)?;
    let name = format!("node_{:016x}", u64::from_be_bytes(bytes));
    fs::create_dir_all(data_dir).map_err(io)?;
    let mut file = File::create(&path).map_err(io)?;
    writeln!(file, "{name}").and_then(|()| file.sync_all()).map_err(io)?;
    Ok(name.into())
}
