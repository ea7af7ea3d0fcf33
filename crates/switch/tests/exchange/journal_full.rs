//! The journal is full: requests that need a record are rejected, and active calls go on.

use centralita_switch::{Input, JournalRoom};
use sip::HeaderName;

use super::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::sdp;

#[test]
fn draining_rejects_new_calls_and_keeps_active_ones() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.feed(Input::Journal(JournalRoom::Low));
    let carla = pbx.phone("1003");
    pbx.register(&carla);
    pbx.feed(Input::Journal(JournalRoom::Spent));
    assert_eq!(pbx.status().journal, JournalRoom::Spent);

    let dialog = pbx.call(&carla, "*43", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let rejection = pbx.last(&carla);
    assert_eq!((rejection.status(), rejection.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    pbx.ack_error(&dialog, &rejection);
    let refresh = format!("Contact: {}\r\nExpires: 120\r\n", carla.contact());
    let rejection = pbx.register_with(&carla, &refresh);
    assert_eq!((rejection.status(), rejection.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    assert!(
        rejection
            .header(HeaderName::Reason)
            .or(rejection.header(HeaderName::Warning))
            .is_some_and(|why| why.contains("disk"))
    );
    // Queries and removals need no record.
    assert_eq!(pbx.register_with(&carla, "").status(), Some(200));
    let goes = format!("Contact: {}\r\nExpires: 0\r\n", carla.contact());
    assert_eq!(pbx.register_with(&carla, &goes).status(), Some(200));

    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert_eq!(pbx.last(&caller.phone).status(), Some(200));
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);

    pbx.feed(Input::Journal(JournalRoom::Ample));
    assert_eq!(pbx.register_with(&carla, &refresh).status(), Some(200));
}
