//! Carriers over TCP: the switch names the host, and the server's connection to it carries all messages.

use std::time::Duration;

use centralita_switch::{Command, HealthState, Input, Listener, Reply};
use media::MediaEvent;
use model::{Cause, Change, Trunk, TrunkTransport};
use sip::{Flow, HeaderName, Hop, Message, Transport};

use crate::test_switch::carrier::{carrier, source, trunk};
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, SERVER, TestSwitch};

const MADRID: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

/// A trunk whose hosts use TCP.
fn over_tcp(name: &str, carriers: &[u8]) -> Trunk {
    let mut one = trunk(name, carriers);
    for host in &mut one.settings.hosts {
        host.transport = TrunkTransport::Tcp;
    }
    one
}

/// A switch with UDP and TCP listeners, and 1001 registered.
fn setup(trunks: &[Trunk], alive: &[u8]) -> (TestSwitch, Phone) {
    let address = SERVER.parse().unwrap();
    let mut pbx = TestSwitch::open_with(|config| {
        config.listeners.push(Listener { transport: Transport::Tcp, address });
    });
    let ports = (0..100).map(|n| 20_000 + 2 * n).collect();
    pbx.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 1, ports }));
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    for n in alive {
        pbx.open_flow(&carrier(*n), 70 + u32::from(*n));
    }
    for trunk in trunks {
        pbx.add_trunk(trunk, alive);
    }
    (pbx, ana)
}

/// The connection to a host is closed or cannot be opened.
fn connection_fails(pbx: &mut TestSwitch, n: u8) {
    let (local, remote) = (SERVER.parse().unwrap(), carrier(n).address);
    let hop = Hop { transport: Transport::Tcp, listener: 1, local, remote, flow: Flow::default() };
    pbx.feed(Input::Unreachable(hop));
}

fn via(message: &Message) -> &str {
    message.header(HeaderName::Via).unwrap()
}

fn host_health(pbx: &mut TestSwitch) -> Vec<HealthState> {
    match pbx.command(Command::Trunks) {
        Reply::Trunks(all) => all[0].hosts.iter().map(|host| host.health).collect(),
        other => panic!("{other:?}"),
    }
}

// S8
#[test]
fn probes_and_calls_go_over_tcp_without_retransmission() {
    let (mut pbx, ana) = setup(&[over_tcp("one", &[1])], &[1]);
    assert_eq!(host_health(&mut pbx), [HealthState::Up]);
    let mut caller = pbx.call(&ana, MADRID, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    assert!(via(&callee.invite).starts_with("SIP/2.0/TCP 10.0.0.1:5060;"), "{}", via(&callee.invite));
    assert_eq!(callee.invite.uri().unwrap().as_str(), "sip:+34912345678@10.9.0.1:5060;transport=tcp");
    pbx.advance(Duration::from_secs(2));
    assert_eq!(pbx.carrier_summary(1), "", "the connection repeats what is lost, not we");
    pbx.answer(&callee, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.carrier_summary(1), "ACK");
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    assert!(via(&bye).starts_with("SIP/2.0/TCP"));
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!(pbx.record().cause, Some(Cause::Completed));
    pbx.change(vec![Change::TrunkGone(over_tcp("one", &[1]).id)]);
    pbx.assert_idle();
}

// S123, security.md §4, "trunk down"
#[test]
fn a_closed_or_rejected_connection_leads_to_the_next_host_at_once() {
    let (mut pbx, ana) = setup(&[over_tcp("one", &[1, 2])], &[1, 2]);
    pbx.call(&ana, MADRID, Some(&offer()));
    let first = pbx.expect_trunk_invite(1);
    pbx.answer(&first, 100, None);
    connection_fails(&mut pbx, 1);
    pbx.expect_trunk_invite(2);
    assert_eq!(host_health(&mut pbx), [HealthState::Down, HealthState::Up]);
    pbx.advance_with_probes(Duration::from_secs(8), &[1, 2]);
    assert_eq!(host_health(&mut pbx), [HealthState::Up, HealthState::Up], "OPTIONS are answered again");
}

// S8
#[test]
fn without_a_tcp_listener_the_trunk_is_down_with_a_reason() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.add_trunk(&over_tcp("one", &[1]), &[1]);
    let caller = pbx.call(&ana, MADRID, Some(&offer()));
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    assert_eq!(rejection.status(), Some(503));
    assert!(pbx.trace().contains("which no listener or port of ours can reach"), "{}", pbx.trace());
}

// S106, security.md row 8
#[test]
fn an_inbound_tcp_call_is_accepted_by_source_and_transport() {
    for (transport, known) in [(TrunkTransport::Tcp, true), (TrunkTransport::Udp, false)] {
        let mut one = trunk("one", &[1]);
        one.settings.hosts[0].transport = transport;
        one.settings.sources = vec![source("10.9.0.7")];
        one.settings.default_extension = Some(model::ExtensionNumber::parse("1001").unwrap());
        let (mut pbx, ana) = setup(&[one], &[1]);
        let from = carrier(7);
        pbx.open_flow(&from, 99);
        let dialog = pbx.inbound_call(&from, "sip:+34910000000@10.0.0.1", "+33142000000", &offer());
        match known {
            true => assert_eq!(pbx.last(&ana).method().as_str(), "INVITE"),
            false => {
                let challenge = pbx.last(&from);
                assert_eq!(challenge.status(), Some(401));
                pbx.ack_error(&dialog, &challenge);
            }
        }
    }
}

// security.md §4: no dialog is left at a carrier after a crash
#[test]
fn after_a_crash_a_carriers_host_gets_bye_over_a_new_connection() {
    let (mut pbx, ana) = setup(&[over_tcp("one", &[1])], &[1]);
    let mut caller = pbx.call(&ana, MADRID, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.received_by_carrier(1);
    pbx.crash();
    let received = pbx.received_by_carrier(1);
    let bye = received.first().expect("BYE");
    assert_eq!((bye.method().as_str(), bye.call_id()), ("BYE", callee.call_id.as_str()));
    assert_eq!(pbx.last(&ana).method().as_str(), "BYE");
}
