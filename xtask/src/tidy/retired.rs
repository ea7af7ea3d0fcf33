//! Retired names: identifiers and file names of Rust code use the term of the field, not the metaphor that once stood for it.

use std::collections::BTreeSet;

use super::rust::code_of;
use super::{Fault, File};

/// Where a word is retired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scope {
    /// In every identifier, and in every part of a path.
    Everywhere,
    /// In names of types, and as the whole name of a file or folder. The word is ordinary English in functions and variables.
    Types,
    /// In names of types. The word is ordinary English everywhere else.
    TypesOnly,
}

use Scope::{Everywhere, Types, TypesOnly};

/// Words of an identifier, in lower case, with the term that replaces them. Several words are consecutive words of one identifier.
const RETIRED: &[(&str, Scope, &str)] = &[
    ("lamp", Everywhere, "Mwi, MwiTarget"),
    ("lamps", Everywhere, "Mwi"),
    ("tape", Everywhere, "ActiveRecording, RecordingSender, recording"),
    ("tapes", Everywhere, "Recordings"),
    ("taking", Types, "VoicemailRecording"),
    ("takings", Types, "VoicemailRecordings"),
    ("visit", Types, "VoicemailSession"),
    ("journey", Everywhere, "Routing"),
    ("hunt", Types, "RingSequence"),
    ("ways", Types, "OutboundAttempts"),
    ("way id", Everywhere, "AttemptId"),
    ("not ours", Types, "AuthRejected"),
    ("too fast", Types, "CpsExceeded"),
    ("spot", Types, "GatewayTarget"),
    ("awaited", Types, "PendingFlow"),
    ("fate", Types, "FailoverAction, Disposition, Outcome"),
    ("told", Types, "Report, LastNotified, Event"),
    ("wish", Types, "RegisterRequest, …Request"),
    ("forsaken", Everywhere, "Abandoned"),
    ("census", Everywhere, "counts"),
    ("ear", Types, "ToneDetector"),
    ("chance", Types, "Rng"),
    ("words", TypesOnly, "InviteIdentity"),
    ("asker", Types, "DialContext, Peer"),
    ("road", Types, "CallOrigin, DtmfSource"),
    ("pen", Types, "DirectoryLock"),
    ("news", TypesOnly, "OutboxBatch"),
    ("office", Types, "DirectoryService; in tests TestSwitch, TestApi"),
    ("shelf", Everywhere, "AudioStore"),
    ("warehouse", Everywhere, "AudioFileStore"),
    ("seat", Types, "ConnectionPermit"),
    ("followers", Types, "EventSubscribers"),
    ("repeats", Types, "IdempotencyCache"),
    ("door", Everywhere, "SwitchHandle"),
    ("desk", Types, "SwitchChannels, SchedulerContext, WriterThread; in tests TestEngine"),
    ("bell", Everywhere, "Waker"),
    ("house", Everywhere, "Runtime, server; in tests TestApi"),
    ("clerk", Everywhere, "VoicemailWorker"),
    ("courier", Everywhere, "WebhookDispatcher"),
    ("couriers", Everywhere, "WebhookDispatcher"),
    ("keeper", Everywhere, "RecordingRetention"),
    ("letter", Types, "EmailMessage"),
    ("slip", Types, "WriterMsg"),
    ("ledger", Types, "RecordSink"),
    ("rhythm", Types, "FeedIntervals, ArrivalPattern"),
    ("weather", Everywhere, "NetworkConditions, FaultRates"),
    ("habits", Everywhere, "PhoneProfile"),
    ("story", Everywhere, "EventLog, log"),
    ("dice", Everywhere, "Rng"),
    ("sight", Types, "Observation"),
    ("meddle", Everywhere, "AdminChange, admin_change"),
    ("meddled", Everywhere, "on_account_changed"),
    ("intruder", Everywhere, "Attacker"),
    ("fidget", Everywhere, "reinvite_rate"),
    ("fidgets", Everywhere, "reinvite_rate"),
    ("goodbye", Everywhere, "bye, unregister"),
    ("goodbyes", Everywhere, "byes_sent"),
    ("happening", Types, "SimEvent"),
];

/// Identifiers that are right as they are: the beginning of the path, the identifier, and the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("crates/switch/src/voicemail/", "Goodbye", "the prompt in which the system says goodbye to the caller"),
    ("crates/switch/tests/exchange/announcements.rs", "Goodbye", "the same prompt"),
];

