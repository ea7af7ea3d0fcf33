//! The cost of an input is bounded by a constant plus the size of its own call or account (DESIGN §2), whatever else the directory holds.

use std::time::Duration;

use base::Timestamp;
use centralita_switch::{CallPlace, CallsOf, Command, Input, Originate, RegistrationsOf, Reply, limits};
use media::{MediaEvent, RecordingId};
use model::dialplan::Route;
use model::voicemail::Count;
use model::{
    Change, DialledNumber, Did, ExtensionId, MessageId, MessageState, UserId, VoicemailMessage, trunk,
};

use crate::test_switch::{Phone, TestSwitch, carrier, user};

/// Extensions that are unrelated to the measured input.
const OTHERS: usize = 400;
/// Bound in steps of one input: far below [`OTHERS`].
const STEPS: u64 = 60;

impl TestSwitch {
    /// Run a function and return its cost in steps.
    fn cost<T>(&mut self, of: impl FnOnce(&mut TestSwitch) -> T) -> (u64, T) {
        let before = self.switch.steps();
        let result = of(self);
        (self.switch.steps() - before, result)
    }
}

fn message(extension: &str, n: usize) -> Change {
    Change::Message(VoicemailMessage {
        id: MessageId::parse(&format!("vm_{extension}_{n}")).unwrap(),
        extension: ExtensionId::parse(&format!("ext_{extension}")).unwrap(),
        user: user("ana"),
        state: MessageState::New,
        from_number: "1001".into(),
        call: None,
        left_at: Timestamp::default(),
        millis: 1000,
        heard_at: None,
    })
}

fn other(n: usize) -> (String, String) {
    (format!("{}", 20_000 + n), format!("other{n}"))
}

/// A switch with hundreds of extensions with a message each. Every second one has a binding; for each of the others a call waits.
fn many_extensions() -> (TestSwitch, Phone) {
    let mut pbx = TestSwitch::open();
    let mut phones = Vec::new();
    for n in 0..OTHERS {
        let (number, owner) = other(n);
        pbx.change(vec![Change::User(model::User { id: user(&owner), created_at: Timestamp::default() })]);
        let phone = pbx.add_extension(&number, &owner);
        let address = format!("10.3.{}.{}:5060", n / 200, n % 200 + 1);
        let phone = Phone {
            user: format!("phone{number}"),
            login: format!("phone{number}"),
            password: format!("secret-phone{number}"),
            ..phone.at(&address)
        };
        phones.push(phone);
        pbx.change(vec![message(&number, 1)]);
    }
    for (n, phone) in phones.iter().enumerate() {
        if n % 2 == 0 {
            pbx.register(phone);
            pbx.received(phone);
        } else {
            let originate_params = originate_params(&other(n).1, "1001", None);
            assert!(matches!(pbx.command(Command::Originate(originate_params)), Reply::Call(_)));
        }
    }
    let phone = pbx.phone("1001");
    (pbx, phone)
}

fn originate_params(owner: &str, to: &str, device: Option<&str>) -> Originate {
    Originate {
        user: user(owner),
        from: None,
        device: device.map(Into::into),
        to: to.into(),
        ring_timeout: Duration::from_secs(3600),
        require_device: false,
        planned: None,
    }
}

#[test]
fn a_registration_costs_no_more_with_many_mailboxes() {
    let (mut pbx, phone) = many_extensions();
    pbx.change(vec![message("1001", 1)]);
    pbx.register(&phone);
    assert!(pbx.summary(&phone).contains("NOTIFY"), "MWI is on");
    let lines = format!("Contact: {}\r\nExpires: 3600\r\n", phone.contact());
    let (cost, answer) = pbx.cost(|pbx| pbx.register_with(&phone, &lines));
    assert_eq!(answer.status(), Some(200));
    assert!(cost <= STEPS, "{cost} steps");
    assert_eq!(pbx.summary(&phone), "", "it knows already");
    let (cost, ()) = pbx.cost(|pbx| pbx.change(vec![message("1001", 2)]));
    assert!(cost <= STEPS, "{cost} steps");
    assert_eq!(
        pbx.directory.message_count(&ExtensionId::parse("ext_1001").unwrap()),
        Count { new: 2, old: 0 }
    );
    assert_eq!(pbx.summary(&phone), "NOTIFY");
}

#[test]
fn a_page_of_a_list_costs_what_it_contains() {
    let (mut pbx, _) = many_extensions();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let list = Command::Calls { of: CallsOf::Everybody, after: after.clone(), limit: 30 };
        let (cost, reply) = pbx.cost(|pbx| pbx.command(list));
        let Reply::Calls(calls) = reply else { panic!("{reply:?}") };
        assert!(cost <= 40 && calls.len() <= 30, "{cost} steps for {} calls", calls.len());
        after = calls.last().map(CallPlace::of);
        seen.extend(calls);
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), OTHERS / 2, "each once");
    assert!(seen.windows(2).all(|pair| CallPlace::of(&pair[0]) > CallPlace::of(&pair[1])), "newest first");

    let own = |name: &str| CallsOf::User(UserId::parse(name).unwrap());
    let list = |of| Command::Calls { of, after: None, limit: 1_000 };
    let (cost, reply) = pbx.cost(|pbx| pbx.command(list(own("other7"))));
    let Reply::Calls(calls) = reply else { panic!("{reply:?}") };
    assert_eq!((calls.len(), calls[0].user.as_str()), (1, "other7"));
    assert!(cost <= 5, "{cost} steps");
    let Reply::Calls(calls) = pbx.command(list(own("ana"))) else { panic!() };
    assert_eq!(calls.len(), OTHERS / 2, "they all call her phone (S56)");

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let list = Command::Registrations { of: RegistrationsOf::Everybody { after }, limit: 30 };
        let (cost, reply) = pbx.cost(|pbx| pbx.command(list));
        let Reply::Registrations { found, next } = reply else { panic!("{reply:?}") };
        assert!(cost <= 40 && found.len() <= 30, "{cost} steps for {} bindings", found.len());
        seen.extend(found.into_iter().map(|one| one.username.to_string()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), OTHERS / 2);
    assert!(seen.is_sorted());
    let these = RegistrationsOf::These(["phone20002", "phone20003", "phone20004"].map(Into::into).to_vec());
    let (cost, reply) = pbx.cost(|pbx| pbx.command(Command::Registrations { of: these, limit: 1 }));
    let Reply::Registrations { found, next } = reply else { panic!("{reply:?}") };
    assert_eq!((found.len(), next.as_deref()), (1, Some("phone20002")));
    assert!(cost <= 5, "{cost} steps");
}

