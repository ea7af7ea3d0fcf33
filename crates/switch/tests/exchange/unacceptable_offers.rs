//! A re-INVITE or UPDATE that cannot be met is refused, and changes nothing for either party (RFC 3261 §14.1).

use media::MediaCommand;

use super::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::{direction, sdp};

/// Offers without an audio section that could be answered.
fn unusable() -> Vec<(&'static str, String)> {
    let heading = "v=0\r\no=- 1 2 IN IP4 10.0.0.11\r\ns=-\r\nc=IN IP4 10.0.0.11\r\nt=0 0\r\n";
    vec![
        ("T.38 only", format!("{heading}m=image 30000 udptl t38\r\na=T38FaxVersion:0\r\n")),
        (
            "audio closed, and an image",
            format!("{heading}m=audio 0 RTP/AVP 0\r\nm=image 30000 udptl t38\r\n"),
        ),
        ("SAVP without keys", format!("{heading}m=audio 30000 RTP/SAVP 0\r\n")),
        ("no codec", format!("{heading}m=audio 30000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n")),
        (
            "no address",
            "v=0\r\no=- 1 2 IN IP4 10.0.0.11\r\ns=-\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n".to_owned(),
        ),
    ]
}

#[test]
fn an_offer_that_cannot_be_met_is_refused_before_the_other_party_hears_of_it() {
    for method in ["INVITE", "UPDATE"] {
        for (what, offer) in unusable() {
            for from_callee in [false, true] {
                let mut pbx = TestSwitch::open();
                let (caller, callee) = connected(&mut pbx);
                let (mut offerer, other) = if from_callee { (callee, caller) } else { (caller, callee) };
                pbx.received(&other.phone);
                pbx.media.clear();
                pbx.in_dialog_request(&mut offerer, method, "", Some(&offer));
                let refusal =
                    pbx.received(&offerer.phone).into_iter().find(|m| m.status().is_some_and(|s| s >= 200));
                assert_eq!(refusal.as_ref().and_then(sip::Message::status), Some(488), "{method}, {what}");
                if method == "INVITE" {
                    pbx.ack_error(&offerer, &refusal.unwrap());
                }
                assert!(pbx.received(&other.phone).is_empty(), "{method}, {what}: the other party was asked");
                assert!(pbx.media.is_empty(), "{method}, {what}: {:?}", pbx.media);
                assert_eq!(pbx.status().active_calls, 1);
            }
        }
    }
}

#[test]
fn a_change_that_the_offerer_cannot_follow_is_taken_back_from_the_other_party() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = pbx.last(&callee.phone);
    assert_eq!(direction(&reinvite.body()), "sendonly");
    // An answer that means nothing: the hold is refused, and the phone that took it is offered the call as it was.
    pbx.respond(&callee, &reinvite, 200, "", Some("v=0\r\no=- 1 1 IN IP4 10.0.0.12\r\ns=-\r\nt=0 0\r\n"));
    let refusal =
        pbx.received(&caller.phone).into_iter().find(|m| m.status() == Some(488)).expect("a refusal");
    pbx.ack_error(&caller, &refusal);
    let former =
        pbx.received(&callee.phone).into_iter().find(|m| m.method().as_str() == "INVITE").expect("an offer");
    assert_eq!(direction(&former.body()), "sendrecv");
    pbx.media.clear();
    pbx.respond(&callee, &former, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let silent = |command: &MediaCommand| {
        matches!(command, MediaCommand::SetSource { source: media::Source::Silence, .. })
    };
    assert!(!pbx.media.iter().any(silent));
    assert_eq!(pbx.status().active_calls, 1);
}
