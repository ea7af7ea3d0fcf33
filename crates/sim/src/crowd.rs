//! Days in a crowd: besides those whose day is played there are hundreds of others with phones, messages and calls, none of whom any input is
//! about. So an input that walks over a table costs more steps than it may.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::journal::{Binding, ListenerId, Record};
use model::{
    Change, Credential, DialPermissions, Directory, Extension, ExtensionId, ExtensionNumber, ExtensionStatus,
    Forwarding, Ha1, MessageId, MessageState, RecordCalls, UserId, VoicemailMessage,
};
use switch::{Command, Input, Originate};

use crate::office::DOMAIN;

/// Days whose number has this bit have a crowd. All others go as they went before there was any.
pub const CROWD: u64 = 1 << 33;

/// How many they are: more than the steps that any input may cost.
const MANY: usize = 1_200;
/// Those of them who wait for a device with a call.
const WAITING: usize = 600;
/// Longer than a day is played.
const BOUND: Duration = Duration::from_secs(2 * 3600);

/// What an input may cost whatever it is: the messages of one call with all its legs, and what they lead to.
const STEPS: u64 = 300;
/// What a tick may cost: full batches of everything that can be due at once.
const TICK_STEPS: u64 = 3_000;

fn name(n: usize) -> Arc<str> {
    format!("crowd{n}").into()
}

/// The people and their mailboxes. Their extensions come before and behind those of the office.
pub(crate) fn move_in(directory: &mut Directory) {
    for n in 0..MANY {
        let numbers =
            [ExtensionNumber::parse(&format!("0{n:04}")), ExtensionNumber::parse(&format!("9{n:04}"))];
        let [first, last] = numbers;
        let number = if n.is_multiple_of(2) { first } else { last };
        let (Ok(number), Ok(id), Ok(user), Ok(message)) = (
            number,
            ExtensionId::parse(&format!("ext_crowd{n}")),
            UserId::parse(&format!("user_crowd{n}")),
            MessageId::parse(&format!("vm_crowd{n}")),
        ) else {
            continue;
        };
        directory.apply(Change::Credential(Credential {
            username: name(n),
            user: user.clone(),
            extension: Some(id.clone()),
            ha1: Ha1::new("crowd", DOMAIN, "nobody logs in as one of them"),
            ha1_by_number: None,
            created_at: Timestamp::default(),
        }));
        directory.apply(Change::Message(VoicemailMessage {
            id: message,
            extension: id.clone(),
            user: user.clone(),
            state: MessageState::New,
            from_number: "1001".into(),
            call: None,
            left_at: Timestamp::default(),
            millis: 1000,
            heard_at: None,
        }));
        directory.apply(Change::Extension(Extension {
            id,
            user,
            number,
            display_name: String::new(),
            status: ExtensionStatus::Active,
            username: name(n),
            forwarding: Forwarding::default(),
            voicemail_enabled: true,
            do_not_disturb: false,
            call_waiting: true,
            ring_seconds: 20,
            dial_permissions: DialPermissions::default(),
            follow_me: None,
            record_calls: RecordCalls::Default,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            timezone: None,
        }));
    }
}

/// The phones of those who do not wait for one, as the journal has them.
pub(crate) fn bindings(now: Timestamp) -> impl Iterator<Item = Record> {
    (WAITING..MANY).map(move |n| {
        let address = format!("10.77.{}.{}:5060", n / 250, n % 250 + 1);
        Record::Bound(Binding {
            username: name(n),
            contact: format!("sip:crowd{n}@{address}"),
            path: Vec::new(),
            call_id: format!("crowd{n}"),
            cseq: 1,
            q: 1000,
            expires_at: now + BOUND,
            created_at: now,
            user_agent: "crowd".into(),
            transport: 0,
            listener: ListenerId::Index(0),
            local: std::net::SocketAddr::from(([10, 0, 0, 1], 5060)),
            remote: address.parse().unwrap_or_else(|_| std::net::SocketAddr::from(([10, 77, 0, 1], 5060))),
            flow: (0, 0),
            instance: None,
            reg_id: None,
        })
    })
}

/// The calls of those who wait for a phone. They wait as long as anybody may.
pub(crate) fn calls() -> impl Iterator<Item = Command> {
    let wish = |n: usize| {
        Some(Originate {
            user: UserId::parse(&format!("user_crowd{n}")).ok()?,
            from: None,
            device: n.is_multiple_of(2).then(|| name(n)),
            to: "1001".into(),
            ring_timeout: Duration::from_secs(300),
            require_device: false,
            planned: None,
        })
    };
    (0..WAITING).filter_map(wish).map(Command::Originate)
}

/// How many steps an input may cost, and what it is called.
pub(crate) fn bound(input: &Input) -> (u64, &'static str) {
    match input {
        Input::Packet { .. } => (STEPS, "a message"),
        Input::FlowClosed(_) => (STEPS, "a connection that closed"),
        Input::Unreachable(_) => (STEPS, "a peer that cannot be reached"),
        Input::Media(_) => (STEPS, "a media event"),
        // They cost what they bring.
        Input::Directory { changes, .. } => (STEPS + 50 * changes.len() as u64, "a change of the directory"),
        Input::Restore { bindings, calls, outside, alive: _ } => {
            (STEPS + 50 * (bindings.len() + calls.len() + outside.len()) as u64, "what the journal remembers")
        }
        Input::Command { command: Command::Stop { .. }, .. } => (TICK_STEPS, "the command to stop"),
        Input::Command { .. } => (STEPS, "a command"),
        Input::Resolved { .. } => (TICK_STEPS, "an answer of the DNS"),
        Input::Prompts(_) => (TICK_STEPS, "the prompts"),
        Input::Fetched { .. } => (STEPS, "a file"),
        Input::Deposited { .. } => (STEPS, "a deposit"),
        Input::SettingChanged { .. } => (STEPS, "a setting"),
        Input::Journal(_) => (STEPS, "the journal's room"),
        Input::Listening(_) => (TICK_STEPS, "listeners that opened or closed"),
        Input::Tick => (TICK_STEPS, "a tick"),
    }
}
