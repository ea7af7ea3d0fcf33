//! Call flows on the wire, successful and failing, with pairs of SIPp scenarios.

use std::time::Duration;

use e2e::raw::Raw;
use e2e::sipp::{Running, Scenario, scenario};
use e2e::wire::{Challenge, Invite, Wire, register_port};
use e2e::{Extension, Server, until};
use serde_json::Value;

/// Two extensions, the second with a phone on a known port.
struct Setup {
    server: Server,
    alice: Extension,
    bob: Extension,
}

impl Setup {
    fn open() -> Self {
        let server = Server::start();
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        Self { server, alice, bob }
    }

    /// Register Bob's phone and start this scenario as the callee.
    fn callee(&self, name: &str) -> Running {
        let port = self.server.spare_port(8);
        register_port(&self.server, &self.bob, port);
        self.callee_on(name, port).start()
    }

    fn callee_on(&self, name: &str, port: u16) -> Scenario {
        scenario(name, self.server.sip(), port).from(&self.bob).time_limit(Duration::from_secs(130))
    }

    /// Alice calls Bob with this scenario.
    fn caller(&self, name: &str) -> Scenario {
        scenario(name, self.server.sip(), self.server.spare_port(0)).from(&self.alice).to("1002")
    }

    /// Run both scenarios to their end. Returns the record of the call.
    fn play(&self, caller: &str, callee: &str) -> Value {
        let running = self.callee(callee);
        self.caller(caller).passes();
        running.passes();
        self.server.finished_call()
    }
}

#[test]
fn an_invite_is_challenged_answered_and_ended() {
    let call = Setup::open().play("caller", "callee");
    assert_eq!(call["status"], "completed");
}

#[test]
fn the_callee_may_hang_up_first() {
    let call = Setup::open().play("caller_is_hung_up", "callee_hangs_up");
    assert_eq!(call["status"], "completed");
}

#[test]
fn the_caller_may_speak_tcp_and_the_callee_udp() {
    let setup = Setup::open();
    let running = setup.callee("callee");
    setup.caller("caller").over_tcp().passes();
    running.passes();
}

#[test]
fn a_wrong_password_starts_no_call() {
    let setup = Setup::open();
    setup.caller("caller_gives_wrong_password").password("guess").passes();
    assert!(setup.server.calls().is_empty());
}

#[test]
fn cancel_before_180_ends_both_legs() {
    let call = Setup::open().play("caller_cancels_before_ringing", "callee_silent_then_cancelled");
    assert_eq!(call["status"], "canceled");
}

#[test]
fn cancel_after_180_ends_both_legs() {
    let call = Setup::open().play("caller_cancels_ringing", "callee_rings_then_cancelled");
    assert_eq!(call["status"], "canceled");
}

#[test]
fn a_callee_that_answers_while_it_is_cancelled_gets_bye() {
    let call = Setup::open().play("caller_cancels_ringing", "callee_answers_a_cancel");
    assert_eq!(call["status"], "canceled");
}

#[test]
fn a_cancel_after_200_changes_nothing() {
    let call = Setup::open().play("caller_cancels_after_answer", "callee");
    assert_eq!(call["status"], "completed");
}

#[test]
fn busy_is_forwarded_with_a_reason() {
    let call = Setup::open().play("caller_meets_busy", "callee_busy");
    assert_eq!(call["status"], "busy");
}

#[test]
fn a_call_without_answer_is_recorded_as_no_answer() {
    let setup = Setup::open();
    let running = setup.callee("callee_rings_then_cancelled");
    setup.caller("caller_waits_in_vain").time_limit(Duration::from_secs(90)).passes();
    running.passes();
    assert_eq!(setup.server.finished_call()["status"], "no-answer");
}

#[test]
fn an_extension_without_a_phone_is_unreachable() {
    Setup::open().caller("caller_meets_unreachable").passes();
}

#[test]
fn an_unknown_number_is_404_with_a_reason() {
    let setup = Setup::open();
    let nobody = scenario("caller_meets_nobody", setup.server.sip(), setup.server.spare_port(0));
    nobody.from(&setup.alice).to("1999").passes();
}

#[test]
fn a_lost_ack_brings_the_200_again() {
    let setup = Setup::open();
    let running = setup.callee("callee");
    let seen = setup.caller("caller_loses_its_ack").passes();
    running.passes();
    assert!(
        seen.matches("SIP/2.0 200 OK").count() >= 3,
        "the answer, its repetition, and that to BYE:\n{seen}"
    );
}

