//! A media worker without sockets: it hands out ports, keeps books on streams, and reports late now and then.

use std::collections::{BTreeMap, BTreeSet};

use media::{MediaCommand, MediaEvent, Report, StreamId};

/// The worker's books.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    open: BTreeMap<StreamId, u16>,
    in_use: BTreeSet<u16>,
}

impl Worker {
    /// Listeners of the office: each has ports of its own.
    pub(crate) const LISTENERS: u16 = 2;

    /// The ports that a fresh worker offers for a listener.
    pub(crate) fn offer(listener: u16, ports: u16) -> MediaEvent {
        let first = 10_000 + 10_000 * listener;
        MediaEvent::Ports { worker: 0, listener, ports: (0..ports).map(|n| first + 2 * n).collect() }
    }

    /// Carry out a command. What comes back is said to the exchange later, in this order; `Err` says what was against the rules.
    pub(crate) fn command(&mut self, command: &MediaCommand) -> Result<Vec<MediaEvent>, String> {
        match command {
            MediaCommand::Open { stream, port } => {
                if self.open.insert(*stream, *port).is_some() {
                    return Err(format!("{stream:?} was opened twice"));
                }
                if !self.in_use.insert(*port) {
                    return Err(format!("port {port} was given to {stream:?} while another stream uses it"));
                }
            }
            MediaCommand::Close { stream } => {
                let Some(port) = self.open.remove(stream) else {
                    return Err(format!("{stream:?} was closed though it is not open"));
                };
                self.in_use.remove(&port);
                let report = Report { received: u64::from(stream.0), sent: 1, ..Report::default() };
                let listener = (port - 10_000) / 10_000;
                return Ok(vec![
                    MediaEvent::Closed { stream: *stream, report },
                    MediaEvent::Ports { worker: 0, listener, ports: vec![port] },
                ]);
            }
            MediaCommand::Negotiated { stream, .. } if !self.open.contains_key(stream) => {
                return Err(format!("{stream:?} was negotiated though it is not open"));
            }
            MediaCommand::Negotiated { .. } | MediaCommand::Feed { .. } => {}
        }
        Ok(Vec::new())
    }

    pub(crate) fn streams(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn any_stream(&self) -> Option<StreamId> {
        self.open.keys().next().copied()
    }
}
