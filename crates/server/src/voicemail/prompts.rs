//! The voicemail prompts, recorded by `tools/prompts.sh` and embedded in the binary.

use std::io::{self, Cursor};

use model::Language;
use switch::voicemail::{Prompt, PromptSet};

use crate::recording::ogg_opus;

/// Upper bound of a prompt's samples.
const MAX_SAMPLES: usize = 8_000 * 60;

type Recorded = (Language, &'static str, &'static [u8]);

macro_rules! recorded {
    ($language:ident $folder:literal: $($name:literal)*) => {
        [$((Language::$language, $name, include_bytes!(concat!("../../prompts/", $folder, "/", $name, ".ogg")).as_slice())),*]
    };
}

const ENGLISH: &[Recorded] = &recorded! {
    English "en":
        "greeting" "full" "left" "ask-number" "ask-pin" "wrong" "goodbye" "no-messages" "you-have"
        "one-new" "new" "one-old" "old" "and" "main-menu" "message" "from" "message-menu" "deleted" "saved"
        "no-more" "record-greeting" "greeting-menu" "greeting-kept" "sorry" "0" "1" "2" "3" "4" "5" "6" "7"
        "8" "9" "10" "11" "12" "13" "14" "15" "16" "17" "18" "19" "20" "30" "40" "50" "60" "70" "80" "90"
};
const SPANISH: &[Recorded] = &recorded! {
    Spanish "es":
        "greeting" "full" "left" "ask-number" "ask-pin" "wrong" "goodbye" "no-messages" "you-have"
        "one-new" "new" "one-old" "old" "and" "main-menu" "message" "from" "message-menu" "deleted" "saved"
        "no-more" "record-greeting" "greeting-menu" "greeting-kept" "sorry" "0" "1" "2" "3" "4" "5" "6" "7"
        "8" "9" "10" "11" "12" "13" "14" "15" "16" "17" "18" "19" "20" "21" "22" "23" "24" "25" "26" "27"
        "28" "29" "30" "40" "50" "60" "70" "80" "90"
};

fn decode(ogg: &'static [u8]) -> io::Result<Vec<i16>> {
    Ok(ogg_opus::read(Cursor::new(ogg), MAX_SAMPLES)?.mono())
}

/// Decode all prompts: some tenths of a second of CPU time.
pub fn prompts() -> PromptSet {
    let mut prompts = PromptSet::default();
    for (language, name, ogg) in ENGLISH.iter().chain(SPANISH) {
        match (Prompt::named(name), decode(ogg)) {
            (Some(prompt), Ok(samples)) => prompts.insert(*language, prompt, samples.into()),
            (_, Err(error)) => tracing::error!(%error, name, "a prompt cannot be decoded"),
            (None, Ok(_)) => tracing::error!(name, "unknown prompt"),
        }
    }
    prompts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_is_recorded_in_both_languages_and_can_be_decoded() {
        assert_eq!(prompts().len(), ENGLISH.len() + SPANISH.len());
        for prompt in Prompt::ALL.iter().filter(|prompt| **prompt != Prompt::Beep) {
            for table in [ENGLISH, SPANISH] {
                assert!(table.iter().any(|(_, name, _)| Prompt::named(name) == Some(*prompt)), "{prompt:?}");
            }
        }
        for (_, name, ogg) in ENGLISH.iter().chain(SPANISH) {
            let samples = decode(ogg).unwrap();
            let loud = samples.iter().map(|s| s.unsigned_abs()).max();
            assert!(
                (1_500..80_000).contains(&samples.len()) && loud > Some(3_000),
                "{name}: {} {loud:?}",
                samples.len()
            );
        }
    }
}
