//! Announcements (S86): a recurring call that rings its destination, says something to whoever answers, and ends. Where nobody answers at an
//! extension of ours, its mailbox may get it as a message.
//!
//! Nobody calls, so leg 0 is the house itself: up from the first moment, without dialog and without port. All that rings, forwards and finds
//! ways outside is that of any other call whose caller hears us already.

use crate::core::{Core, Cx};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Now, Timestamp};
use media::sdp::{Direction, LocalMedia};
use media::{MediaCommand, PlayId, StreamId};
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::{
    Announcement, CallDirection, CallRecord, CallStatus, Cause, Extension, LegRole, MessageId, MessageState,
    TraceStep, VoicemailMessage, voicemail,
};
use sip::{Flow, Hop, SessionId, Transport};

use super::{Call, CallKey, Leg, LegState, Phase, Stream};
use crate::ports::Port;
use crate::switch::Switch;
use crate::voicemail::{Audio, Clip, Prompt, VoicemailEffect};
use crate::{Originate, Output, Reply, State};

/// How long reading the audio, or writing the message, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than a clip's length its end may be told.
const GRACE: Duration = Duration::from_secs(5);
/// Silence before the first word: a receiver is on its way to the ear.
const LEAD_IN: usize = 8 * 500;

/// The session and the stream of the house's own leg: nobody has ever such ones.
const PLACEHOLDER: (SessionId, StreamId) = (SessionId(u64::MAX), StreamId(u32::MAX));

/// What a call is to say.
#[derive(Debug)]
pub(crate) struct AnnouncementState {
    /// Names what the shell was asked for.
    token: u64,
    /// What is said; `None` until it has been read.
    clip: Option<Clip>,
    /// Where nobody answers it goes into the mailbox.
    into_box: bool,
}

impl Leg {
    /// Whether this is the house's own end of a call that nobody makes.
    pub(crate) fn is_placeholder(&self) -> bool {
        self.session == PLACEHOLDER.0
    }

    fn placeholder(party: String, at: Timestamp) -> Leg {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let local = LocalMedia {
            address: nowhere.ip(),
            port: 0,
            session: 0,
            version: 0,
            direction: Direction::Inactive,
        };
        let hop = Hop {
            transport: Transport::Udp,
            listener: 0,
            local: nowhere,
            remote: nowhere,
            flow: Flow::default(),
        };
        let stream = Stream {
            id: PLACEHOLDER.1,
            port: Port { worker: 0, number: 0 },
            local,
            theirs: None,
            ours: None,
            answer: None,
            negotiated: None,
            closed: true,
        };
        let mut leg = Leg::new(PLACEHOLDER.0, hop, stream, LegRole::Caller, party, at);
        leg.state = LegState::Up;
        leg.record.address = None;
        leg
    }
}

