//! Session timers (RFC 4028): interval, refresher, refresh and expiry.

use std::time::Duration;

use base::Instant;

use super::Termination;
use super::state::{Intent, OfferAnswerState, OfferReason, Session, SessionState};
use crate::endpoint::{Config, Cx, ServerRequest};
use crate::{HeaderName, Headers, Message, Reply};

/// The session timer of one session.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_field_names)]
pub(crate) struct SessionTimer {
    /// Interval in seconds; 0 means no timer.
    interval: u32,
    /// The peer's minimum interval in seconds, from a 422.
    min_se: u32,
    /// Whether we are the refresher.
    local_refresher: bool,
    refresh_at: Option<Instant>,
    expires_at: Option<Instant>,
}

/// The smallest interval that either side may request, in seconds (RFC 4028 §4).
const MIN_INTERVAL: u32 = 90;

fn seconds(of: Duration) -> u32 {
    u32::try_from(of.as_secs()).unwrap_or(u32::MAX)
}

/// Session-Expires: the seconds, and whether `refresher` is `uac`.
fn session_expires(message: &Message) -> Option<(u32, Option<bool>)> {
    let value = message.header(HeaderName::SessionExpires)?;
    let mut parts = value.split(';').map(str::trim);
    let seconds = parts.next()?.parse().ok()?;
    let refresher = parts.find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case("refresher").then(|| value.trim().eq_ignore_ascii_case("uac"))
    });
    Some((seconds, refresher))
}

/// Our Min-SE in seconds, if a request asks for less and its sender understands 422: the request is then rejected (§9).
pub(crate) fn below_min_se(config: &Config, request: &Message) -> Option<u32> {
    let min_se = seconds(config.min_se);
    let asked = session_expires(request)?.0;
    let supports_timer =
        request.tokens(HeaderName::Supported).any(|token| token.eq_ignore_ascii_case("timer"));
    (asked < min_se && supports_timer).then_some(min_se)
}

impl SessionTimer {
    /// The timer that we request in an INVITE.
    pub(crate) fn requested(config: &Config) -> SessionTimer {
        SessionTimer {
            interval: seconds(config.session_expires),
            min_se: seconds(config.min_se),
            local_refresher: true,
            ..SessionTimer::default()
        }
    }

    pub(crate) fn invite_headers(&self, lines: &mut Headers) {
        if self.interval > 0 {
            lines.add("Session-Expires", self.interval).add("Min-SE", self.min_se);
        }
    }

    /// Append the header lines of our re-INVITE or UPDATE; the refresher stays the same.
    pub(crate) fn refresh_headers(&self, lines: &mut Headers) {
        if self.interval > 0 {
            let refresher = if self.local_refresher { "uac" } else { "uas" };
            lines.add("Session-Expires", format_args!("{};refresher={refresher}", self.interval));
            if self.min_se > 0 {
                lines.add("Min-SE", self.min_se);
            }
        }
    }

    /// A 422 response: adopt the peer's Min-SE. `true` if that raises our values, so that a retry makes sense.
    pub(crate) fn raise_interval(&mut self, response: &Message) -> bool {
        match response.number(HeaderName::MinSe) {
            Some(Ok(min_se)) if min_se > self.min_se || min_se > self.interval => {
                self.min_se = self.min_se.max(min_se);
                self.interval = self.interval.max(min_se);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Set interval and refresher for our 2xx to a request (§9), and append the header lines.
    pub(crate) fn negotiate(
        &mut self,
        now: Instant,
        config: &Config,
        request: &Message,
        supports_timer: bool,
        lines: &mut Headers,
    ) {
        let ours = seconds(config.session_expires);
        if ours == 0 {
            return;
        }
        let asked = session_expires(request);
        let min_se = match request.number(HeaderName::MinSe) {
            Some(Ok(min_se)) => min_se.max(MIN_INTERVAL),
            Some(Err(())) | None => MIN_INTERVAL,
        };
        let running = self.expires_at.is_some();
        let uac =
            supports_timer && asked.and_then(|(_, uac)| uac).unwrap_or(!(running && self.local_refresher));
        self.interval =
            asked.map_or(ours, |(seconds, _)| seconds.min(ours)).max(min_se).max(seconds(config.min_se));
        self.local_refresher = !uac;
        self.start(now);
        let refresher = if uac { "uac" } else { "uas" };
        lines.add("Session-Expires", format_args!("{};refresher={refresher}", self.interval));
        if uac {
            lines.add("Require", "timer");
        }
    }

    /// Read interval and refresher from the peer's 2xx to our request (§7.2).
    pub(crate) fn on_2xx(&mut self, now: Instant, response: &Message) {
        match session_expires(response) {
            Some((seconds, uac)) if seconds > 0 => {
                self.interval = seconds;
                self.local_refresher = uac.unwrap_or(true);
                self.start(now);
            }
            Some(_) | None => (self.interval, self.refresh_at, self.expires_at) = (0, None, None),
        }
    }

    fn start(&mut self, now: Instant) {
        let interval = Duration::from_secs(u64::from(self.interval));
        self.refresh_at = self.local_refresher.then(|| now + interval / 2);
        // §10: BYE slightly before expiry, while the proxies still have their state.
        self.expires_at = Some(now + interval.saturating_sub((interval / 3).min(Duration::from_secs(32))));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.refresh_at.into_iter().chain(self.expires_at).min()
    }
}

impl Session {
    /// Reject a re-INVITE or UPDATE that requests too small an interval; `false` if it was rejected.
    pub(crate) fn check_session_interval(cx: &mut Cx<'_>, request: &ServerRequest) -> bool {
        let Some(min_se) = below_min_se(&cx.core.config, &request.message) else { return true };
        let mut lines = Headers::new();
        lines.add("Min-SE", min_se);
        cx.respond(request, "", Reply::new(422).lines(&lines), |_, _| {});
        false
    }

    pub(crate) fn tick_refresh(&mut self, cx: &mut Cx<'_>) {
        let SessionState::Confirmed(up) = &self.state else { return };
        let waiting = up.bye.is_some();
        if self.timer.expires_at.is_some_and(|at| at <= cx.now) {
            let mut lines = Headers::new();
            lines.add("Reason", "SIP;cause=408;text=\"Session timer expired\"");
            self.send_final_bye(cx, &lines);
            return self
                .terminate(cx, if waiting { Termination::Local } else { Termination::SessionTimeout });
        }
        if self.timer.refresh_at.is_none_or(|at| at > cx.now) {
            return;
        }
        let unacked = up.unacked.is_some();
        self.timer.refresh_at = None;
        if self.peer.allows_update {
            self.send_request(cx, Intent::Update { sdp: None, reason: OfferReason::Refresh }, false);
        } else if unacked || !matches!(self.offer_answer, OfferAnswerState::Stable) {
            // Another offer is pending, and may be a refresh itself.
            self.timer.refresh_at = Some(cx.now + Duration::from_secs(5));
        } else if let Some(sdp) = self.local_sdp.clone() {
            self.send_offer(cx, sdp, false, OfferReason::Refresh);
        }
    }

    /// A refresh was rejected, but the dialog lives: retry soon, until the session expires.
    pub(crate) fn refresh_failed(&mut self, cx: &mut Cx<'_>, answer: Result<&Message, u16>) {
        let glare = answer.is_ok_and(|response| response.status() == Some(491));
        if answer.is_ok_and(|response| matches!(response.status(), Some(405 | 501))) {
            self.peer.allows_update = false;
        }
        let wait = if glare { self.glare_delay(cx) } else { Duration::from_secs(5) };
        self.timer.refresh_at = Some(cx.now + wait);
    }
}
