//! Voicemail recordings in progress. A recording outlives its call, because most messages end with the caller hanging up; it is complete once the
//! file is closed and keep or discard is decided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use media::{FileFormat, FileResult, MediaCommand, RecordingId, StartRecording};
use model::voicemail::Fact;
use model::{CallId, ExtensionId, MessageId, MessageState, UserId, VoicemailMessage};

use super::{Recorded, Taken, VoicemailEffect, greeting_path, message_path};
use crate::call::Call;
use crate::core::{Core, Cx};
use crate::{Output, limits};

/// Object that a recording becomes, with its id or file name.
#[derive(Clone, Debug)]
enum Subject {
    Message(VoicemailMessage),
    Greeting { extension: ExtensionId, name: Arc<str> },
}

/// Whether a recording is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Disposition {
    Open,
    Keep,
    Forget,
}

#[derive(Clone, Debug)]
pub(crate) struct VoicemailRecording {
    pub(crate) call: CallId,
    subject: Subject,
    /// Result; `None` while recording.
    pub(crate) came_to: Option<Recorded>,
    /// Set when the file is closed: `true` if a file exists, `false` if it could not be written.
    filed: Option<bool>,
    pub(crate) fate: Disposition,
}

/// All voicemail recordings in progress, with indexes by call and by mailbox.
#[derive(Debug, Default)]
pub(crate) struct VoicemailRecordings {
    pub(crate) running: BTreeMap<RecordingId, VoicemailRecording>,
    by_call: BTreeMap<CallId, BTreeSet<RecordingId>>,
    /// Number of messages being recorded per mailbox.
    by_box: BTreeMap<ExtensionId, usize>,
    next: u32,
}

/// First [`RecordingId`] of voicemail recordings; ids of call recordings start at 0.
const FIRST: u32 = 1 << 31;

impl VoicemailRecordings {
    /// Number of messages being recorded for a mailbox.
    pub(crate) fn for_box(&self, extension: &ExtensionId) -> usize {
        self.by_box.get(extension).copied().unwrap_or(0)
    }

    /// Id of the call whose caller is recorded.
    pub(crate) fn call_of(&self, recording: RecordingId) -> Option<&CallId> {
        self.running.get(&recording).map(|taking| &taking.call)
    }

    fn insert(&mut self, recording: RecordingId, taking: VoicemailRecording) {
        self.by_call.entry(taking.call.clone()).or_default().insert(recording);
        if let Subject::Message(message) = &taking.subject {
            *self.by_box.entry(message.extension.clone()).or_default() += 1;
        }
        self.running.insert(recording, taking);
    }

    fn remove(&mut self, recording: RecordingId) -> Option<VoicemailRecording> {
        let taking = self.running.remove(&recording)?;
        if let Some(all) = self.by_call.get_mut(&taking.call) {
            all.remove(&recording);
            if all.is_empty() {
                self.by_call.remove(&taking.call);
            }
        }
        if let Subject::Message(message) = &taking.subject
            && let Some(count) = self.by_box.get_mut(&message.extension)
        {
            *count -= 1;
            if *count == 0 {
                self.by_box.remove(&message.extension);
            }
        }
        Some(taking)
    }
}

/// Whether the id belongs to a voicemail recording.
pub(crate) fn is_voicemail_recording(recording: RecordingId) -> bool {
    recording.0 >= FIRST
}

