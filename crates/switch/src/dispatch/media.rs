//! Handling of media worker events.

use base::Now;
use media::{DtmfMode, MediaEvent, PlayId, RecordingId, StreamId};
use model::{Cause, Extension};

use crate::backlog::Task;
use crate::call::media::quality;
use crate::call::{CallKey, Leg};
use crate::switch::Switch;
use crate::voicemail::recording::Disposition;
use crate::voicemail::session::Waiting;
use crate::voicemail::{DtmfSource, IvrEvent, Recorded};
use crate::{Output, limits};

impl Switch {
    pub(crate) fn media_event(&mut self, now: Now, event: MediaEvent, out: &mut Vec<Output>) {
        match event {
            MediaEvent::Ports { worker, listener, ports } => self.core.ports.add(worker, listener, ports),
            MediaEvent::Digit { .. }
            | MediaEvent::PlaybackFinished { .. }
            | MediaEvent::SilenceDetected { .. } => {
                self.voicemail_event(now, event, out);
            }
            MediaEvent::Recorded { recording, .. }
                if !crate::voicemail::is_voicemail_recording(recording) =>
            {
                self.core.recorded(now, recording);
            }
            MediaEvent::FileClosed { recording, file }
                if !crate::voicemail::is_voicemail_recording(recording) =>
            {
                self.core.filed(now, recording, file, out);
            }
            MediaEvent::Recorded { .. } | MediaEvent::FileClosed { .. } => {
                self.voicemail_event(now, event, out);
            }
            // A silent phone may be muted or on hold; a vanished peer is detected by the session timer.
            MediaEvent::RtpTimeout { .. } => {}
            MediaEvent::WorkerGone { worker } => self.worker_gone(now, worker, out),
            MediaEvent::Closed { stream, report } => {
                let Some((key, index)) = self.core.index.stream_closed(stream) else { return };
                let Some(call) = self.calls.get_mut(key) else { return };
                call.open_streams -= 1;
                if let Some(record) = call.legs.get_mut(index).map(|leg| &mut leg.record)
                    && (report.received > 0 || report.sent > 0)
                {
                    record.quality = Some(quality(&report));
                }
                self.on_call(now, key, out, crate::call::Call::finish_if_done);
            }
        }
    }

    /// A media worker has ended: release the calls on it.
    fn worker_gone(&mut self, now: Now, worker: u8, out: &mut Vec<Output>) {
        self.core.ports.forget(worker);
        // Calls newer than this are on the worker's successor.
        if let Some(until) = self.core.index.last_id() {
            self.do_in_parts(now, Task::ReleaseWorker { worker, after: None, until }, out);
        }
    }

    /// A voicemail recording has ended; `false` if `recording` is not one of voicemail.
    pub(crate) fn voicemail_recorded(
        &mut self,
        now: Now,
        recording: RecordingId,
        millis: u32,
        sound_millis: u32,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(taking) = self.core.voicemail_recordings.running.get_mut(&recording) else { return false };
        let enough = sound_millis >= limits::SOUND_MILLIS;
        let came_to = if enough { Recorded::Kept { millis } } else { Recorded::Nothing };
        taking.came_to = Some(came_to);
        let call = taking.call.clone();
        if came_to == Recorded::Nothing {
            taking.fate = Disposition::Forget;
        }
        match self
            .core
            .index
            .find(&call)
            .filter(|key| self.calls.get(*key).is_some_and(crate::call::Call::is_in_voicemail))
        {
            Some(key) => {
                self.on_call(now, key, out, |call, cx| call.dispatch_ivr(cx, &IvrEvent::Recorded(came_to)));
            }
            None => self.core.on_caller_gone(recording),
        }
        self.core.finish_if_complete(recording, out);
        true
    }

    /// Whether the voicemail of an extension takes a call that failed with this cause (S73). A `diverted` call may also have failed with a cause that
    /// concerns only the number it was forwarded to.
    pub(crate) fn voicemail_takes(extension: &Extension, cause: Cause, diverted: bool) -> bool {
        let phone = matches!(
            cause,
            Cause::Busy
                | Cause::NoAnswer
                | Cause::Unreachable
                | Cause::DoNotDisturb
                | Cause::Declined
                | Cause::Refused
        );
        let number = matches!(
            cause,
            Cause::ForwardingLoop
                | Cause::NoRoute
                | Cause::NotFound
                | Cause::BadNumber
                | Cause::Inactive
                | Cause::Forbidden
                | Cause::ConcurrentCallLimit
                | Cause::CallRateLimit
                | Cause::OutsideMinutesUsed
        );
        extension.voicemail_enabled && (phone || diverted && number)
    }

    /// How to expect DTMF: telephone-events if negotiated. Otherwise detect in-band tones; INFO is accepted in any case.
    pub(crate) fn keys_come_as(leg: &Leg) -> DtmfMode {
        let events = leg.stream.negotiated.as_ref().is_some_and(|agreed| agreed.dtmf.is_some());
        if events { DtmfMode::Events } else { DtmfMode::Tones }
    }

    /// Dispatch a media event of voicemail.
    pub(crate) fn voicemail_event(&mut self, now: Now, event: MediaEvent, out: &mut Vec<Output>) {
        match event {
            MediaEvent::Digit { stream, digit, millis } => {
                if let Some((key, 0)) = self.core.index.stream_of(stream)
                    && !self.calls.get(key).is_some_and(|call| call.may_be_a_voice(millis))
                {
                    self.on_call(now, key, out, |call, cx| call.key_pressed(cx, digit, DtmfSource::Media));
                }
            }
            MediaEvent::PlaybackFinished { stream, play } => self.played(now, stream, play, out),
            MediaEvent::SilenceDetected { recording } => {
                let call = self
                    .core
                    .voicemail_recordings
                    .call_of(recording)
                    .and_then(|call| self.core.index.find(call));
                let is = |key: &CallKey| {
                    self.calls
                        .get(*key)
                        .and_then(|call| call.voicemail_session())
                        .is_some_and(|v| v.recording == Some(recording))
                };
                if let Some(key) = call.filter(is) {
                    self.on_call(now, key, out, |call, cx| call.dispatch_ivr(cx, &IvrEvent::Quiet));
                }
            }
            MediaEvent::Recorded { recording, millis, sound_millis, .. } => {
                self.voicemail_recorded(now, recording, millis, sound_millis, out);
            }
            MediaEvent::FileClosed { recording, file } => {
                self.core.voicemail_file_closed(recording, &file, out);
            }
            MediaEvent::Ports { .. }
            | MediaEvent::RtpTimeout { .. }
            | MediaEvent::WorkerGone { .. }
            | MediaEvent::Closed { .. } => {}
        }
    }

    fn played(&mut self, now: Now, stream: StreamId, play: PlayId, out: &mut Vec<Output>) {
        if self.said(now, stream, out) {
            return;
        }
        let Some((key, 0)) = self.core.index.stream_of(stream) else { return };
        if self
            .calls
            .get(key)
            .and_then(|call| call.voicemail_session())
            .is_some_and(|visit| visit.play == play && visit.waits == Waiting::Said)
        {
            self.on_call(now, key, out, |call, cx| call.dispatch_ivr(cx, &IvrEvent::Played));
        }
    }
}
