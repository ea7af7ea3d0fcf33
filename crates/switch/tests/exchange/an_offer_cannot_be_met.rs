//! A re-INVITE or UPDATE that cannot be met is refused, and changes nothing for either party (RFC 3261 §14.1).

use media::MediaCommand;

use super::a_call_is_made::connected;
use crate::office::Office;
use crate::office::sdp::{direction, sdp};

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
                let mut office = Office::open();
                let (caller, callee) = connected(&mut office);
                let (mut offerer, other) = if from_callee { (callee, caller) } else { (caller, callee) };
                office.heard(&other.phone);
                office.media.clear();
                office.within(&mut offerer, method, "", Some(&offer));
                let refusal =
                    office.heard(&offerer.phone).into_iter().find(|m| m.status().is_some_and(|s| s >= 200));
                assert_eq!(refusal.as_ref().and_then(|m| m.status()), Some(488), "{method}, {what}");
                if method == "INVITE" {
                    office.ack_refusal(&offerer, &refusal.unwrap());
                }
                assert!(office.heard(&other.phone).is_empty(), "{method}, {what}: the other party was asked");
                assert!(office.media.is_empty(), "{method}, {what}: {:?}", office.media);
                assert_eq!(office.status().active_calls, 1);
            }
        }
    }
}

#[test]
fn a_change_that_the_offerer_cannot_follow_is_taken_back_from_the_other_party() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = office.last(&callee.phone);
    assert_eq!(direction(&reinvite.body()), "sendonly");
    // An answer that means nothing: the hold is refused, and the phone that took it is offered the call as it was.
    office.respond(&callee, &reinvite, 200, "", Some("v=0\r\no=- 1 1 IN IP4 10.0.0.12\r\ns=-\r\nt=0 0\r\n"));
    let refusal =
        office.heard(&caller.phone).into_iter().find(|m| m.status() == Some(488)).expect("a refusal");
    office.ack_refusal(&caller, &refusal);
    let former =
        office.heard(&callee.phone).into_iter().find(|m| m.method().as_str() == "INVITE").expect("an offer");
    assert_eq!(direction(&former.body()), "sendrecv");
    office.media.clear();
    office.respond(&callee, &former, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let silent = |command: &MediaCommand| {
        matches!(command, MediaCommand::SetSource { source: media::Source::Silence, .. })
    };
    assert!(!office.media.iter().any(silent));
    assert_eq!(office.status().active_calls, 1);
}
