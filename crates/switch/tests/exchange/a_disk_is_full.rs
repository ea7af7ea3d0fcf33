//! The journal has no room: what could not be kept is not promised, and what is up goes on.

use centralita_switch::{Input, JournalRoom};
use sip::HeaderName;

use super::a_call_is_made::connected;
use crate::office::Office;
use crate::office::sdp::sdp;

#[test]
fn nothing_new_is_taken_on_and_calls_that_are_up_go_on() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.feed(Input::Journal(JournalRoom::Low));
    let carla = office.phone("1003");
    office.register(&carla);
    office.feed(Input::Journal(JournalRoom::Spent));
    assert_eq!(office.status().journal, JournalRoom::Spent);

    let line = office.call(&carla, "*43", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let refusal = office.last(&carla);
    assert_eq!((refusal.status(), refusal.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    office.ack_refusal(&line, &refusal);
    let refresh = format!("Contact: {}\r\nExpires: 120\r\n", carla.contact());
    let refusal = office.register_with(&carla, &refresh);
    assert_eq!((refusal.status(), refusal.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    assert!(
        refusal
            .header(HeaderName::Reason)
            .or(refusal.header(HeaderName::Warning))
            .is_some_and(|why| why.contains("disk"))
    );
    // Who only asks, or goes, promises nothing.
    assert_eq!(office.register_with(&carla, "").status(), Some(200));
    let goes = format!("Contact: {}\r\nExpires: 0\r\n", carla.contact());
    assert_eq!(office.register_with(&carla, &goes).status(), Some(200));

    office.within(&mut caller, "BYE", "", None);
    assert_eq!(office.last(&caller.phone).status(), Some(200));
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);

    office.feed(Input::Journal(JournalRoom::Ample));
    assert_eq!(office.register_with(&carla, &refresh).status(), Some(200));
}
