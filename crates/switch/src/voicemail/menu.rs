//! The owner's menu: who are you, what is there, listen, keep, delete, record a greeting. A pure machine: what was heard in, what to do out.

use std::time::Duration;

use base::Secret;
use model::{MessageId, MessageState};

use super::phrase::{Phrase, count, digits};
use super::{Act, Audio, Entry, Heard, Recorded, Taken};

/// Wrong PINs until we hang up.
const WRONG: u8 = 3;
/// Digits of a number or a PIN that are listened to.
const DIGITS: usize = 16;
/// How long the next digit may take: then what was dialled counts.
const NEXT_DIGIT: Duration = Duration::from_secs(5);
/// How long a menu waits for its first digit.
const FIRST_DIGIT: Duration = Duration::from_secs(10);
/// How often a menu is said again to somebody who dials nothing.
const PATIENCE: u8 = 2;

/// What digits are being gathered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Number,
    Pin,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Dials a number or a PIN.
    Gathering(Asked),
    /// The switch looks whether the PIN is right.
    Judged,
    /// Hears the main menu, or thinks about it.
    Main,
    /// Hears that message of the list, or what can be done with it.
    Message { at: usize, playing: bool },
    /// Hears how to record a greeting.
    Instructed,
    /// Hears the beep before it.
    Beep,
    /// Speaks it.
    Speaking,
    /// Decides about it.
    Review,
    /// Hears goodbye.
    Parting,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    stage: Stage,
    /// The box that was asked for by number.
    number: Option<String>,
    gathered: String,
    wrong: u8,
    silent: u8,
    entries: Vec<Entry>,
}

impl Menu {
    fn new(stage: Stage, entries: Vec<Entry>) -> Menu {
        Menu { stage, number: None, gathered: String::new(), wrong: 0, silent: 0, entries }
    }

    /// A caller whose box is known, and who must give its PIN.
    pub(crate) fn own() -> (Menu, Vec<Act>) {
        let mut menu = Menu::new(Stage::Judged, Vec::new());
        let acts = menu.ask(Asked::Pin, None);
        (menu, acts)
    }

    /// A caller who says whose box it is.
    pub(crate) fn any() -> (Menu, Vec<Act>) {
        let mut menu = Menu::new(Stage::Judged, Vec::new());
        let acts = menu.ask(Asked::Number, None);
        (menu, acts)
    }

    /// A caller who needs no PIN: a box without one, from its own phone.
    pub(crate) fn open(entries: Vec<Entry>) -> (Menu, Vec<Act>) {
        let mut menu = Menu::new(Stage::Main, entries);
        let acts = menu.main(&[]);
        (menu, acts)
    }

    pub(crate) fn hear(&mut self, heard: &Heard) -> Vec<Act> {
        if let Heard::Digit(_) = heard {
            self.silent = 0;
        }
        match self.stage {
            Stage::Gathering(asked) => self.gathering(asked, heard),
            Stage::Judged => self.judged(heard),
            Stage::Main => self.in_main(heard),
            Stage::Message { at, playing } => self.in_message(at, playing, heard),
            Stage::Instructed | Stage::Beep | Stage::Speaking | Stage::Review => self.greeting(heard),
            Stage::Parting => match heard {
                Heard::Played | Heard::Missing => vec![Act::HangUp],
                Heard::Digit(_)
                | Heard::Late
                | Heard::Quiet
                | Heard::Recorded(_)
                | Heard::Admitted(_)
                | Heard::Refused => Vec::new(),
            },
        }
    }

    // ---- who are you ---------------------------------------------------------------------------------------------------------

    fn ask(&mut self, asked: Asked, before: Option<Phrase>) -> Vec<Act> {
        self.stage = Stage::Gathering(asked);
        self.gathered.clear();
        let question = match asked {
            Asked::Number => Phrase::AskNumber,
            Asked::Pin => Phrase::AskPin,
        };
        vec![Act::Say(before.into_iter().chain([question]).collect())]
    }

    fn gathering(&mut self, asked: Asked, heard: &Heard) -> Vec<Act> {
        match heard {
            Heard::Digit('#') => self.gathered_all(asked),
            Heard::Digit('*') => self.ask(asked, None), // begin again
            Heard::Digit(digit) => {
                if digit.is_ascii_digit() && self.gathered.len() < DIGITS {
                    self.gathered.push(*digit);
                }
                vec![Act::Hush, Act::Wait(NEXT_DIGIT)]
            }
            Heard::Late if !self.gathered.is_empty() => self.gathered_all(asked),
            Heard::Played => vec![Act::Wait(FIRST_DIGIT)],
            Heard::Late => self.again(|menu| menu.ask(asked, None)),
            Heard::Missing | Heard::Quiet | Heard::Recorded(_) | Heard::Admitted(_) | Heard::Refused => {
                Vec::new()
            }
        }
    }

