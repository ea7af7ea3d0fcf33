//! Voicemail audio without a database row, left by a crash, a lost journal or an older backup of the database. It is a user's message.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::Timestamp;
use model::{ExtensionId, MessageId};
use store::{EventFilter, Store, StoreError};

/// Events per page.
const PAGE_SIZE: u32 = 500;

/// Audio of a message without a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Orphan {
    pub(super) extension: ExtensionId,
    pub(super) id: MessageId,
    /// Start of the recording by its id, else the modification time of its file.
    pub(super) left_at: Timestamp,
}

/// Find the orphans in the voicemail folder. Files written after `before` belong to this run, and get their row soon.
pub(super) fn find(
    folder: &Path,
    before: SystemTime,
    known: impl Fn(&ExtensionId, &MessageId) -> bool,
) -> io::Result<Vec<Orphan>> {
    let mut found = Vec::new();
    let boxes = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        boxes => boxes?,
    };
    for owner in boxes {
        let owner = owner?;
        let Ok(extension) = ExtensionId::parse(&owner.file_name().to_string_lossy()) else { continue };
        if !owner.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(owner.path())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let Some(stem) = name.strip_suffix(".ogg").filter(|stem| stem.starts_with("vm_")) else {
                continue;
            };
            let Ok(id) = MessageId::parse(stem) else { continue };
            let written = file.metadata()?.modified()?;
            if written < before && !known(&extension, &id) {
                let left_at = recorded_at(stem).unwrap_or_else(|| timestamp(written));
                found.push(Orphan { extension: extension.clone(), id, left_at });
            }
        }
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

/// The start of the recording: an id contains the seconds since the epoch.
fn recorded_at(id: &str) -> Option<Timestamp> {
    let seconds: i64 = id.split('_').nth(1)?.parse().ok()?;
    Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)?))
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_micros(since.as_micros() as i64)
}

/// Messages deleted on purpose since `from`: a crash between the deletions of row and file must not restore them.
pub(super) async fn deleted(store: &Store, from: Timestamp) -> Result<BTreeSet<String>, StoreError> {
    let mut deleted = BTreeSet::new();
    for kind in ["voicemail_deleted", "voicemail_dropped"] {
        let mut before = None;
        loop {
            let filter = EventFilter { kind: Some(kind.into()), user: None, before, limit: PAGE_SIZE };
            let page = store.events(&filter).await?;
            let is_last = page.events.last().is_none_or(|event| event.at < from);
            deleted.extend(page.events.into_iter().map(|event| event.subject));
            before = page.next;
            if is_last || before.is_none() {
                break;
            }
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_audio_of_messages_without_a_row_is_an_orphan() {
        let folder = std::env::temp_dir().join(format!("centralita-orphans-{}", std::process::id()));
        fs::create_dir_all(folder.join("ext_1")).unwrap();
        for name in ["vm_1700000001_a.ogg", "vm_1700000002_b.ogg", "vm_1700000003_c.new", "greeting.ogg"] {
            fs::write(folder.join("ext_1").join(name), b"OggS").unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(60);
        let known = |_: &ExtensionId, id: &MessageId| id.as_str() == "vm_1700000002_b";
        let orphan = Orphan {
            extension: ExtensionId::parse("ext_1").unwrap(),
            id: MessageId::parse("vm_1700000001_a").unwrap(),
            left_at: Timestamp::from_micros(1_700_000_001_000_000),
        };
        assert_eq!(find(&folder, later, known).unwrap(), [orphan]);
        assert_eq!(find(&folder, UNIX_EPOCH, known).unwrap(), [], "of a call that is on");
        fs::remove_dir_all(folder).unwrap();
    }
}
