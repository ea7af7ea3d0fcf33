//! Leaving a message: greeting, beep, the message itself, and its ends.

use super::phrase::Phrase;
use super::{Act, Audio, Heard, Recorded, Taken};

/// Where a caller is who leaves a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Hears the greeting.
    Greeting,
    /// Hears the beep.
    Beep,
    /// Speaks.
    Speaking,
    /// Hears that it is done.
    Parting,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Deposit {
    stage: Stage,
}

impl Deposit {
    /// The caller is answered; what is done first. `own` says that the owner has recorded a greeting.
    pub(crate) fn begin(own: bool, full: bool) -> (Deposit, Vec<Act>) {
        if full {
            return (Deposit { stage: Stage::Parting }, vec![Act::Say(vec![Phrase::Full])]);
        }
        let first =
            if own { Act::SayAndPlay(Vec::new(), Audio::Greeting) } else { Act::Say(vec![Phrase::Greeting]) };
        (Deposit { stage: Stage::Greeting }, vec![first])
    }

    pub(crate) fn hear(&mut self, heard: &Heard) -> Vec<Act> {
        match (self.stage, heard) {
            (Stage::Greeting, Heard::Missing) => vec![Act::Say(vec![Phrase::Greeting])],
            // Who knows the greeting cuts it short.
            (Stage::Greeting, Heard::Played | Heard::Digit('#')) => {
                self.stage = Stage::Beep;
                vec![Act::Say(vec![Phrase::Beep])]
            }
            (Stage::Beep, Heard::Played) => {
                self.stage = Stage::Speaking;
                vec![Act::Record(Taken::Message)]
            }
            (Stage::Speaking, Heard::Digit('#') | Heard::Quiet | Heard::Late) => vec![Act::Stop],
            (Stage::Speaking, Heard::Recorded(Recorded::Kept { .. })) => {
                self.stage = Stage::Parting;
                vec![Act::Keep, Act::Say(vec![Phrase::Left])]
            }
            (Stage::Speaking, Heard::Recorded(Recorded::Nothing)) => {
                self.stage = Stage::Parting;
                vec![Act::Say(vec![Phrase::Goodbye])]
            }
            (Stage::Parting, Heard::Played | Heard::Missing) => vec![Act::HangUp],
            (Stage::Greeting | Stage::Beep | Stage::Speaking | Stage::Parting, _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Heard = Heard::Recorded(Recorded::Kept { millis: 4_000 });

    #[test]
    fn a_message_is_greeted_beeped_spoken_and_kept() {
        for end in [Heard::Digit('#'), Heard::Quiet, Heard::Late] {
            let (mut deposit, first) = Deposit::begin(false, false);
            assert_eq!(first, [Act::Say(vec![Phrase::Greeting])]);
            for (heard, acts) in [
                (Heard::Digit('5'), vec![]),
                (Heard::Played, vec![Act::Say(vec![Phrase::Beep])]),
                (Heard::Digit('#'), vec![]),
                (Heard::Played, vec![Act::Record(Taken::Message)]),
                (Heard::Digit('5'), vec![]),
                (end.clone(), vec![Act::Stop]),
                (KEPT, vec![Act::Keep, Act::Say(vec![Phrase::Left])]),
                (Heard::Late, vec![]),
                (Heard::Played, vec![Act::HangUp]),
            ] {
                assert_eq!(deposit.hear(&heard), acts, "{heard:?}"); // S72
            }
        }
    }

    #[test]
    fn the_owners_greeting_is_played_where_it_can_be_and_cut_short_by_hash() {
        let (mut deposit, first) = Deposit::begin(true, false);
        assert_eq!(first, [Act::SayAndPlay(Vec::new(), Audio::Greeting)]);
        assert_eq!(deposit.hear(&Heard::Missing), [Act::Say(vec![Phrase::Greeting])]);
        assert_eq!(deposit.hear(&Heard::Digit('#')), [Act::Say(vec![Phrase::Beep])]);
    }

    #[test]
    fn a_full_box_takes_nothing_and_silence_is_no_message() {
        let (mut deposit, first) = Deposit::begin(true, true);
        assert_eq!(first, [Act::Say(vec![Phrase::Full])]);
        assert_eq!(deposit.hear(&Heard::Played), [Act::HangUp]);
        let (mut deposit, _) = Deposit::begin(false, false);
        deposit.hear(&Heard::Played);
        deposit.hear(&Heard::Played);
        let nothing = Heard::Recorded(Recorded::Nothing);
        assert_eq!(deposit.hear(&nothing), [Act::Say(vec![Phrase::Goodbye])]);
    }
}
