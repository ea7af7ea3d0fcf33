//! Profile of a phone: codecs, supported SIP extensions, and behaviour of its user.

use base::Rng;

use crate::rng_ext::RngExt;

/// Reliability of provisional responses (RFC 3262).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prack {
    No,
    Supported,
    Required,
}

/// Rates are percentages unless the field says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct PhoneProfile {
    /// RTP payload types in order of preference.
    pub(crate) codecs: &'static [u8],
    pub(crate) late_offer: u64,
    pub(crate) prack: Prack,
    /// Session-Expires that it requests, in seconds (RFC 4028).
    pub(crate) session_timer: Option<u32>,
    /// It does not refresh the session although it is the refresher.
    pub(crate) forgets_refresh: bool,
    pub(crate) update: bool,
    pub(crate) early_media: u64,
    /// Requested expiry of its binding, in seconds.
    pub(crate) expires: u32,
    /// Pause between two outgoing calls in milliseconds: minimum and maximum.
    pub(crate) call_pause: (u64, u64),
    /// Shares of incoming calls that are answered, rejected, or only ring. The rest gets no response at all, not even 180.
    pub(crate) answers: u64,
    pub(crate) rejects: u64,
    pub(crate) rings_only: u64,
    /// Time until it answers or rejects, in milliseconds: minimum and maximum.
    pub(crate) answer_delay: (u64, u64),
    /// Time until it cancels an unanswered call, in milliseconds: minimum and maximum.
    pub(crate) cancel_delay: (u64, u64),
    /// Duration of an answered call in milliseconds: minimum and maximum.
    pub(crate) call_duration: (u64, u64),
    /// Share of answered calls with mid-dialog requests (hold, resume, INFO), one after each pause of so many milliseconds.
    pub(crate) reinvite_rate: u64,
    pub(crate) reinvite_pause: (u64, u64),
}

impl PhoneProfile {
    pub(crate) fn of(rng: &mut Rng) -> PhoneProfile {
        let codecs: &[&[u8]] = &[&[0, 8, 101], &[8, 101], &[0], &[0, 8], &[9, 0], &[9]];
        let common = rng.odds(80);
        let answers = *rng.pick(&[30, 60, 80, 95]);
        let rejects = rng.below(101 - answers);
        PhoneProfile {
            codecs: codecs[rng.below(if common { 4 } else { 6 }) as usize],
            late_offer: *rng.pick(&[0, 0, 20, 100]),
            prack: *rng.pick(&[Prack::No, Prack::No, Prack::Supported, Prack::Supported, Prack::Required]),
            session_timer: *rng.pick(&[None, None, None, Some(1800), Some(90), Some(60)]),
            forgets_refresh: rng.odds(10),
            update: rng.odds(70),
            early_media: *rng.pick(&[0, 20, 60]),
            expires: *rng.pick(&[60, 60, 90, 120, 300, 3600]),
            call_pause: *rng.pick(&[(500, 8000), (2000, 30_000), (20_000, 90_000)]),
            answers,
            rejects,
            rings_only: rng.below(101 - answers - rejects),
            answer_delay: *rng.pick(&[(0, 200), (200, 6000), (1000, 40_000)]),
            cancel_delay: *rng.pick(&[(0, 3000), (3000, 30_000), (40_000, 90_000)]),
            call_duration: *rng.pick(&[(0, 1000), (1000, 30_000), (30_000, 200_000)]),
            reinvite_rate: *rng.pick(&[0, 30, 70, 90]),
            reinvite_pause: *rng.pick(&[(100, 20_000), (100, 20_000), (20, 800)]),
        }
    }
}