impl Switch {
    /// Begin a call that says something.
    pub(crate) fn announce(
        &mut self,
        now: Now,
        wish: &Originate,
        what: &Announcement,
        into_box: bool,
        out: &mut Vec<Output>,
    ) -> Reply {
        let device = wish.device.as_ref().and_then(|device| self.core.directory.credential(device));
        let device = device.filter(|credential| self.core.directory.may_serve(credential));
        let Some(extension) = device.and_then(|credential| self.core.extension_of(credential)).cloned()
        else {
            return Reply::Refused(Cause::Inactive);
        };
        let asker = DialContext { origin: CallOrigin::Schedule, permissions: extension.dial_permissions };
        let Decision { route, mut trace } = dialplan::route(&self.core.directory, asker, &wish.to);
        match route {
            Route::Refused(cause) => return Reply::Refused(cause),
            Route::Application(_) => return Reply::Refused(Cause::BadNumber),
            Route::Extension(_) | Route::Username(_) | Route::Trunk(_) => {}
        }
        if let Err(cause) = self.core.has_room(&wish.user) {
            return Reply::Refused(cause);
        }
        let clip = match what {
            // They are on their way in the first moments of a process.
            Announcement::Prompt(_) if self.core.prompts.is_empty() => {
                return Reply::Refused(Cause::Overload);
            }
            Announcement::Prompt(name) => match self.core.prompt(&extension, name) {
                Some(clip) => Some(clip),
                None => return Reply::Refused(Cause::AudioMissing),
            },
            Announcement::Audio(_) => None,
        };
        if let Some(planned) = &wish.planned {
            let outcome = format!("{} was due at {}", planned.recurring, planned.due);
            trace.insert(0, TraceStep { rule: "recurring_call".into(), outcome });
        }
        self.core.counters.calls_started += 1;
        let announcement = AnnouncementState { token: self.core.rng.u64(), clip: None, into_box };
        let token = announcement.token;
        let key = self.begin_announcement(now, wish, &extension, route, trace, announcement);
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        match what {
            Announcement::Prompt(_) => self.on_call(now, key, out, |call, cx| call.audio_is_read(cx, clip)),
            Announcement::Audio(id) => {
                let audio = Audio::Sound(id.clone());
                let note = VoicemailEffect::Fetch { token, extension: extension.id.clone(), audio };
                self.core.index.expect(token, key);
                out.push(Output::Voicemail(Box::new(note)));
                self.on_call(now, key, out, |call, cx| call.set_timer(cx, now.instant + PATIENCE));
            }
        }
        self.calls.get(key).map_or(Reply::Refused(Cause::Internal), |call| Reply::Call(call.cdr()))
    }

    fn begin_announcement(
        &mut self,
        now: Now,
        wish: &Originate,
        extension: &Extension,
        route: Route,
        trace: Vec<TraceStep>,
        announcement: AnnouncementState,
    ) -> CallKey {
        let planned = wish.planned.as_ref().map(|planned| planned.call.clone());
        let record = CallRecord {
            id: planned.unwrap_or_else(|| model::CallId::new(now, &mut self.core.rng)),
            user: wish.user.clone(),
            other_user: self.core.owner_of(&route),
            direction: CallDirection::Internal,
            status: CallStatus::Queued,
            from_number: extension.number.to_string(),
            to_number: wish.to.clone(),
            device: None,
            started_at: now.wall,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace,
            legs: Vec::new(),
        };
        self.calls.insert(
            now,
            &mut self.core.index,
            Call {
                legs: vec![Leg::placeholder(extension.username.to_string(), now.wall)],
                announcement: Some(Box::new(announcement)),
                ..Call::new(record, Phase::LoadingAudio(route))
            },
        )
    }

    /// What the shell was asked to read. `false` where it was somebody else's.
    pub(crate) fn announcement_fetched(
        &mut self,
        now: Now,
        (key, token): (CallKey, u64),
        clip: Option<&Clip>,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.calls.get(key).is_some_and(|call| call.announces(token)) {
            return false;
        }
        self.on_call(now, key, out, |call, cx| {
            call.audio_is_read(cx, clip.filter(|clip| !clip.is_empty()).cloned());
        });
        true
    }

    /// All has been said. `false` where this stream had nothing to say.
    pub(crate) fn said(&mut self, now: Now, stream: StreamId, out: &mut Vec<Output>) -> bool {
        let Some((key, index)) = self.core.index.stream_of(stream) else { return false };
        let speaks = |call: &Call| matches!(call.phase, Phase::Announcing(to) if to == index);
        let over = self.calls.get(key).is_some_and(speaks);
        if over {
            self.on_call(now, key, out, |call, cx| call.release(cx, Cause::Completed));
        }
        over
    }

    /// The message lies in the mailbox, or could not be put there.
    pub(crate) fn deposited(&mut self, now: Now, token: u64, done: bool, out: &mut Vec<Output>) {
        let expected = self.core.index.expected(token);
        let Some(key) = expected.filter(|key| self.calls.get(*key).is_some_and(|call| call.announces(token)))
        else {
            return;
        };
        let Some(call) = self.calls.get_mut(key) else { return };
        if matches!(call.phase, Phase::StoringMessage) {
            if done {
                call.phase = Phase::Announcing(0);
                self.on_call(now, key, out, super::Call::up);
            }
            let cause = if done { Cause::Completed } else { Cause::Internal };
            self.on_call(now, key, out, |call, cx| call.release(cx, cause));
        }
    }
}

