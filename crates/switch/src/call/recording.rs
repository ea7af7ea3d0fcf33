//! Call recording: on command, or automatically by the setting of an extension (S6, S177).
//!
//! A media worker records and a writer of the shell stores the file. The journal gets a record at the start and at the end. A recording that
//! fails never ends its call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Timestamp};
use media::sdp::Offer;
use media::{FileFormat, FileResult, MediaCommand, PlayId, RecordingId as Number, StartRecording};
use model::journal::Record;
use model::{CallId, Cause, Recording, RecordingFormat, RecordingId, RecordingState};

use super::{Leg, Phase};
use crate::call::Call;
use crate::core::{Core, Cx};
use crate::limits::RECORDINGS;
use crate::{Output, RecordingAction, RecordingView, Reply};

/// Playback id of all beeps; their end is ignored.
const BEEP: PlayId = PlayId(u32::MAX);

/// Settings of call recording.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordingConfig {
    /// Calls that are recorded automatically for extensions without a setting of their own.
    pub calls: model::RecordCalls,
    /// File format.
    pub format: RecordingFormat,
    /// Recording tone played to the parties.
    pub beep: Beep,
}

/// Recording tone, played to both parties of a bridged call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Beep {
    /// No tone; the parties must be informed in another way.
    #[default]
    Never,
    /// Once, at the start of the recording.
    Once,
    /// At the start of the recording and then at this interval, at least one second.
    Every(Duration),
}

/// The active recordings, including those whose file is not closed yet.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    pub(crate) running: BTreeMap<Number, ActiveRecording>,
    by_call: BTreeMap<CallId, BTreeSet<Number>>,
    next: u32,
    pub(crate) beeps: BTreeSet<(Instant, Number)>,
    /// Samples of the beep, generated at first use.
    beep: Option<Arc<[i16]>>,
}

#[derive(Debug)]
pub(crate) struct ActiveRecording {
    pub(crate) row: Recording,
    /// Start time on the monotonic clock.
    began: Instant,
    pub(crate) worker: u8,
    pub(crate) paused: bool,
    beep: Option<Instant>,
}

impl Recordings {
    /// Next recording number, below 2^31. It wraps around; numbers from 2^31 upwards are for voicemail recordings.
    fn number(&mut self) -> Number {
        self.next = (self.next + 1) % (1 << 31);
        Number(self.next)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.beeps.first().map(|(due, _)| *due)
    }

    /// Whether this call is being recorded. `false` when the recording has ended and only its file is awaited.
    fn records(&self, call: &CallId) -> bool {
        self.current(call).is_some_and(|number| self.is_on(number))
    }

    fn is_on(&self, number: Number) -> bool {
        self.running.get(&number).is_some_and(|active| active.row.ended_at.is_none())
    }

    fn current(&self, call: &CallId) -> Option<Number> {
        self.by_call.get(call)?.iter().copied().max_by_key(|number| self.is_on(*number))
    }

    /// The recording of a call: the running one, otherwise one whose file is awaited.
    pub(crate) fn of_call(&mut self, call: &CallId) -> Option<(Number, &mut ActiveRecording)> {
        let number = self.current(call)?;
        self.running.get_mut(&number).map(|active| (number, active))
    }

    fn insert(&mut self, number: Number, active: ActiveRecording) {
        self.by_call.entry(active.row.call.clone()).or_default().insert(number);
        self.running.insert(number, active);
    }

    fn remove(&mut self, number: Number) -> Option<ActiveRecording> {
        let active = self.running.remove(&number)?;
        if let Some(beep) = active.beep {
            self.beeps.remove(&(beep, number));
        }
        if let Some(all) = self.by_call.get_mut(&active.row.call) {
            all.remove(&number);
            if all.is_empty() {
                self.by_call.remove(&active.row.call);
            }
        }
        Some(active)
    }
}

impl ActiveRecording {
    /// The present time relative to `started_at` of the row; see [`super::Call::time`].
    pub(crate) fn time(&self, now: Now) -> Timestamp {
        self.row.started_at + now.instant.since(self.began)
    }

    pub(crate) fn view(&self) -> RecordingView {
        RecordingView { recording: self.row.clone(), paused: self.paused }
    }
}

/// A tone of 1400 Hz at −17 dBm0 for 250 ms, with a fade-in and fade-out of 10 ms.
fn beep() -> Arc<[i16]> {
    const LENGTH: usize = 2_000;
    let sample = |n: usize| {
        let edge = (n.min(LENGTH - n) as f32 / 80.0).min(1.0);
        (3_200.0 * edge * (std::f32::consts::TAU * 1_400.0 * n as f32 / 8_000.0).sin()) as i16
    };
    (0..LENGTH).map(sample).collect()
}

