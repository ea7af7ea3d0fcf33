//! Carriers over TCP: the exchange names the host, and the shell's connection to it carries everything.

use std::time::Duration;

use centralita_switch::{Command, HealthState, Input, Listener, Reply};
use media::MediaEvent;
use model::{Cause, Change, Trunk, TrunkTransport};
use sip::{Flow, HeaderName, Hop, Message, Transport};

use crate::office::carrier::{carrier, source, trunk};
use crate::office::sdp::sdp;
use crate::office::{Office, Phone, SERVER};

const MADRID: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

/// A trunk whose hosts are spoken with over TCP.
fn over_tcp(name: &str, carriers: &[u8]) -> Trunk {
    let mut one = trunk(name, carriers);
    for host in &mut one.settings.hosts {
        host.transport = TrunkTransport::Tcp;
    }
    one
}

/// An office that listens on both, with 1001 at its phone.
fn office(trunks: &[Trunk], alive: &[u8]) -> (Office, Phone) {
    let address = SERVER.parse().unwrap();
    let mut office =
        Office::open_with(|config| config.listeners.push(Listener { transport: Transport::Tcp, address }));
    let ports = (0..100).map(|n| 20_000 + 2 * n).collect();
    office.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 1, ports }));
    let ana = office.phone("1001");
    office.register(&ana);
    for n in alive {
        office.connects(&carrier(*n), 70 + u32::from(*n));
    }
    for trunk in trunks {
        office.add_trunk(trunk, alive);
    }
    (office, ana)
}

/// The connection to a host breaks, or was never there.
fn breaks(office: &mut Office, n: u8) {
    let (local, remote) = (SERVER.parse().unwrap(), carrier(n).address);
    let hop = Hop { transport: Transport::Tcp, listener: 1, local, remote, flow: Flow::default() };
    office.feed(Input::Unreachable(hop));
}

fn via(message: &Message) -> &str {
    message.header(HeaderName::Via).unwrap()
}

fn lives(office: &mut Office) -> Vec<HealthState> {
    match office.ask(Command::Trunks) {
        Reply::Trunks(all) => all[0].hosts.iter().map(|host| host.life).collect(),
        other => panic!("{other:?}"),
    }
}

// S8
#[test]
fn health_and_calls_go_over_tcp_and_nothing_is_sent_twice() {
    let (mut office, ana) = office(&[over_tcp("one", &[1])], &[1]);
    assert_eq!(lives(&mut office), [HealthState::Up]);
    let mut caller = office.call(&ana, MADRID, Some(&offer()));
    let callee = office.invited(1);
    assert!(via(&callee.invite).starts_with("SIP/2.0/TCP 10.0.0.1:5060;"), "{}", via(&callee.invite));
    assert_eq!(callee.invite.uri().unwrap().as_str(), "sip:+34912345678@10.9.0.1:5060;transport=tcp");
    office.pass(Duration::from_secs(2));
    assert_eq!(office.carried_in_short(1), "", "the connection repeats what is lost, not we");
    office.answer(&callee, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.carried_in_short(1), "ACK");
    office.within(&mut caller, "BYE", "", None);
    let bye = office.carried(1).pop().unwrap();
    assert!(via(&bye).starts_with("SIP/2.0/TCP"));
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!(office.record().cause, Some(Cause::Completed));
    office.change(vec![Change::TrunkGone(over_tcp("one", &[1]).id)]);
    office.is_at_rest();
}

// S123, security.md §4, "trunk down"
#[test]
fn a_connection_that_breaks_or_is_refused_leads_to_the_next_host_at_once() {
    let (mut office, ana) = office(&[over_tcp("one", &[1, 2])], &[1, 2]);
    office.call(&ana, MADRID, Some(&offer()));
    let first = office.invited(1);
    office.answer(&first, 100, None);
    breaks(&mut office, 1);
    office.invited(2);
    assert_eq!(lives(&mut office), [HealthState::Down, HealthState::Up]);
    office.pass_with(Duration::from_secs(8), &[1, 2]);
    assert_eq!(lives(&mut office), [HealthState::Up, HealthState::Up], "OPTIONS are answered again");
}

// S8
#[test]
fn without_a_listener_for_tcp_the_trunk_is_down_and_says_why() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    office.add_trunk(&over_tcp("one", &[1]), &[1]);
    let caller = office.call(&ana, MADRID, Some(&offer()));
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    assert_eq!(refusal.status(), Some(503));
    assert!(office.why().contains("which no listener or port of ours can reach"), "{}", office.why());
}

// S106, security.md row 8
#[test]
fn a_call_over_tcp_is_the_carriers_where_source_and_transport_are_its_own() {
    for (transport, known) in [(TrunkTransport::Tcp, true), (TrunkTransport::Udp, false)] {
        let mut one = trunk("one", &[1]);
        one.settings.hosts[0].transport = transport;
        one.settings.sources = vec![source("10.9.0.7")];
        one.settings.default_extension = Some(model::ExtensionNumber::parse("1001").unwrap());
        let (mut office, ana) = office(&[one], &[1]);
        let from = carrier(7);
        office.connects(&from, 99);
        let line = office.deliver(&from, "sip:+34910000000@10.0.0.1", "+33142000000", &offer());
        match known {
            true => assert_eq!(office.last(&ana).method().as_str(), "INVITE"),
            false => {
                let challenge = office.last(&from);
                assert_eq!(challenge.status(), Some(401));
                office.ack_refusal(&line, &challenge);
            }
        }
    }
}

// security.md §4: after a crash nobody is left on a line
#[test]
fn after_a_crash_a_carriers_host_is_told_goodbye_over_a_new_connection() {
    let (mut office, ana) = office(&[over_tcp("one", &[1])], &[1]);
    let mut caller = office.call(&ana, MADRID, Some(&offer()));
    let callee = office.invited(1);
    office.answer(&callee, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.carried(1);
    office.crash();
    let heard = office.carried(1);
    let bye = heard.first().expect("BYE");
    assert_eq!((bye.method().as_str(), bye.call_id()), ("BYE", callee.call_id.as_str()));
    assert_eq!(office.last(&ana).method().as_str(), "BYE");
}
