//! Announcements (S86): a recurring call that rings its destination, plays a clip to the callee and ends. If a local extension does not answer,
//! the clip may be stored in its mailbox as a message.
//!
//! The call has no caller: leg 0 is a placeholder without SIP session or RTP port, in state `Up` from the start. Ringing, forwarding and
//! outbound routing are those of any other call whose caller leg is up.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use media::sdp::{Direction, LocalMedia};
use media::{MediaCommand, PlayId, StreamId};
use model::{Cause, Extension, LegRole, MessageId, MessageState, VoicemailMessage, voicemail};
use sip::{Flow, Hop, SessionId, Transport};

use super::{Call, Leg, LegState, Phase, Stream};
use crate::core::{Core, Cx};
use crate::ports::Port;
use crate::voicemail::{Clip, Prompt, VoicemailEffect};
use crate::{Output, State};

/// Time limit for loading the audio, and for storing the message.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long after the end of a clip its playback-finished event may arrive.
const GRACE: Duration = Duration::from_secs(5);
/// Silence before the clip, in samples at 8 kHz (500 ms): the callee is still lifting the receiver.
const LEAD_IN: usize = 8 * 500;

/// Session id and stream id of a placeholder leg; never allocated to a real one.
const PLACEHOLDER: (SessionId, StreamId) = (SessionId(u64::MAX), StreamId(u32::MAX));

/// Announcement of a call.
#[derive(Debug)]
pub(crate) struct AnnouncementState {
    /// Matches the shell's answer to the request for audio or storage.
    pub(crate) token: u64,
    /// The audio; `None` until it has been loaded.
    clip: Option<Clip>,
    /// On no answer, store the clip in the mailbox.
    into_box: bool,
}

impl AnnouncementState {
    pub(crate) fn new(token: u64, into_box: bool) -> AnnouncementState {
        AnnouncementState { token, clip: None, into_box }
    }
}

impl Leg {
    /// Whether this is the placeholder leg of a call without a caller.
    pub(crate) fn is_placeholder(&self) -> bool {
        self.session == PLACEHOLDER.0
    }

    pub(crate) fn placeholder(party: String, at: Timestamp) -> Leg {
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

impl Call {
    /// Whether the call is an announcement with this token and has not been released.
    pub(crate) fn announces(&self, token: u64) -> bool {
        !matches!(self.phase, Phase::Released { .. })
            && self.announcement.as_ref().is_some_and(|announcement| announcement.token == token)
    }

    /// The audio has been loaded: route the call. Without audio it is released with [`Cause::AudioMissing`].
    pub(crate) fn audio_is_read(&mut self, cx: &mut Cx<'_>, clip: Option<Clip>) {
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

    /// The callee on leg `index` answered: play the clip to it.
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

    /// No answer: store the clip in the mailbox of `extension` if requested, else release the call with `cause`.
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
    pub(crate) fn prompt(&self, extension: &Extension, name: &str) -> Option<Clip> {
        let language = self.directory.mailbox(&extension.id).language;
        let clip = self.prompts.say(language, &[Prompt::named(name)?]);
        (!clip.is_empty()).then_some(clip)
    }
}
