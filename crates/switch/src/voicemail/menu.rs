//! State machine of the mailbox menu: authentication, main menu, playing, saving and deleting messages, recording a greeting. No I/O: [`IvrEvent`]
//! in, [`IvrAction`] out.

use std::time::Duration;

use base::Secret;
use model::{MessageId, MessageState};

use super::prompt::{Prompt, count, digits};
use super::{Audio, Entry, IvrAction, IvrEvent, Recorded, Taken};

/// Number of wrong PINs after which the call ends.
const WRONG: u8 = 3;
/// Maximum number of digits of a number or a PIN; further digits are ignored.
const DIGITS: usize = 16;
/// Inter-digit timeout: after it the digits so far are taken as complete.
const NEXT_DIGIT: Duration = Duration::from_secs(5);
/// Timeout for the first digit after a menu was played.
const FIRST_DIGIT: Duration = Duration::from_secs(10);
/// Number of consecutive timeouts without a digit at which the call ends. Before that the menu is repeated.
const PATIENCE: u8 = 2;

/// Kind of number being collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Number,
    Pin,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    /// Digits of a number or a PIN are collected.
    Gathering(Asked),
    /// The PIN is being verified.
    Judged,
    /// The main menu is played, or a digit is awaited.
    Main,
    /// Entry `at` of the list: the message itself is played (`playing`), or its menu is played or a digit awaited.
    Message { at: usize, playing: bool },
    /// The instructions for recording a greeting are played.
    Instructed,
    /// The beep before the greeting is played.
    Beep,
    /// The greeting is recorded.
    Speaking,
    /// The caller is asked whether to keep the recorded greeting.
    Review,
    /// The last prompt is played; the call ends after it.
    Parting,
}

/// A menu session in progress.
#[derive(Clone, Debug)]
pub(crate) struct Menu {
    stage: Stage,
    /// Extension number that the caller entered; `None` for the caller's own mailbox.
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

    /// The mailbox is known; its PIN is required.
    pub(crate) fn own() -> (Menu, Vec<IvrAction>) {
        let mut menu = Menu::new(Stage::Judged, Vec::new());
        let acts = menu.ask(Asked::Pin, None);
        (menu, acts)
    }

    /// The mailbox is unknown: the caller enters an extension number, then the PIN.
    pub(crate) fn any() -> (Menu, Vec<IvrAction>) {
        let mut menu = Menu::new(Stage::Judged, Vec::new());
        let acts = menu.ask(Asked::Number, None);
        (menu, acts)
    }

    /// No PIN is required: the mailbox has none, and the call comes from a device of its extension.
    pub(crate) fn open(entries: Vec<Entry>) -> (Menu, Vec<IvrAction>) {
        let mut menu = Menu::new(Stage::Main, entries);
        let acts = menu.main(&[]);
        (menu, acts)
    }

    pub(crate) fn hear(&mut self, heard: &IvrEvent) -> Vec<IvrAction> {
        if let IvrEvent::Digit(_) = heard {
            self.silent = 0;
        }
        match self.stage {
            Stage::Gathering(asked) => self.gathering(asked, heard),
            Stage::Judged => self.judged(heard),
            Stage::Main => self.in_main(heard),
            Stage::Message { at, playing } => self.in_message(at, playing, heard),
            Stage::Instructed | Stage::Beep | Stage::Speaking | Stage::Review => self.greeting(heard),
            Stage::Parting => match heard {
                IvrEvent::Played | IvrEvent::Missing => vec![IvrAction::HangUp],
                IvrEvent::Digit(_)
                | IvrEvent::Late
                | IvrEvent::Quiet
                | IvrEvent::Recorded(_)
                | IvrEvent::Admitted(_)
                | IvrEvent::Refused => Vec::new(),
            },
        }
    }

    // ---- authentication ------------------------------------------------------------------------------------------------------

    fn ask(&mut self, asked: Asked, before: Option<Prompt>) -> Vec<IvrAction> {
        self.stage = Stage::Gathering(asked);
        self.gathered.clear();
        let question = match asked {
            Asked::Number => Prompt::AskNumber,
            Asked::Pin => Prompt::AskPin,
        };
        vec![IvrAction::Say(before.into_iter().chain([question]).collect())]
    }

    fn gathering(&mut self, asked: Asked, heard: &IvrEvent) -> Vec<IvrAction> {
        match heard {
            IvrEvent::Digit('#') => self.gathered_all(asked),
            IvrEvent::Digit('*') => self.ask(asked, None), // start over
            IvrEvent::Digit(digit) => {
                if digit.is_ascii_digit() && self.gathered.len() < DIGITS {
                    self.gathered.push(*digit);
                }
                vec![IvrAction::StopPlayback, IvrAction::Wait(NEXT_DIGIT)]
            }
            IvrEvent::Late if !self.gathered.is_empty() => self.gathered_all(asked),
            IvrEvent::Played => vec![IvrAction::Wait(FIRST_DIGIT)],
            IvrEvent::Late => self.again(|menu| menu.ask(asked, None)),
            IvrEvent::Missing
            | IvrEvent::Quiet
            | IvrEvent::Recorded(_)
            | IvrEvent::Admitted(_)
            | IvrEvent::Refused => Vec::new(),
        }
    }

