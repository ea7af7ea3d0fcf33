//! A caller that asks for privacy is shown to nobody but to emergency services (RFC 3323, RFC 3325).

use sip::HeaderName;

use crate::test_switch::TestSwitch;
use crate::test_switch::carrier::trunk;
use crate::test_switch::sdp::sdp;

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8", "sendrecv")
}

#[test]
fn a_phone_that_asks_for_privacy_is_shown_to_no_other_phone() {
    for (lines, shown) in [
        ("Privacy: id\r\n", false),
        ("Privacy: user;header\r\n", false),
        ("Privacy: HEADER , critical\r\n", false),
        ("Privacy: none\r\n", true),
        ("Privacy: session\r\n", true), // concerns media
        ("", true),
    ] {
        let mut pbx = TestSwitch::open();
        let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
        pbx.register(&benito);
        pbx.call_with(&ana, "1002", Some(&offer()), lines);
        let invite = pbx.expect_invite(&benito).invite;
        let text = String::from_utf8_lossy(invite.bytes()).into_owned();
        assert_eq!(text.contains("1001"), shown, "{lines:?}: {text}");
        let from = invite.header(HeaderName::From).unwrap().to_owned();
        assert_eq!(from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), !shown, "{from}");
    }
}

#[test]
fn a_carrier_is_told_the_number_and_to_keep_it_and_emergency_services_see_it() {
    let mut pbx = TestSwitch::open();
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.call_with(&ana, "0034912345678", Some(&offer()), "Privacy: id\r\n");
    let invite = pbx.expect_trunk_invite(1).invite;
    assert!(invite.header(HeaderName::From).unwrap().contains("sip:anonymous@anonymous.invalid"));
    assert_eq!(invite.header(HeaderName::Privacy), Some("id"));
    assert_eq!(invite.header_named("P-Asserted-Identity"), Some("<sip:+34910000000@10.9.0.1>"));

    pbx.call_with(&ana, "112", Some(&offer()), "Privacy: id\r\n");
    let invite = pbx.expect_trunk_invite(1).invite;
    assert!(invite.header(HeaderName::From).unwrap().contains("sip:+34910000000@10.9.0.1"));
    assert_eq!(invite.header(HeaderName::Privacy), None);
}
