//! Self-authenticating nonces, and the nonce counts used with them.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::fmt;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::limits;

/// Result of checking a nonce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Ours, and not older than [`Nonces::LIFE`].
    Fresh,
    /// Ours, but older than [`Nonces::LIFE`]: respond with `stale=true`.
    Stale,
    /// Not ours: treat the request as one without credentials.
    Forged,
}

/// Length of the serial, in bytes: 40 bits of milliseconds, 24 bits of a counter.
const SERIAL_BYTES: usize = 8;
/// Length of the truncated HMAC, in bytes.
const MAC_BYTES: usize = 10;
const NONCE_BYTES: usize = SERIAL_BYTES + MAC_BYTES;
/// How far below the highest count a late one may be.
const WINDOW: u32 = 64;

/// Creates nonces that carry their own proof (time and HMAC under a key of this process), so that challenging unauthenticated senders stores nothing.
/// Stores, in a bounded table, the nonce counts used in successful authentications.
pub struct Nonces {
    /// The HMAC with its key already set.
    mac: Hmac<Sha256>,
    counter: u32,
    /// Counts used, by serial.
    used: KeyedMap<u64, Counts>,
    /// Serials in the order of their first use.
    order: VecDeque<u64>,
    /// Nonces created up to this millisecond are stale at any age, because their counts were evicted.
    stale_up_to: Option<u64>,
}

/// The counts used with a nonce: the highest, and a bit for each of the 64 up to it.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    seen: u64,
}

impl Counts {
    /// Mark `nc` as used; `false` if it was used before, or is below the window.
    fn mark_used(&mut self, nc: u32) -> bool {
        if nc > self.highest {
            self.seen = self.seen.checked_shl(nc - self.highest).unwrap_or(0) | 1;
            self.highest = nc;
            return true;
        }
        let distance = self.highest - nc;
        let bit = 1u64.checked_shl(distance).unwrap_or(0);
        let unused = distance < WINDOW && self.seen & bit == 0;
        self.seen |= bit;
        unused
    }
}

impl Nonces {
    /// Lifetime of a nonce.
    pub const LIFE: Duration = Duration::from_mins(1);

    /// A nonce generator with a new key.
    pub fn new(rng: &mut Rng) -> Nonces {
        let mut key = [0; 64];
        rng.fill(&mut key);
        Nonces {
            mac: Hmac::new(&key.into()),
            counter: 0,
            used: KeyedMap::with_hasher(KeyedHash::new(rng)),
            order: VecDeque::new(),
            stale_up_to: None,
        }
    }

    /// A new nonce: 24 characters, so that the usual response hashes in as few blocks as possible.
    pub fn mint(&mut self, now: Instant) -> String {
        self.counter = self.counter.wrapping_add(1) & 0xff_ffff;
        let serial = (millis(now) << 24) | u64::from(self.counter);
        let mut raw = [0; NONCE_BYTES];
        let (head, tail) = raw.split_at_mut(SERIAL_BYTES);
        head.copy_from_slice(&serial.to_be_bytes());
        tail.copy_from_slice(&self.mac_of(serial));
        URL_SAFE_NO_PAD.encode(raw)
    }

    /// Whether a nonce is ours and fresh.
    pub fn check(&self, now: Instant, nonce: &str) -> Freshness {
        let Some((serial, mac)) = decode(nonce) else { return Freshness::Forged };
        if !bool::from(mac.ct_eq(&self.mac_of(serial))) {
            return Freshness::Forged;
        }
        if self.is_old(now, serial) { Freshness::Stale } else { Freshness::Fresh }
    }

    /// Mark `nc` of a fresh nonce as used, after the digest was verified. `false` if it was used before (RFC 7616 §5.5; a window of 64 lets requests
    /// overtake each other). The nonce must have passed [`Nonces::check`] at the same `now`.
    pub fn spend(&mut self, now: Instant, nonce: &str, nc: u32) -> bool {
        let Some((serial, _)) = decode(nonce) else { return false };
        if nc == 0 || self.is_old(now, serial) {
            return false;
        }
        if let Entry::Occupied(mut known) = self.used.entry(serial) {
            return known.get_mut().mark_used(nc);
        }
        self.evict(now);
        self.used.insert(serial, Counts { highest: nc, seen: 1 });
        self.order.push_back(serial);
        true
    }

    /// Evict a few expired entries, and the oldest one if the table is full.
    fn evict(&mut self, now: Instant) {
        for _ in 0..4 {
            let Some(&oldest) = self.order.front() else { return };
            let old = self.is_old(now, oldest);
            if !old && self.order.len() < limits::NONCES {
                return;
            }
            if !old {
                self.stale_up_to = self.stale_up_to.max(Some(oldest >> 24));
            }
            self.order.pop_front();
            self.used.remove(&oldest);
        }
    }

    fn is_old(&self, now: Instant, serial: u64) -> bool {
        let minted = serial >> 24;
        self.stale_up_to.is_some_and(|stale_up_to| minted <= stale_up_to)
            || millis(now).saturating_sub(minted) > Self::LIFE.as_millis() as u64
    }

    fn mac_of(&self, serial: u64) -> [u8; MAC_BYTES] {
        let full_mac = self.mac.clone().chain_update(serial.to_be_bytes()).finalize().into_bytes();
        full_mac.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("used", &self.used.len()).finish_non_exhaustive()
    }
}

fn millis(now: Instant) -> u64 {
    now.as_micros() / 1000
}

/// The serial and the HMAC of a nonce.
fn decode(nonce: &str) -> Option<(u64, [u8; MAC_BYTES])> {
    let mut raw = [0; NONCE_BYTES];
    let len = URL_SAFE_NO_PAD.decode_slice(nonce, &mut raw).ok()?;
    let (head, tail) = raw.split_first_chunk::<SERIAL_BYTES>()?;
    (len == NONCE_BYTES).then_some((u64::from_be_bytes(*head), *tail.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_count_is_valid_once_and_may_be_late_within_the_window() {
        let mut nonces = Nonces::new(&mut Rng::from_number(1));
        let nonce = nonces.mint(at(1));
        let taken: Vec<bool> = [10, 10, 9, 9, 100, 36, 37, 37, u32::MAX, u32::MAX, 100, 0]
            .into_iter()
            .map(|nc| nonces.spend(at(2), &nonce, nc))
            .collect();
        assert_eq!(taken, [true, false, true, false, true, false, true, false, true, false, false, false]); // RFC 7616 §5.5
    }

    #[test]
    fn a_full_table_evicts_the_oldest_nonce_which_becomes_stale() {
        let mut nonces = Nonces::new(&mut Rng::from_number(2));
        let first = nonces.mint(at(0));
        assert!(nonces.spend(at(0), &first, 1));
        for _ in 0..limits::NONCES {
            let nonce = nonces.mint(at(1));
            assert!(nonces.spend(at(1), &nonce, 1));
        }
        assert_eq!(nonces.used.len(), limits::NONCES);
        assert_eq!((nonces.check(at(1), &first), nonces.spend(at(1), &first, 1)), (Freshness::Stale, false));
        let young = nonces.mint(at(70));
        assert!(nonces.spend(at(70), &young, 1));
        assert_eq!(nonces.used.len(), limits::NONCES - 3); // four that were over made room for one
    }
}