impl Call {
    /// Start a recording of the caller. `None` if the caller's leg is gone.
    pub(crate) fn take(
        &mut self,
        cx: &mut Cx<'_>,
        (extension, user): (&ExtensionId, &UserId),
        taken: Taken,
    ) -> Option<RecordingId> {
        let leg = self.leg(0)?;
        let (left, worker, id) = (leg.stream.id, leg.stream.port.worker, self.record.id.clone());
        let (subject, name): (Subject, Arc<str>) = match taken {
            Taken::Message => {
                let message = VoicemailMessage {
                    id: MessageId::new(cx.now, &mut cx.core.rng),
                    extension: extension.clone(),
                    user: user.clone(),
                    state: MessageState::Recording,
                    from_number: self.shown_number().to_owned(),
                    call: Some(id.clone()),
                    left_at: cx.now.wall,
                    millis: 0,
                    heard_at: None,
                };
                let name = message_path(extension, &message.id).into();
                cx.out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(Fact::Begun(message.clone())))));
                (Subject::Message(message), name)
            }
            Taken::Greeting => {
                let name: Arc<str> = format!("{}-{}", greeting_path(extension), cx.core.rng.base36(8)).into();
                (Subject::Greeting { extension: extension.clone(), name: Arc::clone(&name) }, name)
            }
        };
        let recording = RecordingId(FIRST | cx.core.voicemail_recordings.next);
        cx.core.voicemail_recordings.next = (cx.core.voicemail_recordings.next + 1) % FIRST;
        let taking =
            VoicemailRecording { call: id, subject, came_to: None, filed: None, fate: Disposition::Open };
        cx.core.voicemail_recordings.insert(recording, taking);
        let record = StartRecording {
            recording,
            left,
            right: None,
            name,
            format: FileFormat::Opus,
            longest: Some(taken.longest()),
            quiet: Some(limits::QUIET),
        };
        cx.out.push(Output::Media { worker, command: MediaCommand::StartRecording(Box::new(record)) });
        Some(recording)
    }
}

impl Core {
    /// The recorded caller has hung up: a message is kept, an unconfirmed greeting is discarded.
    pub(crate) fn on_caller_gone(&mut self, recording: RecordingId) {
        if let Some(taking) = self.voicemail_recordings.running.get_mut(&recording)
            && taking.fate == Disposition::Open
        {
            taking.fate = match taking.subject {
                Subject::Message(_) => Disposition::Keep,
                Subject::Greeting { .. } => Disposition::Forget,
            };
        }
    }

    /// Decide whether a recording is kept. A decision already made stands.
    pub(crate) fn decide_voicemail_recording(
        &mut self,
        recording: RecordingId,
        keep: bool,
        out: &mut Vec<Output>,
    ) {
        if let Some(taking) = self.voicemail_recordings.running.get_mut(&recording)
            && taking.fate == Disposition::Open
        {
            taking.fate = if keep { Disposition::Keep } else { Disposition::Forget };
        }
        self.finish_if_complete(recording, out);
    }

    /// A call is released: decide its undecided recordings that have ended.
    pub(crate) fn on_call_released(&mut self, call: &CallId, out: &mut Vec<Output>) {
        let Some(all) = self.voicemail_recordings.by_call.get(call) else { return };
        let has_ended = |id: &&RecordingId| {
            self.voicemail_recordings.running.get(id).is_some_and(|t| t.came_to.is_some())
        };
        let ended: Vec<RecordingId> = all.iter().filter(has_ended).copied().collect();
        for recording in ended {
            self.on_caller_gone(recording);
            self.finish_if_complete(recording, out);
        }
    }

    /// A recording's file is closed; `false` if it is not a voicemail recording in progress.
    pub(crate) fn voicemail_file_closed(
        &mut self,
        recording: RecordingId,
        file: &FileResult,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(taking) = self.voicemail_recordings.running.get_mut(&recording) else { return false };
        // With a full disk, the part already written is kept.
        taking.filed = Some(!matches!(file, FileResult::Failed));
        self.finish_if_complete(recording, out);
        true
    }

    /// Emit the [`Fact`] and remove the recording, once it has ended, its file is closed and its disposition is decided.
    pub(crate) fn finish_if_complete(&mut self, recording: RecordingId, out: &mut Vec<Output>) {
        let Some(taking) = self.voicemail_recordings.running.get(&recording) else { return };
        let (Some(came_to), Some(there)) = (taking.came_to, taking.filed) else { return };
        let keep = match taking.fate {
            Disposition::Open => return,
            Disposition::Keep => there,
            Disposition::Forget => false,
        };
        let Some(taking) = self.voicemail_recordings.remove(recording) else { return };
        let fact = match (taking.subject, came_to) {
            (Subject::Message(message), Recorded::Kept { millis }) if keep => {
                Fact::Left(VoicemailMessage { millis, state: MessageState::New, ..message })
            }
            (Subject::Message(message), _) => Fact::Dropped(message),
            (Subject::Greeting { extension, name }, Recorded::Kept { .. }) if keep => {
                Fact::Greeting { extension, name }
            }
            (Subject::Greeting { name, .. }, _) => Fact::GreetingDropped { name },
        };
        out.push(Output::Voicemail(Box::new(VoicemailEffect::Fact(fact))));
    }
}
