//! Snapshot of a confirmed dialog for the journal, so that a later process can end the call.

use bytes::Bytes;

use super::state::{Session, SessionState, Up};
use super::{SessionId, connect};
use crate::dialog::Dialog;
use crate::endpoint::Cx;
use crate::{Hop, Uri};

/// The first line: version of the format.
const VERSION: &str = "1";
/// Maximum length of a journal record, in bytes.
const MAX_RECORD_BYTES: usize = 4096;
/// How far the CSeq of a restored dialog is above the recorded one: more requests than any call sends in between.
const CSEQ_GAP: u32 = 10_000;

impl Session {
    /// See [`crate::Endpoint::dialog`].
    pub(crate) fn journal(&self) -> Option<Vec<u8>> {
        let SessionState::Confirmed(up) = &self.state else { return None };
        let dialog = &up.dialog;
        let (local_seq, remote_seq) =
            (dialog.local_seq.to_string(), dialog.remote_seq.unwrap_or_default().to_string());
        let side = if self.caller { "caller" } else { "callee" };
        let mut fields: Vec<&str> = vec![
            VERSION,
            side,
            &dialog.call_id,
            &dialog.local_tag,
            &dialog.remote_tag,
            &dialog.local,
            &dialog.remote,
            &dialog.contact_user,
            &local_seq,
            &remote_seq,
            dialog.target.as_str(),
        ];
        fields.extend(dialog.route.iter().map(Uri::as_str));
        let text = fields.join("\n");
        // A field with a line feed could not be read back.
        let valid = text.len() <= MAX_RECORD_BYTES && fields.iter().all(|field| !field.contains('\n'));
        valid.then(|| text.into_bytes())
    }
}

/// Restore a dialog from a journal record; `None` if the record is malformed or of another version.
pub(crate) fn restore(cx: &Cx<'_>, id: SessionId, record: &[u8], hop: Hop) -> Option<Session> {
    let mut fields = std::str::from_utf8(record).ok()?.split('\n');
    if fields.next()? != VERSION {
        return None;
    }
    let caller = fields.next()? == "caller";
    let uri = |text: &str| Uri::parse(Bytes::copy_from_slice(text.as_bytes())).ok();
    let dialog = Dialog {
        call_id: fields.next()?.into(),
        local_tag: fields.next()?.into(),
        remote_tag: fields.next()?.into(),
        local: fields.next()?.into(),
        remote: fields.next()?.into(),
        contact_user: fields.next()?.into(),
        local_seq: fields.next()?.parse::<u32>().ok()?.checked_add(CSEQ_GAP)?,
        remote_seq: fields.next()?.parse().ok().filter(|seq| *seq > 0),
        target: uri(fields.next()?)?,
        route: fields.map(uri).collect::<Option<_>>()?,
        hop,
    };
    let key = connect::dialog_key(cx, &dialog);
    let up = Up { dialog, unacked: None, bye: None };
    Some(Session::new(id, key, SessionState::Confirmed(Box::new(up)), caller))
}