impl Call {
    /// Whether a call is an announcement that goes by this token, and is not over.
    fn announces(&self, token: u64) -> bool {
        let live = Some(self).filter(|call| !matches!(call.phase, Phase::Released { .. }));
        live.and_then(|call| call.announcement.as_ref())
            .is_some_and(|announcement| announcement.token == token)
    }

    /// Ring, now that there is something to say.
    fn audio_is_read(&mut self, cx: &mut Cx<'_>, clip: Option<Clip>) {
        let Phase::LoadingAudio(route) = &self.phase else { return };
        let route = route.clone();
        let (Some(clip), Some(announcement)) = (clip, self.announcement.as_mut()) else {
            return self.release(cx, Cause::AudioMissing);
        };
        announcement.clip = Some(clip);
        self.phase = Phase::Dialling;
        cx.core.timers.cancel(self.timer.take());
        if cx.core.state == State::Stopped {
            return self.release(cx, Cause::Draining);
        }
        self.route_call(cx, route);
    }

    /// Somebody answered.
    pub(crate) fn speak(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(clip) = self.announcement.as_ref().and_then(|announcement| announcement.clip.clone()) else {
            return;
        };
        self.phase = Phase::Announcing(index);
        self.up(cx);
        let clip: Clip = std::iter::repeat_n(0, LEAD_IN).chain(clip.iter().copied()).collect();
        let length = Duration::from_micros(clip.len() as u64 * 125);
        let Some(leg) = self.leg(index) else { return };
        let command = MediaCommand::Play { stream: leg.stream.id, play: PlayId(0), clip };
        cx.out.push(Output::Media { worker: leg.stream.port.worker, command });
        self.set_timer(cx, cx.now.instant + length + GRACE);
    }

    /// Nobody answered: the mailbox of the extension that has the call gets it, where that was wanted.
    pub(crate) fn not_heard(&mut self, cx: &mut Cx<'_>, cause: Cause, extension: Option<Arc<Extension>>) {
        let announcement = self.announcement.as_ref().filter(|announcement| announcement.into_box);
        let (Some(extension), Some(announcement)) = (extension, announcement) else {
            return self.release(cx, cause);
        };
        let (token, Some(clip)) = (announcement.token, announcement.clip.clone()) else {
            return self.release(cx, Cause::Internal);
        };
        let (from_number, id) = (self.record.from_number.clone(), self.record.id.clone());
        if cx.core.held(&extension) >= voicemail::MESSAGES_PER_BOX {
            self.push_trace("voicemail", format!("the mailbox of {} is full", extension.number));
            return self.release(cx, cause);
        }
        self.push_trace(
            "voicemail",
            format!("{}: the mailbox of {} gets it", cause.code(), extension.number),
        );
        let message = VoicemailMessage {
            id: MessageId::new(cx.now, &mut cx.core.rng),
            extension: extension.id.clone(),
            user: extension.user.clone(),
            state: MessageState::New,
            from_number,
            call: Some(id),
            left_at: cx.now.wall,
            millis: (clip.len() / 8) as u32,
            heard_at: None,
        };
        cx.core.index.expect(token, self.key);
        cx.out.push(Output::Voicemail(Box::new(VoicemailEffect::DepositClip { token, message, clip })));
        self.phase = Phase::StoringMessage;
        self.set_timer(cx, cx.now.instant + PATIENCE);
    }
}

impl Core {
    fn prompt(&self, extension: &Extension, name: &str) -> Option<Clip> {
        let language = self.directory.mailbox(&extension.id).language;
        let clip = self.prompts.say(language, &[Prompt::named(name)?]);
        (!clip.is_empty()).then_some(clip)
    }
}