    fn gathered_all(&mut self, asked: Asked) -> Vec<IvrAction> {
        let gathered = std::mem::take(&mut self.gathered);
        match asked {
            Asked::Number => {
                self.number = Some(gathered);
                self.ask(Asked::Pin, None)
            }
            Asked::Pin => {
                self.stage = Stage::Judged;
                vec![
                    IvrAction::StopPlayback,
                    IvrAction::VerifyPin { number: self.number.clone(), pin: Secret::new(gathered) },
                ]
            }
        }
    }

    fn judged(&mut self, heard: &IvrEvent) -> Vec<IvrAction> {
        match heard {
            IvrEvent::Admitted(entries) => {
                self.entries.clone_from(entries);
                self.main(&[])
            }
            IvrEvent::Refused => {
                self.wrong += 1;
                if self.wrong >= WRONG {
                    return self.part(&[Prompt::Wrong]);
                }
                // The prompt does not reveal whether the number or the PIN was wrong.
                let first = if self.number.is_some() { Asked::Number } else { Asked::Pin };
                self.ask(first, Some(Prompt::Wrong))
            }
            IvrEvent::Digit(_)
            | IvrEvent::Played
            | IvrEvent::Missing
            | IvrEvent::Late
            | IvrEvent::Quiet
            | IvrEvent::Recorded(_) => Vec::new(),
        }
    }

    // ---- main menu -----------------------------------------------------------------------------------------------------------

    fn main(&mut self, before: &[Prompt]) -> Vec<IvrAction> {
        self.stage = Stage::Main;
        let new = self.entries.iter().filter(|entry| entry.state == MessageState::New).count();
        let mut said = before.to_vec();
        said.extend(count(new, self.entries.len() - new));
        said.push(Prompt::MainMenu);
        vec![IvrAction::Say(said)]
    }

    fn in_main(&mut self, heard: &IvrEvent) -> Vec<IvrAction> {
        match heard {
            IvrEvent::Digit('1') => {
                let first = self.entries.iter().position(|entry| entry.state == MessageState::New);
                self.play(first.unwrap_or(0), &[])
            }
            IvrEvent::Digit('0') => self.instruct(),
            IvrEvent::Digit('*') => self.main(&[]),
            IvrEvent::Digit('#') => self.part(&[]),
            IvrEvent::Played => vec![IvrAction::Wait(FIRST_DIGIT)],
            IvrEvent::Late => self.again(|menu| menu.main(&[])),
            IvrEvent::Digit(_)
            | IvrEvent::Missing
            | IvrEvent::Quiet
            | IvrEvent::Recorded(_)
            | IvrEvent::Admitted(_)
            | IvrEvent::Refused => Vec::new(),
        }
    }

    // ---- message menu --------------------------------------------------------------------------------------------------------

    /// Announce the message and play it; return to the main menu if there is no entry `at`.
    fn play(&mut self, at: usize, before: &[Prompt]) -> Vec<IvrAction> {
        let Some(entry) = self.entries.get(at) else {
            let said: Vec<Prompt> = before.iter().copied().chain([Prompt::NoMore]).collect();
            return self.main(&said);
        };
        self.stage = Stage::Message { at, playing: true };
        let mut said = before.to_vec();
        said.extend([Prompt::Message, Prompt::Number((at + 1).min(99) as u8)]);
        if entry.from.bytes().any(|b| b.is_ascii_digit()) {
            said.push(Prompt::From);
            said.extend(digits(&entry.from));
        }
        vec![IvrAction::SayAndPlay(said, Audio::Message(entry.id.clone()))]
    }

