//! Voicemail prompts: phrases by name, counts and digits composed of phrases, and their audio.

use std::collections::BTreeMap;
use std::f32::consts::PI;
use std::sync::Arc;

use model::Language;

/// Linear 16-bit PCM, mono, 8 kHz.
pub type Clip = Arc<[i16]>;

macro_rules! phrases {
    ($($name:ident = $text:literal,)*) => {
        /// A phrase of voicemail, one clip per language.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[allow(missing_docs)]
        pub enum Prompt {
            $($name,)*
            /// A number up to 20 (in Spanish up to 29), or tens up to 90.
            Number(u8),
        }

        impl Prompt {
            /// The phrase with this name, as in `prompts/texts.tsv` and the file name of its audio. The name of a number is its decimal form.
            pub fn named(name: &str) -> Option<Prompt> {
                match name {
                    $($text => Some(Prompt::$name),)*
                    _ => name.parse().ok().filter(|n| *n < 100).map(Prompt::Number),
                }
            }

            /// Names of all phrases except the numbers.
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            /// All phrases except the numbers.
            pub const ALL: &'static [Prompt] = &[$(Prompt::$name,)*];
        }
    };
}

phrases! {
    Greeting = "greeting",
    Full = "full",
    Left = "left",
    AskNumber = "ask-number",
    AskPin = "ask-pin",
    Wrong = "wrong",
    Goodbye = "goodbye",
    NoMessages = "no-messages",
    YouHave = "you-have",
    OneNew = "one-new",
    New = "new",
    OneOld = "one-old",
    Old = "old",
    And = "and",
    MainMenu = "main-menu",
    Message = "message",
    From = "from",
    MessageMenu = "message-menu",
    Deleted = "deleted",
    Saved = "saved",
    NoMore = "no-more",
    RecordGreeting = "record-greeting",
    GreetingMenu = "greeting-menu",
    GreetingKept = "greeting-kept",
    Sorry = "sorry",
    Beep = "beep",
}

/// Audio of all phrases in all languages. A missing phrase is skipped; the beep is synthesised.
#[derive(Clone, Debug)]
pub struct PromptSet {
    clips: BTreeMap<(Language, Prompt), Clip>,
    beep: Clip,
}

impl Default for PromptSet {
    fn default() -> Self {
        PromptSet { clips: BTreeMap::new(), beep: beep() }
    }
}

/// 1 kHz for 400 ms at a fifth of full scale, with a linear fade of 10 ms at both ends.
fn beep() -> Clip {
    const SAMPLES: usize = 3_200;
    let edge = |n: usize| (n.min(SAMPLES - n) as f32 / 80.0).min(1.0);
    (0..SAMPLES).map(|n| (6_500.0 * edge(n) * (n as f32 * PI / 4.0).sin()) as i16).collect()
}

impl PromptSet {
    /// Set the audio of a phrase in one language.
    pub fn insert(&mut self, language: Language, phrase: Prompt, clip: Clip) {
        self.clips.insert((language, phrase), clip);
    }

    /// Number of clips.
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Whether there are no clips.
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// Concatenate phrases.
    pub(crate) fn say(&self, language: Language, phrases: &[Prompt]) -> Clip {
        let mut samples = Vec::new();
        for phrase in phrases {
            let clip = |phrase: Prompt| self.clips.get(&(language, phrase)).map_or(&[][..], |clip| clip);
            if *phrase == Prompt::Beep {
                samples.extend_from_slice(&self.beep);
            } else if let Prompt::Number(n) = phrase {
                for part in parts(language, *n) {
                    samples.extend_from_slice(clip(part));
                }
            } else {
                samples.extend_from_slice(clip(*phrase));
            }
        }
        samples.into()
    }
}

/// Phrases of a number below 100: one clip, or tens and ones.
fn parts(language: Language, number: u8) -> Vec<Prompt> {
    let whole = Prompt::Number(number);
    let last = match language {
        Language::English => 20,
        Language::Spanish => 29,
    };
    let (tens, ones) = (number / 10 * 10, number % 10);
    if number <= last || ones == 0 {
        return vec![whole];
    }
    match language {
        Language::English => vec![Prompt::Number(tens), Prompt::Number(ones)],
        Language::Spanish => vec![Prompt::Number(tens), Prompt::And, Prompt::Number(ones)],
    }
}

/// Phrases for the number of messages, e.g. "You have two new messages and one old message."
pub(crate) fn count(new: usize, old: usize) -> Vec<Prompt> {
    let some = |n: usize, one: Prompt, many: Prompt| match n {
        0 => Vec::new(),
        1 => vec![one],
        n => vec![Prompt::Number(n.min(99) as u8), many],
    };
    let (new, old) = (some(new, Prompt::OneNew, Prompt::New), some(old, Prompt::OneOld, Prompt::Old));
    if new.is_empty() && old.is_empty() {
        return vec![Prompt::NoMessages];
    }
    let and = if new.is_empty() || old.is_empty() { None } else { Some(Prompt::And) };
    [Prompt::YouHave].into_iter().chain(new).chain(and).chain(old).collect()
}

/// A number spoken digit by digit; other characters are skipped.
pub(crate) fn digits(number: &str) -> impl Iterator<Item = Prompt> {
    number.bytes().filter(u8::is_ascii_digit).map(|b| Prompt::Number(b - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_spoken_as_people_say_them() {
        use Prompt::{And, New, NoMessages, Number, Old, OneNew, OneOld, YouHave};
        for (new, old, said) in [
            (0, 0, vec![NoMessages]),
            (1, 0, vec![YouHave, OneNew]),
            (0, 2, vec![YouHave, Number(2), Old]),
            (3, 1, vec![YouHave, Number(3), New, And, OneOld]),
            (250, 0, vec![YouHave, Number(99), New]),
        ] {
            assert_eq!(count(new, old), said);
        }
        let prompts = PromptSet::default();
        assert_eq!(parts(Language::English, 21), [Number(20), Number(1)]);
        assert_eq!(parts(Language::Spanish, 21), [Number(21)]);
        assert_eq!(parts(Language::Spanish, 42), [Number(40), And, Number(2)]);
        assert_eq!(parts(Language::Spanish, 90), [Number(90)]);
        assert_eq!(Prompt::named("ask-pin"), Some(Prompt::AskPin));
        assert_eq!((Prompt::named("30"), Prompt::named("x")), (Some(Number(30)), None));
        assert!(prompts.say(Language::English, &[Prompt::Beep]).iter().any(|s| s.abs() > 6_000));
    }
}