#[test]
fn a_repeated_invite_is_one_call() {
    let setup = Setup::open();
    let running = setup.callee("callee_rings_then_cancelled");
    let mut wire = Wire::udp(setup.server.sip());
    let invite = Invite::of(&setup.alice, "1002", &wire);
    wire.send(invite.text(1, None).as_bytes());
    let refused = wire.final_response(Duration::from_secs(5)).expect("a challenge");
    let challenge = Challenge::parse(refused.header("WWW-Authenticate").expect("a challenge"))
        .expect("a digest challenge");
    wire.send(invite.ack(1, &refused).as_bytes());
    let answer = challenge.answer(&setup.alice.username, &setup.alice.password, "INVITE", &invite.uri, 1);
    let again = invite.text(2, Some(&answer));
    for _ in 0..3 {
        // The phone has not received the 100 and retransmits the same bytes.
        wire.send(again.as_bytes());
    }
    until(Duration::from_secs(5), "the caller hears it ringing", || {
        wire.receive(Duration::from_millis(100)).filter(|message| message.status() == Some(180))
    });
    wire.send(invite.cancel(2).as_bytes());
    let ended = until(Duration::from_secs(5), "the INVITE is ended", || {
        wire.final_response(Duration::from_millis(100))
            .filter(|message| message.header("CSeq") == Some("2 INVITE"))
    });
    assert_eq!(ended.status(), Some(487));
    wire.send(invite.ack(2, &ended).as_bytes());
    let seen = running.passes();
    assert_eq!(seen.matches("INVITE sip:").count(), 1, "{seen}");
    assert_eq!(setup.server.finished_call()["status"], "canceled");
}

#[test]
fn a_lost_invite_is_sent_again() {
    let setup = Setup::open();
    let running = setup.callee("callee_waits_for_a_repeat");
    setup.caller("caller").passes();
    let seen = running.passes();
    assert!(seen.matches("INVITE sip:").count() >= 2, "{seen}");
}

#[test]
fn a_caller_that_requires_reliable_ringing_gets_it() {
    Setup::open().play("caller_demands_reliability", "callee");
}

#[test]
fn a_callee_that_rings_reliably_gets_its_prack() {
    Setup::open().play("caller", "callee_reliable");
}

#[test]
fn hold_by_update_reaches_the_other_side() {
    Setup::open().play("caller_updates", "callee_renegotiated");
}

#[test]
fn hold_by_re_invite_reaches_the_other_side() {
    Setup::open().play("caller_reinvites", "callee_renegotiated");
}

#[test]
fn the_callee_may_hold_too() {
    Setup::open().play("caller_is_reinvited", "callee_reinvites");
}

#[test]
fn two_offers_at_once_are_glare() {
    Setup::open().play("caller_meets_glare", "callee_reinvites");
}

#[test]
fn an_invite_without_offer_gets_ours() {
    Setup::open().play("caller_offers_late", "callee");
}

#[test]
fn of_two_phones_that_answer_at_once_one_is_ended_by_bye() {
    let setup = Setup::open();
    let mut caller = Raw::new(&setup.server, &setup.alice);
    caller.register();
    let phones = [(); 2].map(|()| {
        let mut phone = Raw::new(&setup.server, &setup.bob);
        phone.register();
        phone
    });
    let sdp = caller.sdp();
    let dialling = caller.invite("1002", "", &sdp);
    caller.send(dialling.text.as_bytes());
    let invites: Vec<_> = phones.iter().map(|phone| phone.expect_request("INVITE")).collect();
    // Both answer before either gets CANCEL.
    for (phone, invite) in phones.iter().zip(&invites) {
        phone.answer(invite, 200, "", &phone.sdp());
    }
    let ok = caller.expect_final("INVITE");
    let mut side = caller.send_ack(&dialling, &ok);
    let [first, second] = &phones;
    first.expect_request("ACK");
    second.expect_request("ACK");
    let bye = second.expect_request("BYE");
    second.answer(&bye, 200, "", "");
    caller.still_up(&mut side);
    caller.hang_up(&mut side);
    let bye = first.expect_request("BYE");
    first.answer(&bye, 200, "", "");
    assert_eq!(setup.server.finished_call()["status"], "completed");
}

#[test]
fn the_server_refreshes_the_session_as_refresher() {
    let setup = Setup::open();
    let running = setup.callee("callee");
    setup.caller("caller_is_refreshed").time_limit(Duration::from_secs(100)).passes();
    running.passes();
}

#[test]
fn a_session_without_refresh_is_ended() {
    let setup = Setup::open();
    let running = setup.callee("callee");
    setup.caller("caller_forgets_to_refresh").time_limit(Duration::from_mins(2)).passes();
    running.passes();
}

#[test]
fn a_session_interval_too_short_is_422() {
    Setup::open().caller("caller_asks_too_little").passes();
}

#[test]
fn requests_in_a_dialog_that_does_not_exist_are_481() {
    Setup::open().caller("stranger_in_dialog").passes();
}