    fn gathered_all(&mut self, asked: Asked) -> Vec<Act> {
        let gathered = std::mem::take(&mut self.gathered);
        match asked {
            Asked::Number => {
                self.number = Some(gathered);
                self.ask(Asked::Pin, None)
            }
            Asked::Pin => {
                self.stage = Stage::Judged;
                vec![Act::Hush, Act::Judge { number: self.number.clone(), pin: Secret::new(gathered) }]
            }
        }
    }

    fn judged(&mut self, heard: &Heard) -> Vec<Act> {
        match heard {
            Heard::Admitted(entries) => {
                self.entries.clone_from(entries);
                self.main(&[])
            }
            Heard::Refused => {
                self.wrong += 1;
                if self.wrong >= WRONG {
                    return self.part(&[Phrase::Wrong]);
                }
                // Whether it was the number or the PIN is nobody's business.
                let first = if self.number.is_some() { Asked::Number } else { Asked::Pin };
                self.ask(first, Some(Phrase::Wrong))
            }
            Heard::Digit(_)
            | Heard::Played
            | Heard::Missing
            | Heard::Late
            | Heard::Quiet
            | Heard::Recorded(_) => Vec::new(),
        }
    }

    // ---- what is there -------------------------------------------------------------------------------------------------------

    fn main(&mut self, before: &[Phrase]) -> Vec<Act> {
        self.stage = Stage::Main;
        let new = self.entries.iter().filter(|entry| entry.state == MessageState::New).count();
        let mut said = before.to_vec();
        said.extend(count(new, self.entries.len() - new));
        said.push(Phrase::MainMenu);
        vec![Act::Say(said)]
    }

    fn in_main(&mut self, heard: &Heard) -> Vec<Act> {
        match heard {
            Heard::Digit('1') => {
                let first = self.entries.iter().position(|entry| entry.state == MessageState::New);
                self.play(first.unwrap_or(0), &[])
            }
            Heard::Digit('0') => self.instruct(),
            Heard::Digit('*') => self.main(&[]),
            Heard::Digit('#') => self.part(&[]),
            Heard::Played => vec![Act::Wait(FIRST_DIGIT)],
            Heard::Late => self.again(|menu| menu.main(&[])),
            Heard::Digit(_)
            | Heard::Missing
            | Heard::Quiet
            | Heard::Recorded(_)
            | Heard::Admitted(_)
            | Heard::Refused => Vec::new(),
        }
    }

    // ---- one message ---------------------------------------------------------------------------------------------------------

    /// Say which message it is, then play it; back to the main menu where there is none.
    fn play(&mut self, at: usize, before: &[Phrase]) -> Vec<Act> {
        let Some(entry) = self.entries.get(at) else {
            let said: Vec<Phrase> = before.iter().copied().chain([Phrase::NoMore]).collect();
            return self.main(&said);
        };
        self.stage = Stage::Message { at, playing: true };
        let mut said = before.to_vec();
        said.extend([Phrase::Message, Phrase::Number((at + 1).min(99) as u8)]);
        if entry.from.bytes().any(|b| b.is_ascii_digit()) {
            said.push(Phrase::From);
            said.extend(digits(&entry.from));
        }
        vec![Act::SayAndPlay(said, Audio::Message(entry.id.clone()))]
    }

    fn in_message(&mut self, at: usize, playing: bool, heard: &Heard) -> Vec<Act> {
        match heard {
            Heard::Played if playing => {
                self.stage = Stage::Message { at, playing: false };
                let mut acts = self.mark(at, MessageState::Heard);
                acts.push(Act::Say(vec![Phrase::MessageMenu]));
                acts
            }
            Heard::Played => vec![Act::Wait(FIRST_DIGIT)],
            Heard::Missing => {
                self.stage = Stage::Message { at, playing: false };
                vec![Act::Say(vec![Phrase::Sorry, Phrase::MessageMenu])]
            }
            Heard::Late => self.again(|_| vec![Act::Say(vec![Phrase::MessageMenu])]),
            Heard::Digit('4') => self.after(at, |menu| menu.play(at.saturating_sub(1), &[])),
            Heard::Digit('5') => self.play(at, &[]),
            Heard::Digit('6') => self.after(at, |menu| menu.play(at + 1, &[])),
            Heard::Digit('7') => self.delete(at),
            Heard::Digit('9') => {
                let mut acts = self.mark(at, MessageState::Saved);
                acts.extend(self.play(at + 1, &[Phrase::Saved]));
                acts
            }
            Heard::Digit('*') => self.after(at, |menu| menu.main(&[])),
            Heard::Digit('#') => self.after(at, |menu| menu.part(&[])),
            Heard::Digit(_) | Heard::Quiet | Heard::Recorded(_) | Heard::Admitted(_) | Heard::Refused => {
                Vec::new()
            }
        }
    }