impl Call {
    /// Start recording a call that was bridged, if the setting of one of its extensions requires it.
    pub(crate) fn auto_record(&mut self, cx: &mut Cx<'_>) {
        let Phase::Bridged(a, b) = self.phase else { return };
        let party = |index: usize| self.legs.get(index).map(|leg| &leg.record).map(|leg| leg.party.as_str());
        let Some(extension) = party(a).zip(party(b)).and_then(|(a, b)| cx.core.recorded_for(a, b)) else {
            return;
        };
        let Err(cause) = self.begin_recording(cx, Some(extension.clone())) else { return };
        // A failed recording is written to the journal, so that its absence is visible.
        let row = self.new_recording(cx, Some(extension));
        let (state, fault) = (RecordingState::Failed, Some(cause.code().into()));
        let row = Recording { state, fault, ended_at: Some(cx.now.wall), ..row };
        cx.out.push(Output::Journal(Record::Recording(Box::new(row))));
    }

    /// Restrict an offer for `callee` to recordable codecs (G.711) if the call is being recorded, or will be recorded automatically once `callee`
    /// answers.
    pub(crate) fn restrict_to_recordable(&self, cx: &Cx<'_>, callee: &str, offer: Offer) -> Offer {
        let caller = self.legs.first().map(|leg| &leg.record).map_or("", |leg| leg.party.as_str());
        let runs = self.is_up() && cx.core.recordings.records(&self.record.id);
        if runs || cx.core.recorded_for(caller, callee).is_some() { offer.recordable() } else { offer }
    }

    /// Start a recording. A party with a codec that cannot be recorded is re-offered G.711, the callee first. `Err` when such a party has not
    /// listed G.711 in its SDP.
    pub(crate) fn begin_recording(
        &mut self,
        cx: &mut Cx<'_>,
        extension: Option<String>,
    ) -> Result<Option<RecordingView>, Cause> {
        let runs = cx.core.recordings.records(&self.record.id);
        if !runs && self.unrecordable().any(|index| !self.leg(index).is_some_and(Leg::knows_g711)) {
            return Err(Cause::CodecNotRecordable);
        }
        let asked = self.unrecordable().last().filter(|_| !runs);
        let view = self.start_recording(cx, extension);
        if let (Some(_), Some(index)) = (&view, asked) {
            self.ask_for_g711(cx, index);
        }
        Ok(view)
    }

    /// Stop the recording as failed because a party refused to change to G.711. `false` when the call is not being recorded.
    pub(crate) fn recording_codec_failed(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.unrecordable().next().is_none() {
            return false;
        }
        let Some((recording, active)) = cx.core.recordings.of_call(&self.record.id) else { return false };
        if active.row.ended_at.is_some() {
            return false;
        }
        active.row.ended_at = Some(active.time(cx.now));
        active.row.fault = Some(Cause::CodecNotRecordable.code().into());
        cx.out.push(Output::Media {
            worker: active.worker,
            command: MediaCommand::StopRecording { recording },
        });
        true
    }

    /// Start a recording, or return the running one. `None` when the call is not bridged or in an application, or at the limit of recordings.
    fn start_recording(&mut self, cx: &mut Cx<'_>, extension: Option<String>) -> Option<RecordingView> {
        let (left, right) = match self.phase {
            Phase::Bridged(a, b) => (self.leg(a)?, self.leg(b)),
            Phase::InApplication(_) => (self.leg(0)?, None),
            // Voicemail messages are recorded separately.
            Phase::Voicemail(_)
            | Phase::Waiting(_)
            | Phase::RingingDevice(_)
            | Phase::Dialling
            | Phase::LoadingAudio(_)
            | Phase::Announcing(_)
            | Phase::StoringMessage
            | Phase::TrunkTest
            | Phase::Released { .. } => return None,
        };
        // A stopped recording only waits for its file; a new one can start.
        if let Some((_, active)) = cx.core.recordings.of_call(&self.record.id)
            && active.row.ended_at.is_none()
        {
            return Some(active.view());
        }
        if cx.core.recordings.running.len() >= RECORDINGS {
            return None;
        }
        let (worker, left) = (left.stream.port.worker, left.stream.id);
        let right = right.map(|leg| leg.stream.id);
        let row = self.new_recording(cx, extension);
        let recording = cx.core.recordings.number();
        let record = StartRecording {
            recording,
            left,
            right,
            name: row.name().into(),
            format: match row.format {
                RecordingFormat::Opus => FileFormat::Opus,
                RecordingFormat::Wav => FileFormat::Wav,
            },
            longest: None,
            quiet: None,
        };
        cx.out.push(Output::Journal(Record::Recording(Box::new(row.clone()))));
        cx.out.push(Output::Media { worker, command: MediaCommand::StartRecording(Box::new(record)) });
        let active = ActiveRecording { row, began: cx.now.instant, worker, paused: false, beep: None };
        let view = active.view();
        cx.core.recordings.insert(recording, active);
        self.beep(cx, recording);
        Some(view)
    }

