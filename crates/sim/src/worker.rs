//! A media worker without sockets: it offers ports, tracks streams and recordings, and some of its events arrive late.

use std::collections::{BTreeMap, BTreeSet};

use media::{Ended, FileResult, MediaCommand, MediaEvent, RecordingId, Report, StreamId};

/// State of the worker.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    open: BTreeMap<StreamId, u16>,
    in_use: BTreeSet<u16>,
    /// Running recordings, with their open streams.
    recordings: BTreeMap<RecordingId, Vec<StreamId>>,
    /// Streams that a crashed worker lost: closing them reports nothing more.
    lost: BTreeSet<StreamId>,
    /// The worker has ended and the switch has not been told yet.
    failed: bool,
}

/// Events of a recording that ends.
fn recording_ended(recording: RecordingId, ended: Ended) -> [MediaEvent; 2] {
    let file = FileResult::Complete { bytes: 44, millis: 1, sha256: [0; 32] };
    [
        MediaEvent::Recorded { recording, millis: 1, sound_millis: 1, ended },
        MediaEvent::FileClosed { recording, file },
    ]
}

impl Worker {
    /// Number of listeners: each has its own ports.
    pub(crate) const LISTENERS: u16 = 2;

    /// The ports that a new worker offers for a listener.
    pub(crate) fn offer(listener: u16, ports: u16) -> MediaEvent {
        let first = 10_000 + 10_000 * listener;
        MediaEvent::Ports { worker: 0, listener, ports: (0..ports).map(|n| first + 2 * n).collect() }
    }

    /// Execute a command. The events reach the switch later, in this order; `Err` names a violated invariant.
    pub(crate) fn command(&mut self, command: &MediaCommand) -> Result<Vec<MediaEvent>, String> {
        if self.failed {
            return Ok(self.reject(command));
        }
        match command {
            MediaCommand::Close { stream } if self.lost.remove(stream) => {}
            MediaCommand::Negotiated { stream, .. } if self.lost.contains(stream) => {}
            MediaCommand::Open { stream, port } => {
                if self.open.insert(*stream, *port).is_some() {
                    return Err(format!("{stream:?} was opened twice"));
                }
                if !self.in_use.insert(*port) {
                    return Err(format!("port {port} was given to {stream:?}, but another stream uses it"));
                }
            }
            MediaCommand::Close { stream } => {
                let Some(port) = self.open.remove(stream) else {
                    return Err(format!("{stream:?} was closed though it is not open"));
                };
                self.in_use.remove(&port);
                let report = Report { received: u64::from(stream.0), sent: 1, ..Report::default() };
                let listener = (port - 10_000) / 10_000;
                self.recordings.values_mut().for_each(|streams| streams.retain(|s| s != stream));
                let left = self.recordings.extract_if(.., |_, streams| streams.is_empty());
                let mut events: Vec<_> = left.flat_map(|(id, _)| recording_ended(id, Ended::Left)).collect();
                events.push(MediaEvent::Closed { stream: *stream, report });
                events.push(MediaEvent::Ports { worker: 0, listener, ports: vec![port] });
                return Ok(events);
            }
            MediaCommand::Negotiated { stream, .. } if !self.open.contains_key(stream) => {
                return Err(format!("{stream:?} was negotiated though it is not open"));
            }
            MediaCommand::Play { stream, play, .. } if self.open.contains_key(stream) => {
                return Ok(vec![MediaEvent::PlaybackFinished { stream: *stream, play: *play }]);
            }
            MediaCommand::StartRecording(record) => {
                let streams = std::iter::once(record.left).chain(record.right);
                let streams: Vec<_> = streams.filter(|stream| self.open.contains_key(stream)).collect();
                if streams.is_empty() {
                    return Ok(recording_ended(record.recording, Ended::Left).into());
                }
                if self.recordings.insert(record.recording, streams).is_some() {
                    return Err(format!("{:?} was started while it was running", record.recording));
                }
            }
            MediaCommand::StopRecording { recording } => {
                if self.recordings.remove(recording).is_some() {
                    return Ok(recording_ended(*recording, Ended::Stopped).into());
                }
            }
            MediaCommand::Negotiated { .. }
            | MediaCommand::SetSource { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::SetDtmfMode { .. }
            | MediaCommand::PauseRecording { .. }
            | MediaCommand::ResumeRecording { .. } => {}
        }
        Ok(Vec::new())
    }

    /// The worker fails. Returns the events that follow [`MediaEvent::WorkerGone`].
    pub(crate) fn fail(&mut self) -> Vec<MediaEvent> {
        self.failed = true;
        self.in_use.clear();
        let recordings = std::mem::take(&mut self.recordings);
        let mut events: Vec<_> =
            recordings.into_keys().flat_map(|id| recording_ended(id, Ended::Stopped)).collect();
        for stream in std::mem::take(&mut self.open).into_keys() {
            self.lost.insert(stream);
            events.push(MediaEvent::Closed { stream, report: Report::default() });
        }
        events
    }

    /// The switch has been told: commands go to the next worker.
    pub(crate) fn restart(&mut self) {
        self.failed = false;
    }

    /// Events for a command that a failed worker gets.
    fn reject(&mut self, command: &MediaCommand) -> Vec<MediaEvent> {
        match command {
            MediaCommand::Open { stream, .. } => {
                self.lost.insert(*stream);
                vec![MediaEvent::Closed { stream: *stream, report: Report::default() }]
            }
            MediaCommand::StartRecording(record) => recording_ended(record.recording, Ended::Refused).into(),
            MediaCommand::Close { stream } => {
                self.lost.remove(stream);
                Vec::new()
            }
            MediaCommand::Negotiated { .. }
            | MediaCommand::SetSource { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::SetDtmfMode { .. }
            | MediaCommand::PauseRecording { .. }
            | MediaCommand::ResumeRecording { .. }
            | MediaCommand::StopRecording { .. } => Vec::new(),
        }
    }

    pub(crate) fn streams(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn any_stream(&self) -> Option<StreamId> {
        self.open.keys().next().copied()
    }
}