    fn in_message(&mut self, at: usize, playing: bool, heard: &IvrEvent) -> Vec<IvrAction> {
        match heard {
            IvrEvent::Played if playing => {
                self.stage = Stage::Message { at, playing: false };
                let mut acts = self.mark(at, MessageState::Heard);
                acts.push(IvrAction::Say(vec![Prompt::MessageMenu]));
                acts
            }
            IvrEvent::Played => vec![IvrAction::Wait(FIRST_DIGIT)],
            IvrEvent::Missing => {
                self.stage = Stage::Message { at, playing: false };
                vec![IvrAction::Say(vec![Prompt::Sorry, Prompt::MessageMenu])]
            }
            IvrEvent::Late => self.again(|_| vec![IvrAction::Say(vec![Prompt::MessageMenu])]),
            IvrEvent::Digit('4') => self.after(at, |menu| menu.play(at.saturating_sub(1), &[])),
            IvrEvent::Digit('5') => self.play(at, &[]),
            IvrEvent::Digit('6') => self.after(at, |menu| menu.play(at + 1, &[])),
            IvrEvent::Digit('7') => self.delete(at),
            IvrEvent::Digit('9') => {
                let mut acts = self.mark(at, MessageState::Saved);
                acts.extend(self.play(at + 1, &[Prompt::Saved]));
                acts
            }
            IvrEvent::Digit('*') => self.after(at, |menu| menu.main(&[])),
            IvrEvent::Digit('#') => self.after(at, |menu| menu.part(&[])),
            IvrEvent::Digit(_)
            | IvrEvent::Quiet
            | IvrEvent::Recorded(_)
            | IvrEvent::Admitted(_)
            | IvrEvent::Refused => Vec::new(),
        }
    }

    /// Mark message `at` as heard, then do `then`: leaving a message counts as having heard it.
    fn after(&mut self, at: usize, then: impl FnOnce(&mut Menu) -> Vec<IvrAction>) -> Vec<IvrAction> {
        let mut acts = self.mark(at, MessageState::Heard);
        acts.extend(then(self));
        acts
    }

    /// Set the state of message `at`. No action if it already has that state, or if a saved message is marked as heard.
    fn mark(&mut self, at: usize, state: MessageState) -> Vec<IvrAction> {
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
        vec![IvrAction::Mark(entry.id.clone(), state)]
    }

    fn delete(&mut self, at: usize) -> Vec<IvrAction> {
        if at >= self.entries.len() {
            return self.main(&[]);
        }
        let gone: MessageId = self.entries.remove(at).id;
        let mut acts = vec![IvrAction::Delete(gone)];
        acts.extend(self.play(at, &[Prompt::Deleted]));
        acts
    }

    // ---- greeting ------------------------------------------------------------------------------------------------------------

    fn instruct(&mut self) -> Vec<IvrAction> {
        self.stage = Stage::Instructed;
        vec![IvrAction::Say(vec![Prompt::RecordGreeting])]
    }

    fn greeting(&mut self, heard: &IvrEvent) -> Vec<IvrAction> {
        match (&self.stage, heard) {
            (Stage::Instructed, IvrEvent::Played | IvrEvent::Digit('#')) => {
                self.stage = Stage::Beep;
                vec![IvrAction::Say(vec![Prompt::Beep])]
            }
            (Stage::Beep, IvrEvent::Played) => {
                self.stage = Stage::Speaking;
                vec![IvrAction::Record(Taken::Greeting)]
            }
            (Stage::Speaking, IvrEvent::Digit('#') | IvrEvent::Quiet | IvrEvent::Late) => {
                vec![IvrAction::Stop]
            }
            (Stage::Speaking, IvrEvent::Recorded(Recorded::Kept { .. })) => {
                self.stage = Stage::Review;
                vec![IvrAction::Say(vec![Prompt::GreetingMenu])]
            }
            (Stage::Speaking, IvrEvent::Recorded(Recorded::Nothing)) => self.main(&[Prompt::Sorry]),
            (Stage::Review, IvrEvent::Digit('1')) => {
                let mut acts = vec![IvrAction::Keep];
                acts.extend(self.main(&[Prompt::GreetingKept]));
                acts
            }
            (Stage::Review, IvrEvent::Digit('3')) => {
                let mut acts = vec![IvrAction::Forget];
                acts.extend(self.instruct());
                acts
            }
            (Stage::Instructed | Stage::Review, IvrEvent::Digit('*')) => {
                let mut acts = vec![IvrAction::Forget];
                acts.extend(self.main(&[]));
                acts
            }
            (Stage::Review, IvrEvent::Played) => vec![IvrAction::Wait(FIRST_DIGIT)],
            (Stage::Review, IvrEvent::Late) => {
                self.again(|_| vec![IvrAction::Say(vec![Prompt::GreetingMenu])])
            }
            (_, _) => Vec::new(),
        }
    }

    // ---- silence and end -----------------------------------------------------------------------------------------------------

    /// No digit was dialled: repeat the prompt once, then end the call.
    fn again(&mut self, say: impl FnOnce(&mut Menu) -> Vec<IvrAction>) -> Vec<IvrAction> {
        self.silent += 1;
        if self.silent >= PATIENCE { self.part(&[]) } else { say(self) }
    }

    fn part(&mut self, before: &[Prompt]) -> Vec<IvrAction> {
        self.stage = Stage::Parting;
        vec![IvrAction::Say(before.iter().copied().chain([Prompt::Goodbye]).collect())]
    }
}

#[cfg(test)]
#[path = "menu_tests.rs"]
mod tests;
