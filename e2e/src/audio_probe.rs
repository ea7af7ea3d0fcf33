//! Audio probe: listens to a recording while it is being written.

use std::time::{Duration, Instant};

use crate::tone::{self, RATE, Sound};
use crate::until;

/// A probe that starts at a certain moment.
pub struct AudioProbe<'a> {
    who: String,
    /// Id of the recording, and all its samples so far.
    read: Box<dyn Fn() -> (String, Vec<i16>) + 'a>,
    recording: String,
    from: usize,
}

impl<'a> AudioProbe<'a> {
    pub(crate) fn new(who: &str, read: impl Fn() -> (String, Vec<i16>) + 'a) -> Self {
        let (recording, samples) = read();
        Self { who: who.to_owned(), read: Box::new(read), recording, from: samples.len() }
    }

    /// The audio until `count` samples have arrived or `limit` has passed. The next call continues after it.
    pub fn listen(&mut self, count: usize, limit: Duration) -> Sound {
        let start = Instant::now();
        let what = format!("{} listens", self.who);
        until(limit + Duration::from_secs(1), &what, || {
            let (recording, all) = (self.read)();
            if recording != self.recording {
                // A new stream is a new recording.
                self.recording = recording;
                self.from = 0;
            }
            let fresh = all.get(self.from..).unwrap_or_default();
            (fresh.len() >= count || start.elapsed() >= limit).then(|| {
                let sound = tone::measure(fresh);
                self.from = all.len();
                sound
            })
        })
    }

    /// Wait until the tone of `hz` is heard for half a second.
    ///
    /// # Panics
    /// If it is not; the message shows what was heard.
    #[track_caller]
    pub fn hears(&mut self, hz: u32) {
        let start = Instant::now();
        let mut heard = Vec::new();
        while start.elapsed() < Duration::from_secs(15) {
            let sound = self.listen(RATE as usize / 2, Duration::from_secs(3));
            if sound.is_tone(hz) {
                return;
            }
            heard.push(sound);
        }
        panic!("{} does not hear {hz} Hz but\n{}", self.who, tone::list(&heard));
    }

    /// Wait for a second without audio: no packets, or silence.
    ///
    /// # Panics
    /// If audio continues.
    #[track_caller]
    pub fn hears_nothing(&mut self) {
        let what = format!("{} hears nothing", self.who);
        until(Duration::from_secs(10), &what, || {
            self.listen(RATE as usize, Duration::from_secs(1)).is_silence().then_some(())
        });
    }
}
