//! Runs with a large directory: besides the simulated phones there are 1,200 extensions with bindings, messages and calls that no input refers to.
//! An input that iterates over a whole table therefore exceeds its bound of steps.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::journal::{Binding, ListenerId, Record};
use model::{
    Change, Credential, DialPermissions, Directory, Extension, ExtensionId, ExtensionNumber, ExtensionStatus,
    Forwarding, Ha1, MessageId, MessageState, RecordCalls, UserId, VoicemailMessage,
};
use switch::{Command, Input, Originate};

use crate::site::DOMAIN;

/// A seed with this bit runs with the large directory. Seeds without it are not affected by this module.
pub const CROWD: u64 = 1 << 33;

/// Number of added extensions: more than the steps that any input may cost.
const EXTENSIONS: usize = 1_200;
/// How many of them have no binding and wait for a device with a call.
const WITHOUT_BINDING: usize = 600;
/// Lifetime of their bindings: longer than any run.
const BINDING_LIFETIME: Duration = Duration::from_secs(2 * 3600);

/// Most steps per input: the messages of one call with all its legs, and what follows from them.
const STEPS: u64 = 300;
/// Most steps per tick: full batches of every kind of timer.
const TICK_STEPS: u64 = 3_000;

fn name(n: usize) -> Arc<str> {
    format!("crowd{n}").into()
}

/// Add the extensions and their mailboxes. Their numbers sort before and after those of the simulated site.
pub(crate) fn add_extensions(directory: &mut Directory) {
    for n in 0..EXTENSIONS {
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
            ha1: Ha1::new("crowd", DOMAIN, "no phone uses this password"),
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

/// Journal records of the bindings of all extensions that do not wait for a device.
pub(crate) fn bindings(now: Timestamp) -> impl Iterator<Item = Record> {
    (WITHOUT_BINDING..EXTENSIONS).map(move |n| {
        let address = format!("10.77.{}.{}:5060", n / 250, n % 250 + 1);
        Record::Bound(Binding {
            username: name(n),
            contact: format!("sip:crowd{n}@{address}"),
            path: Vec::new(),
            call_id: format!("crowd{n}"),
            cseq: 1,
            q: 1000,
            expires_at: now + BINDING_LIFETIME,
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

/// Originated calls of the extensions without binding. They wait as long as the limit permits.
pub(crate) fn calls() -> impl Iterator<Item = Command> {
    let originate = |n: usize| {
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
    (0..WITHOUT_BINDING).filter_map(originate).map(Command::Originate)
}

/// Most steps that an input may cost, and the name of its kind.
pub(crate) fn bound(input: &Input) -> (u64, &'static str) {
    match input {
        Input::Packet { .. } => (STEPS, "a message"),
        Input::FlowClosed(_) => (STEPS, "a closed connection"),
        Input::Unreachable(_) => (STEPS, "an unreachable peer"),
        Input::Media(_) => (STEPS, "a media event"),
        // The cost of these grows with their content.
        Input::Directory { changes, .. } => (STEPS + 50 * changes.len() as u64, "a directory change"),
        Input::Restore { bindings, calls, outside, alive: _ } => {
            (STEPS + 50 * (bindings.len() + calls.len() + outside.len()) as u64, "the restored journal")
        }
        Input::Command { command: Command::Stop { .. }, .. } => (TICK_STEPS, "the command to stop"),
        Input::Command { .. } => (STEPS, "a command"),
        Input::Resolved { .. } => (TICK_STEPS, "a DNS response"),
        Input::Prompts(_) => (TICK_STEPS, "the prompts"),
        Input::Fetched { .. } => (STEPS, "a file"),
        Input::Deposited { .. } => (STEPS, "a deposit"),
        Input::SettingChanged { .. } => (STEPS, "a setting"),
        Input::Journal(_) => (STEPS, "the journal's free space"),
        Input::Listening(_) => (TICK_STEPS, "opened or closed listeners"),
        Input::Tick => (TICK_STEPS, "a tick"),
    }
}