    /// Whoever moves on has heard enough of a message.
    fn after(&mut self, at: usize, then: impl FnOnce(&mut Menu) -> Vec<Act>) -> Vec<Act> {
        let mut acts = self.mark(at, MessageState::Heard);
        acts.extend(then(self));
        acts
    }

    /// Note what has become of a message, where that is news.
    fn mark(&mut self, at: usize, state: MessageState) -> Vec<Act> {
        let Some(entry) = self.entries.get_mut(at) else { return Vec::new() };
        let news = match state {
            MessageState::Heard => entry.state == MessageState::New,
            MessageState::Saved => entry.state != MessageState::Saved,
            MessageState::New | MessageState::Recording => false,
        };
        if !news {
            return Vec::new();
        }
        entry.state = state;
        vec![Act::Mark(entry.id.clone(), state)]
    }

    fn delete(&mut self, at: usize) -> Vec<Act> {
        if at >= self.entries.len() {
            return self.main(&[]);
        }
        let gone: MessageId = self.entries.remove(at).id;
        let mut acts = vec![Act::Delete(gone)];
        acts.extend(self.play(at, &[Phrase::Deleted]));
        acts
    }

    // ---- greeting ------------------------------------------------------------------------------------------------------------

    fn instruct(&mut self) -> Vec<Act> {
        self.stage = Stage::Instructed;
        vec![Act::Say(vec![Phrase::RecordGreeting])]
    }

    fn greeting(&mut self, heard: &Heard) -> Vec<Act> {
        match (&self.stage, heard) {
            (Stage::Instructed, Heard::Played | Heard::Digit('#')) => {
                self.stage = Stage::Beep;
                vec![Act::Say(vec![Phrase::Beep])]
            }
            (Stage::Beep, Heard::Played) => {
                self.stage = Stage::Speaking;
                vec![Act::Record(Taken::Greeting)]
            }
            (Stage::Speaking, Heard::Digit('#') | Heard::Quiet | Heard::Late) => vec![Act::Stop],
            (Stage::Speaking, Heard::Recorded(Recorded::Kept { .. })) => {
                self.stage = Stage::Review;
                vec![Act::Say(vec![Phrase::GreetingMenu])]
            }
            (Stage::Speaking, Heard::Recorded(Recorded::Nothing)) => self.main(&[Phrase::Sorry]),
            (Stage::Review, Heard::Digit('1')) => {
                let mut acts = vec![Act::Keep];
                acts.extend(self.main(&[Phrase::GreetingKept]));
                acts
            }
            (Stage::Review, Heard::Digit('3')) => {
                let mut acts = vec![Act::Forget];
                acts.extend(self.instruct());
                acts
            }
            (Stage::Instructed | Stage::Review, Heard::Digit('*')) => {
                let mut acts = vec![Act::Forget];
                acts.extend(self.main(&[]));
                acts
            }
            (Stage::Review, Heard::Played) => vec![Act::Wait(FIRST_DIGIT)],
            (Stage::Review, Heard::Late) => self.again(|_| vec![Act::Say(vec![Phrase::GreetingMenu])]),
            (_, _) => Vec::new(),
        }
    }

    // ---- ends ----------------------------------------------------------------------------------------------------------------

    /// Nothing was dialled: say it once more, and then no more.
    fn again(&mut self, say: impl FnOnce(&mut Menu) -> Vec<Act>) -> Vec<Act> {
        self.silent += 1;
        if self.silent >= PATIENCE { self.part(&[]) } else { say(self) }
    }

    fn part(&mut self, before: &[Phrase]) -> Vec<Act> {
        self.stage = Stage::Parting;
        vec![Act::Say(before.iter().copied().chain([Phrase::Goodbye]).collect())]
    }
}

#[cfg(test)]
#[path = "menu_tests.rs"]
mod tests;