#[test]
fn a_list_by_party_shows_current_parties() {
    let mut pbx = TestSwitch::open();
    for name in ["1001", "1002"] {
        let phone = pbx.phone(name);
        pbx.register(&phone);
    }
    let Reply::Call(call) =
        pbx.command(Command::Originate(originate_params("ana", "1002", Some("phone1001"))))
    else {
        panic!()
    };
    let party = |name: &str| Command::Calls { of: CallsOf::Party(name.into()), after: None, limit: 10 };
    let Reply::Calls(calls) = pbx.command(party("phone1001")) else { panic!() };
    assert_eq!((calls.len(), &calls[0].id), (1, &call.id));
    assert_eq!(pbx.command(party("phone1002")), Reply::Calls(Vec::new()), "its phone does not ring yet");
    assert_eq!(pbx.command(Command::Up { calls: vec![call.id.clone()] }), Reply::Up(vec![call.id.clone()]));
    pbx.command(Command::End { call: call.id.clone() });
    assert_eq!(pbx.command(party("phone1001")), Reply::Calls(Vec::new()));
    assert_eq!(pbx.command(Command::Up { calls: vec![call.id] }), Reply::Up(Vec::new()));
}

#[test]
fn a_registering_device_resumes_only_the_calls_that_wait_for_it() {
    let (mut pbx, phone) = many_extensions();
    let before = pbx.status().active_calls;
    for device in [None, Some("1001")] {
        assert!(matches!(
            pbx.command(Command::Originate(originate_params("ana", "1002", device))),
            Reply::Call(_)
        ));
    }
    let lines = format!("Contact: {}\r\nExpires: 3600\r\n", phone.contact());
    let (cost, answer) = pbx.cost(|pbx| pbx.register_with(&phone, &lines));
    assert_eq!(answer.status(), Some(200));
    assert!(cost <= 2 * STEPS, "{cost} steps");
    let invites = pbx.received(&phone).into_iter().filter(|m| m.method().as_str() == "INVITE");
    assert_eq!(invites.count(), 2, "one call by its owner, one by its number");
    assert_eq!(pbx.status().active_calls, before + 2);
}

#[test]
fn a_forced_stop_ends_many_calls_in_bounded_batches() {
    let (mut pbx, _) = many_extensions();
    let (cost, reply) = pbx.cost(|pbx| pbx.command(Command::Stop { force: true }));
    assert!(matches!(reply, Reply::Status(_)));
    let most = limits::BACKLOG_BATCH as u64 * 10;
    assert!(cost <= most, "{cost} steps");
    assert!(pbx.status().active_calls > 0, "the rest follows");
    let mut turns = 0;
    while pbx.status().active_calls > 0 {
        assert!(pbx.switch.deadline().is_some_and(|due| due <= pbx.clock), "at once");
        let (cost, ()) = pbx.cost(|pbx| pbx.feed(Input::Tick));
        assert!(cost <= most, "{cost} steps");
        turns += 1;
    }
    assert!(turns >= OTHERS / 2 / limits::BACKLOG_BATCH);
    assert_eq!(pbx.records().len(), OTHERS / 2);
    pbx.advance(Duration::from_secs(60));
    assert_eq!(pbx.listen_outputs, [false], "and then the listeners close");
}

#[test]
fn an_unmatched_recording_or_file_event_has_constant_cost() {
    let (mut pbx, _) = many_extensions();
    let quiet = MediaEvent::SilenceDetected { recording: RecordingId(1 << 31) };
    for input in [
        Input::Media(quiet),
        Input::Fetched { token: 7, clip: None },
        Input::Deposited { token: 7, done: true },
    ] {
        let (cost, ()) = pbx.cost(|pbx| pbx.feed(input));
        assert_eq!(cost, 0);
    }
}

#[test]
fn an_inbound_call_for_the_default_extension_does_not_scan_all_extensions() {
    let (mut pbx, phone) = many_extensions();
    pbx.register(&phone);
    let mut trunk = carrier::trunk("one", &[1]);
    trunk.settings.dids =
        vec![Did { number: DialledNumber::parse("+34911000001").unwrap(), extension: None }];
    pbx.add_trunk(&trunk, &[1]);
    let (cost, decision) = pbx.cost(|pbx| {
        // The switch's directory snapshot counts as well.
        trunk::inbound(&pbx.directory, &trunk, &["+34911000001"])
    });
    let Route::Extension(extension) = decision.route else { panic!("{decision:?}") };
    assert_eq!(extension.number.as_str(), "1001", "the first of all (S106)");
    assert_eq!(cost, 1);
}
