//! A media worker fails: its calls have no audio any more, so they are released.

use media::MediaEvent;
use model::Cause;
use sip::HeaderName;

use crate::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::sdp;
use centralita_switch::Input;

#[test]
fn calls_of_a_failed_media_worker_are_released_and_its_ports_are_not_reused() {
    let mut pbx = TestSwitch::open();
    let (caller, callee) = connected(&mut pbx);
    pbx.fail_worker();
    for dialog in [&caller, &callee] {
        let bye = pbx.last(&dialog.phone);
        assert_eq!(bye.method().as_str(), "BYE");
        assert!(bye.header(HeaderName::Reason).is_some_and(|reason| reason.starts_with("Q.850;cause=41")));
        pbx.respond(dialog, &bye, 200, "", None);
    }
    assert_eq!(pbx.record().cause, Some(Cause::Internal));
    assert_eq!(pbx.status().ports_in_use, 0);

    // Its ports are no longer bound.
    let ana = caller.phone.clone();
    pbx.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    assert_eq!(pbx.last(&ana).status(), Some(503));
    // The next worker has bound other ports.
    let ports = vec![20_000, 20_002];
    pbx.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 0, ports }));
    pbx.received(&ana);
    let mut dialog = pbx.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    assert_eq!(ok.status(), Some(200));
    pbx.send_ack(&mut dialog, &ok, None);
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    pbx.assert_idle();
}
