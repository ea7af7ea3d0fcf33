//! A media worker that ends by an error: nothing is heard any more of its calls, so they end.

use media::MediaEvent;
use model::Cause;
use sip::HeaderName;

use crate::a_call_is_made::connected;
use crate::office::Office;
use crate::office::sdp::sdp;
use centralita_switch::Input;

#[test]
fn the_calls_of_a_worker_that_ends_are_released_and_its_ports_are_handed_out_no_more() {
    let mut office = Office::open();
    let (caller, callee) = connected(&mut office);
    office.worker_ends();
    for line in [&caller, &callee] {
        let bye = office.last(&line.phone);
        assert_eq!(bye.method().as_str(), "BYE");
        assert!(bye.header(HeaderName::Reason).is_some_and(|reason| reason.starts_with("Q.850;cause=41")));
        office.respond(line, &bye, 200, "", None);
    }
    assert_eq!(office.record().cause, Some(Cause::Internal));
    assert_eq!(office.status().ports_in_use, 0);

    // Its ports are no longer bound.
    let ana = caller.phone.clone();
    office.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    assert_eq!(office.last(&ana).status(), Some(503));
    // The worker that follows has bound others.
    let ports = vec![20_000, 20_002];
    office.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 0, ports }));
    office.heard(&ana);
    let mut line = office.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    assert_eq!(ok.status(), Some(200));
    office.acknowledge(&mut line, &ok, None);
    office.within(&mut line, "BYE", "", None);
    office.is_at_rest();
}
