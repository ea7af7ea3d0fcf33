//! State shared by all parts of the switch while one input is absorbed: configuration, directory, SIP endpoint, resources and counters. It never
//! calls back into calls, MWI or the switch.

use std::sync::Arc;

use base::{Instant, Now, Rng};
use model::Directory;
use sip::{Endpoint, Headers};

use crate::auth::Authenticator;
use crate::call::{CallIndex, Recordings, Timers};
use crate::features::Features;
use crate::location::Location;
use crate::ports::Ports;
use crate::trunk::Trunks;
use crate::usage::OutboundUsage;
use crate::voicemail::{PromptSet, VoicemailRecordings};
use crate::{Config, Counters, JournalRoom, Output, State};

/// State shared by the parts of the switch.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) directory: Directory,
    pub(crate) endpoint: Endpoint,
    pub(crate) auth: Authenticator,
    pub(crate) location: Location,
    pub(crate) index: CallIndex,
    pub(crate) ports: Ports,
    pub(crate) timers: Timers,
    pub(crate) trunks: Trunks,
    pub(crate) usage: OutboundUsage,
    pub(crate) recordings: Recordings,
    pub(crate) prompts: Arc<PromptSet>,
    /// False until the prompt audio has been decoded; start-up does not wait for it.
    pub(crate) prompts_read: bool,
    pub(crate) voicemail_recordings: VoicemailRecordings,
    pub(crate) features: Features,
    pub(crate) state: State,
    /// Disk space left for the journal.
    pub(crate) journal: JournalRoom,
    pub(crate) counters: Counters,
    /// The current second, and the number of calls in it that asked for a ladder.
    ladders: (u64, u32),
    /// Endpoint outputs not dispatched yet: see `Switch::drain_endpoint`.
    pub(crate) sip_out: Vec<sip::Output>,
    /// Scratch buffer for header lines, reused for all responses.
    pub(crate) lines: Headers,
}

/// Context of a call while one input is absorbed.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) core: &'a mut Core,
    pub(crate) out: &'a mut Vec<Output>,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(now: Now, core: &'a mut Core, out: &'a mut Vec<Output>) -> Cx<'a> {
        Cx { now, core, out }
    }
}

impl Core {
    pub(crate) fn new(config: Config, mut rng: Rng) -> Core {
        let endpoint =
            sip::Config { id_prefix: config.mark.clone(), t1: config.t1, ..sip::Config::default() };
        Core {
            endpoint: Endpoint::new(endpoint, rng.fork()),
            auth: Authenticator::new(&config.domain, &config.digest, &mut rng),
            location: Location::new(&mut rng),
            index: CallIndex::new(&mut rng),
            trunks: Trunks::new(&mut rng),
            usage: OutboundUsage::new(config.outside.clone()),
            ports: Ports::new(&config.listeners),
            config,
            rng,
            directory: Directory::default(),
            timers: Timers::default(),
            recordings: Recordings::default(),
            prompts: Arc::default(),
            prompts_read: false,
            voicemail_recordings: VoicemailRecordings::default(),
            features: Features::default(),
            state: State::Starting,
            journal: JournalRoom::Ample,
            counters: Counters::default(),
            ladders: (0, 0),
            sip_out: Vec::new(),
            lines: Headers::new(),
        }
    }

    /// The earliest deadline of all parts.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let sip = [self.endpoint.deadline(), self.location.deadline(), self.trunks.deadline()];
        let calls = [self.timers.first(), self.recordings.deadline(), self.usage.deadline()];
        sip.into_iter().chain(calls).flatten().min()
    }

    /// Whether the ladder of one more call is kept in this second. Ladders are a diagnostic for people, so they are shed under load.
    pub(crate) fn keeps_ladder(&mut self, now: Now) -> bool {
        let second = now.instant.as_micros() / 1_000_000;
        if self.ladders.0 != second {
            self.ladders = (second, 0);
        }
        self.ladders.1 += 1;
        self.ladders.1 <= self.config.ladders_per_second
    }
}