    /// The row of a recording that starts.
    fn new_recording(&mut self, cx: &mut Cx<'_>, extension: Option<String>) -> Recording {
        let call = &self.record;
        Recording {
            id: RecordingId::new(cx.now, &mut cx.core.rng),
            call: call.id.clone(),
            user: call.user.clone(),
            other_user: call.other_user.clone(),
            extension,
            state: RecordingState::Recording,
            started_at: cx.now.wall,
            ended_at: None,
            format: cx.core.config.recording.format,
            bytes: 0,
            millis: 0,
            sha256: None,
            fault: None,
        }
    }

    /// Play the recording tone to both parties and schedule the next one.
    pub(crate) fn beep(&mut self, cx: &mut Cx<'_>, number: Number) {
        let again = match cx.core.config.recording.beep {
            Beep::Never => return,
            Beep::Once => None,
            Beep::Every(time) => Some(cx.now.instant + time.max(Duration::from_secs(1))),
        };
        let Some(active) = cx.core.recordings.running.get_mut(&number) else { return };
        active.beep = again;
        cx.core.recordings.beeps.extend(again.map(|due| (due, number)));
        if active.paused || active.row.ended_at.is_some() {
            return;
        }
        let clip = Arc::clone(cx.core.recordings.beep.get_or_insert_with(beep));
        let Phase::Bridged(a, b) = self.phase else { return };
        for leg in [a, b].into_iter().filter_map(|index| self.leg(index)) {
            let command = MediaCommand::Play { stream: leg.stream.id, play: BEEP, clip: Arc::clone(&clip) };
            cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        }
    }
}

impl Core {
    /// Pause, resume or stop the recording of a call.
    pub(crate) fn control_recording(
        &mut self,
        now: Now,
        call: &CallId,
        action: RecordingAction,
        out: &mut Vec<Output>,
    ) -> Reply {
        let Some((recording, active)) = self.recordings.of_call(call) else {
            return Reply::Recording(None);
        };
        let command = match action {
            RecordingAction::Stop => Some(MediaCommand::StopRecording { recording }),
            RecordingAction::Pause => Some(MediaCommand::PauseRecording { recording }),
            RecordingAction::Resume => Some(MediaCommand::ResumeRecording { recording }),
            RecordingAction::Start | RecordingAction::Show => None,
        };
        match action {
            RecordingAction::Pause => active.paused = true,
            RecordingAction::Resume => active.paused = false,
            RecordingAction::Stop => active.row.ended_at = Some(active.time(now)),
            RecordingAction::Start | RecordingAction::Show => {}
        }
        let (worker, view) = (active.worker, active.view());
        out.extend(command.map(|command| Output::Media { worker, command }));
        Reply::Recording(Some(view))
    }

    /// Number of the extension whose setting requires automatic recording of a call between these parties; the caller's is checked first.
    fn recorded_for(&self, caller: &str, callee: &str) -> Option<String> {
        let default = self.config.recording.calls;
        [(caller, true), (callee, false)].into_iter().find_map(|(party, makes)| {
            let credential = self.directory.credential(party);
            let extension = credential.and_then(|c| self.directory.extension(c.extension.as_ref()?));
            let number = model::ExtensionNumber::parse(party).ok();
            let extension = extension.or_else(|| self.directory.extension_by_number(number.as_ref()?))?;
            extension.record_calls.wants(makes, default).then(|| extension.number.to_string())
        })
    }

    /// The worker has stopped recording, on command or because the call has ended.
    pub(crate) fn recorded(&mut self, now: Now, number: Number) {
        if let Some(active) = self.recordings.running.get_mut(&number) {
            active.row.ended_at = active.row.ended_at.or(Some(active.time(now)));
        }
    }

    /// The file of a recording was closed or could not be written: write the final row to the journal. This is the last event of a recording.
    pub(crate) fn filed(&mut self, now: Now, number: Number, file: FileResult, out: &mut Vec<Output>) {
        let Some(active) = self.recordings.remove(number) else { return };
        let at = active.time(now);
        let ActiveRecording { mut row, worker, .. } = active;
        match file {
            FileResult::Complete { bytes, millis, sha256 } => {
                let whole = row.fault.is_none();
                row.state = if whole { RecordingState::Complete } else { RecordingState::Failed };
                (row.bytes, row.millis) = (bytes, millis);
                row.sha256 = Some(sha256.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            FileResult::DiskFull | FileResult::Failed => {
                row.state = RecordingState::Failed;
                let fault = if file == FileResult::DiskFull { "disk_full" } else { "write_failed" };
                row.fault = Some(fault.into());
                // The call continues without the recording.
                let command = MediaCommand::StopRecording { recording: number };
                out.push(Output::Media { worker, command });
            }
        }
        row.ended_at.get_or_insert(at);
        out.push(Output::Journal(Record::Recording(Box::new(row))));
        self.drained(out);
    }
}