/// One fault for each identifier of a file, at its first place.
pub(super) fn check(file: &File) -> Vec<Fault> {
    let Some(path) = file.path.strip_suffix(".rs") else { return Vec::new() };
    let mut faults = Vec::new();
    for part in path.split('/') {
        if let Some((name, term)) = retired(part, Kind::Path) {
            faults.push(Fault::of(&file.path, message(part, name, term)));
        }
    }
    let mut seen = BTreeSet::new();
    let code = code_of(&file.text);
    for (number, line) in code.lines().enumerate() {
        for identifier in identifiers(line).filter(|identifier| seen.insert(*identifier)) {
            let excepted =
                |(path, name, _): &(&str, &str, &str)| file.path.starts_with(path) && identifier == *name;
            if let Some((name, term)) = retired(identifier, Kind::of(identifier))
                && !EXCEPTIONS.iter().any(excepted)
            {
                faults.push(Fault::at(&file.path, number + 1, message(identifier, name, term)));
            }
        }
    }
    faults
}

fn message(identifier: &str, name: &str, term: &str) -> String {
    format!("`{identifier}`: `{name}` is a retired name; use the term: {term}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `CamelCase`.
    Type,
    /// `snake_case` or `UPPER_CASE`.
    Other,
    /// The name of a file or folder.
    Path,
}

impl Kind {
    fn of(identifier: &str) -> Kind {
        let camel = identifier.starts_with(|c: char| c.is_ascii_uppercase())
            && identifier.contains(|c: char| c.is_ascii_lowercase());
        if camel { Kind::Type } else { Kind::Other }
    }
}

/// The first retired name in an identifier, with the term to use.
fn retired(identifier: &str, kind: Kind) -> Option<(&'static str, &'static str)> {
    let words = words_of(identifier);
    let found = RETIRED.iter().find(|(name, scope, _)| {
        let name: Vec<&str> = name.split(' ').collect();
        match (scope, kind) {
            (Types | TypesOnly, Kind::Other) | (TypesOnly, Kind::Path) => false,
            (Types, Kind::Path) => words == name,
            (Everywhere, _) | (Types | TypesOnly, Kind::Type) => {
                words.windows(name.len()).any(|part| part == name)
            }
        }
    });
    found.map(|(name, _, term)| (*name, *term))
}

/// The words of a `snake_case`, `UPPER_CASE` or `CamelCase` identifier, in lower case.
fn words_of(identifier: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in identifier.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        let mut before_lower = false;
        for (at, c) in part.char_indices() {
            if at == 0 || (c.is_ascii_uppercase() && before_lower) {
                words.push(String::new());
            }
            before_lower = !c.is_ascii_uppercase();
            words.last_mut().into_iter().for_each(|word| word.push(c.to_ascii_lowercase()));
        }
    }
    words
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    let parts = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    parts.filter(|part| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn faults(code: &str) -> usize {
        check(&file("crates/x/src/a.rs", code)).len()
    }

    #[test]
    fn retired_words_are_found_in_identifiers_of_every_case() {
        for code in ["struct Lamps;", "fn lamp_registered() {}", "const GOODBYE: u8 = 1;", "let house = 1;"] {
            assert_eq!(faults(code), 1, "{code}");
        }
        assert_eq!(faults("struct WayId(u32);\nfn way_id() {}"), 2);
        assert_eq!(faults("impl Desk for AnyDesk {}"), 2);
    }

    #[test]
    fn the_message_names_the_term_to_use() {
        let found = check(&file("crates/x/src/a.rs", "\nstruct Courier;"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "crates/x/src/a.rs:2");
        assert!(
            found[0].message.contains("`courier`") && found[0].message.contains("WebhookDispatcher"),
            "{found:?}"
        );
    }

    #[test]
    fn whole_words_only_and_no_comments_or_texts() {
        assert_eq!(faults("fn clamp(warehoused: u8, household: u8) -> Lamplight {}"), 0);
        assert_eq!(faults("// the lamp of a Desk\nlet text = \"goodbye\";"), 0);
        assert_eq!(faults("let away = path; let way = key.id;"), 0);
    }

    #[test]
    fn a_word_that_is_retired_for_types_is_free_elsewhere() {
        assert_eq!(faults("struct Taking;"), 1);
        assert_eq!(faults("fn without_taking_part() { let words = 1; let desk = phone; }"), 0);
    }

    #[test]
    fn names_of_files_count() {
        for path in ["crates/x/src/pen.rs", "crates/x/tests/house/mod.rs", "crates/x/src/lamp_state.rs"] {
            assert_eq!(check(&file(path, "")).len(), 1, "{path}");
        }
        for path in ["crates/x/src/pen_test.rs", "xtask/src/tidy/words.rs"] {
            assert!(check(&file(path, "")).is_empty(), "{path}");
        }
        assert!(check(&file("docs/house.md", "")).is_empty());
    }

    #[test]
    fn an_exception_holds_for_its_identifier_at_its_place_only() {
        let prompt = "crates/switch/src/voicemail/prompt.rs";
        assert!(check(&file(prompt, "Prompt::Goodbye")).is_empty());
        assert_eq!(check(&file(prompt, "fn goodbye() {}")).len(), 1);
        assert_eq!(check(&file("crates/switch/src/mwi.rs", "Prompt::Goodbye")).len(), 1);
    }
}
