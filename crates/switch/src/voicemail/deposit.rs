//! State machine of a message deposit: greeting, beep, recording, confirmation, end. No I/O: [`IvrEvent`] in, [`IvrAction`] out.

use super::prompt::Prompt;
use super::{Audio, IvrAction, IvrEvent, Recorded, Taken};

/// Stage of a deposit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The greeting is played.
    Greeting,
    /// The beep is played.
    Beep,
    /// The message is recorded.
    Speaking,
    /// The last prompt is played; the call ends after it.
    Parting,
}

/// A message deposit in progress.
#[derive(Clone, Debug)]
pub(crate) struct Deposit {
    stage: Stage,
}

impl Deposit {
    /// Start a deposit after the caller is answered, with its first actions. `own`: the owner has recorded a greeting. `full`: the mailbox takes
    /// no more messages.
    pub(crate) fn begin(own: bool, full: bool) -> (Deposit, Vec<IvrAction>) {
        if full {
            return (Deposit { stage: Stage::Parting }, vec![IvrAction::Say(vec![Prompt::Full])]);
        }
        let first = if own {
            IvrAction::SayAndPlay(Vec::new(), Audio::Greeting)
        } else {
            IvrAction::Say(vec![Prompt::Greeting])
        };
        (Deposit { stage: Stage::Greeting }, vec![first])
    }

    pub(crate) fn hear(&mut self, heard: &IvrEvent) -> Vec<IvrAction> {
        match (self.stage, heard) {
            (Stage::Greeting, IvrEvent::Missing) => vec![IvrAction::Say(vec![Prompt::Greeting])],
            // `#` skips the greeting.
            (Stage::Greeting, IvrEvent::Played | IvrEvent::Digit('#')) => {
                self.stage = Stage::Beep;
                vec![IvrAction::Say(vec![Prompt::Beep])]
            }
            (Stage::Beep, IvrEvent::Played) => {
                self.stage = Stage::Speaking;
                vec![IvrAction::Record(Taken::Message)]
            }
            (Stage::Speaking, IvrEvent::Digit('#') | IvrEvent::Quiet | IvrEvent::Late) => {
                vec![IvrAction::Stop]
            }
            (Stage::Speaking, IvrEvent::Recorded(Recorded::Kept { .. })) => {
                self.stage = Stage::Parting;
                vec![IvrAction::Keep, IvrAction::Say(vec![Prompt::Left])]
            }
            (Stage::Speaking, IvrEvent::Recorded(Recorded::Nothing)) => {
                self.stage = Stage::Parting;
                vec![IvrAction::Say(vec![Prompt::Goodbye])]
            }
            (Stage::Parting, IvrEvent::Played | IvrEvent::Missing) => vec![IvrAction::HangUp],
            (Stage::Greeting | Stage::Beep | Stage::Speaking | Stage::Parting, _) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: IvrEvent = IvrEvent::Recorded(Recorded::Kept { millis: 4_000 });

    #[test]
    fn a_message_is_greeted_beeped_spoken_and_kept() {
        for end in [IvrEvent::Digit('#'), IvrEvent::Quiet, IvrEvent::Late] {
            let (mut deposit, first) = Deposit::begin(false, false);
            assert_eq!(first, [IvrAction::Say(vec![Prompt::Greeting])]);
            for (heard, acts) in [
                (IvrEvent::Digit('5'), vec![]),
                (IvrEvent::Played, vec![IvrAction::Say(vec![Prompt::Beep])]),
                (IvrEvent::Digit('#'), vec![]),
                (IvrEvent::Played, vec![IvrAction::Record(Taken::Message)]),
                (IvrEvent::Digit('5'), vec![]),
                (end.clone(), vec![IvrAction::Stop]),
                (KEPT, vec![IvrAction::Keep, IvrAction::Say(vec![Prompt::Left])]),
                (IvrEvent::Late, vec![]),
                (IvrEvent::Played, vec![IvrAction::HangUp]),
            ] {
                assert_eq!(deposit.hear(&heard), acts, "{heard:?}"); // S72
            }
        }
    }

    #[test]
    fn the_owners_greeting_is_played_where_it_can_be_and_cut_short_by_hash() {
        let (mut deposit, first) = Deposit::begin(true, false);
        assert_eq!(first, [IvrAction::SayAndPlay(Vec::new(), Audio::Greeting)]);
        assert_eq!(deposit.hear(&IvrEvent::Missing), [IvrAction::Say(vec![Prompt::Greeting])]);
        assert_eq!(deposit.hear(&IvrEvent::Digit('#')), [IvrAction::Say(vec![Prompt::Beep])]);
    }

    #[test]
    fn a_full_box_takes_nothing_and_silence_is_no_message() {
        let (mut deposit, first) = Deposit::begin(true, true);
        assert_eq!(first, [IvrAction::Say(vec![Prompt::Full])]);
        assert_eq!(deposit.hear(&IvrEvent::Played), [IvrAction::HangUp]);
        let (mut deposit, _) = Deposit::begin(false, false);
        deposit.hear(&IvrEvent::Played);
        deposit.hear(&IvrEvent::Played);
        let nothing = IvrEvent::Recorded(Recorded::Nothing);
        assert_eq!(deposit.hear(&nothing), [IvrAction::Say(vec![Prompt::Goodbye])]);
    }
}
