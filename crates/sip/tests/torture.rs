//! Torture messages of our own, after the ideas of RFC 4475 and RFC 5118 and faults found in other stacks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use bytes::Bytes;
use centralita_sip::{Contacts, HeaderName, Message, Method, Scheme, limits};

/// A valid message; each test changes a part of it.
const VALID: &str = "INVITE sip:1002@pbx.example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5071;branch=z9hG4bKone;rport\r\n\
    Max-Forwards: 70\r\n\
    From: \"Ana\" <sip:1001@pbx.example.com>;tag=aa\r\n\
    To: <sip:1002@pbx.example.com>\r\n\
    Call-ID: torture@192.0.2.7\r\n\
    CSeq: 7 INVITE\r\n\
    Contact: <sip:1001@192.0.2.7:5071>\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 4\r\n\
    \r\n\
    body";

fn parse(text: impl AsRef<[u8]>) -> Result<Message, centralita_sip::ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_ref()))
}

fn with_change(before: &str, after: &str) -> String {
    assert!(VALID.contains(before), "{before}");
    VALID.replacen(before, after, 1)
}

#[test]
fn a_valid_message_is_parsed() {
    let message = parse(VALID).unwrap();
    assert_eq!(message.method(), &Method::Invite);
    assert_eq!(message.uri().unwrap().to_string(), "sip:1002@pbx.example.com");
    assert_eq!((message.from().display.as_str(), message.from_tag(), message.to_tag()), ("Ana", "aa", ""));
    assert_eq!((message.call_id(), message.cseq().number), ("torture@192.0.2.7", 7));
    assert_eq!((message.via().port, message.via().rport), (Some(5071), Some(None)));
    assert_eq!(
        (message.body().as_ref(), message.header(HeaderName::ContentType)),
        (b"body".as_slice(), Some("text/plain"))
    );
    assert_eq!(message.all_headers().count(), 9);
}

/// Messages that are valid, however odd.
#[test]
fn odd_but_valid_messages_are_parsed() {
    let cases: &[(&str, &str, &str)] = &[
        ("empty lines first", "INVITE sip", "\r\n\r\nINVITE sip"),
        ("letters of any size", "Call-ID", "cAlL-iD"),
        ("space before the colon", "Call-ID:", "Call-ID \t :"),
        ("no space after the colon", "Call-ID: ", "Call-ID:"),
        ("a compact name", "Call-ID:", "i:"),
        (
            "a folded From",
            "\"Ana\" <sip:1001@pbx.example.com>;tag=aa",
            "\"Ana\"\r\n  <sip:1001@pbx.example.com>\r\n\t;\r\n tag\r\n =\r\n aa",
        ),
        ("a folded CSeq", "7 INVITE", "0007\r\n    INVITE"),
        ("a folded length", "Content-Length: 4", "Content-Length:\r\n 4"),
        (
            "a Via in pieces",
            "SIP/2.0/UDP 192.0.2.7:5071;branch=z9hG4bKone;rport",
            "SIP  / 2.0\r\n /UDP\r\n   192.0.2.7 : 5071 ;  branch = z9hG4bKone ;rport",
        ),
        ("an unknown transport", "/UDP", "/CARRIER-PIGEON"),
        ("a lower case version", "SIP/2.0\r\nVia", "sip/2.0\r\nVia"),
        ("no branch", ";branch=z9hG4bKone", ""),
        ("no tag", ";tag=aa", ""),
        ("a token display name without a space", "\"Ana\" <", "Ana<"),
        ("UTF-8 outside quotes", "\"Ana\" <", "Ana María <"),
        ("a display name that is no UTF-8 but ASCII noise", "\"Ana\" <", "\"\\\u{7}\\\0 \\\u{7f}\" <"),
        ("an empty display name", "\"Ana\" <", "\"\" <"),
        ("a quoted bracket", "\"Ana\" <", "\"<sip:x@y>, \\\"\" <"),
        ("a parameter with a quoted semicolon", ";tag=aa", ";x=\"a;tag=zz\";tag=aa"),
        ("a Request-URI with an escaped at", "sip:1002@", "sip:sips%3Auser%40example.com@"),
        ("a Request-URI with a semicolon in the user", "sip:1002@", "sip:user;par=u%40example.net@"),
        ("an unknown scheme", "sip:1002@pbx.example.com", "soap.beep://192.0.2.103:3002"),
        ("a telephone URI", "sip:1002@pbx.example.com", "tel:+1-201-555-0123;phone-context=x"),
        ("an unknown header full of marks", "Max-Forwards: 70", "X-Odd: ;;,,;;,;\r\nMax-Forwards: 70"),
        ("an unknown header with nothing", "Max-Forwards: 70", "X-Odd:\r\nMax-Forwards: 70"),
        ("a header name of all token marks", "Max-Forwards", "x-!.%*+_`'~"),
        ("a Call-ID of all word marks", "torture@192.0.2.7", "w%ZK-!.*_+'@word`~)(><:\\/\"][?}{"),
        ("the highest CSeq", "7 INVITE", "2147483647 INVITE"),
        ("a wrong date", "Max-Forwards: 70", "Date: Fri, 01 Jan 2010 16:00:00 EST"),
        (
            "an unknown authorization",
            "Max-Forwards: 70",
            "Authorization: NoOneKnowsThisScheme opaque-data=here",
        ),
        ("no length: the body goes to the end", "Content-Length: 4\r\n", ""),
        ("a body longer than the length", "body", "body that goes on: INVITE sip:x SIP/2.0\r\n\r\n"),
    ];
    for (what, before, after) in cases {
        let message =
            parse(with_change(before, after)).unwrap_or_else(|error| panic!("{what}: {}", error.what));
        assert_eq!(message.method(), &Method::Invite, "{what}");
    }
    let cut = parse(with_change("body", "body and trailing bytes")).unwrap();
    assert_eq!(cut.body(), "body"); // RFC 3261 §18.3
    let folded = parse(with_change("Max-Forwards: 70", "Subject: one\r\n   two\r\n\tthree  ")).unwrap();
    assert_eq!(folded.header_named("subject"), Some("one two three"));
    let raw: Vec<&[u8]> =
        folded.all_headers().filter(|(name, _)| *name == b"Subject").map(|(_, value)| value).collect();
    assert_eq!(raw, [b"one\r\n   two\r\n\tthree".as_slice()]);
}

/// Messages that must be rejected, with the status, and with a response: RFC 4475 §3.1.2 and §3.3.
#[test]
fn faulty_requests_are_rejected_and_can_be_answered() {
    let cases: &[(u16, &str, &str)] = &[
        (400, "Content-Length: 4", "Content-Length: 18446744073709551615"), // crashed the listener of another stack
        (400, "Content-Length: 4", "Content-Length: 99999999999999999999999999999"),
        (400, "Content-Length: 4", "Content-Length: -999"),
        (400, "Content-Length: 4", "Content-Length: +4"),
        (400, "Content-Length: 4", "Content-Length: 4 4"),
        (400, "Content-Length: 4", "Content-Length: 0x4"),
        (400, "Content-Length: 4", "Content-Length:"),
        (400, "Content-Length: 4", "Content-Length: 5"),
        (400, "Content-Length: 4", "Content-Length: 13\r\nContent-Length: 5"),
        (400, "Content-Length: 4", "Content-Length: 4\r\nl: 4"),
        (400, "7 INVITE", "36893488147419103232 INVITE"),
        (400, "7 INVITE", "2147483648 INVITE"),
        (400, "7 INVITE", "-7 INVITE"),
        (400, "7 INVITE", "INVITE"),
        (400, "7 INVITE", "7INVITE"),
        (400, "7 INVITE", "7"),
        (400, "7 INVITE", "7 INVITE x"),
        (400, "7 INVITE", "7 OPTIONS"),
        (400, "7 INVITE", "7 invite"), // methods are case-sensitive (RFC 3261 §7.1)
        (400, "INVITE sip", "NEWMETHOD sip"),
        (400, "INVITE sip", "INV<>TE sip"),
        (400, "INVITE sip", "INVITE  sip"),
        (400, "com SIP/2.0", "com  SIP/2.0"),
        (400, "com SIP/2.0", "com SIP/2.0 "),
        (400, "com SIP/2.0", "com; lr SIP/2.0"),
        (400, "com SIP/2.0", "com"),
        (400, "com SIP/2.0", "com HTTP/1.1"),
        (400, "com SIP/2.0", "com?Route=%3Csip:h%3E SIP/2.0"),
        (505, "com SIP/2.0", "com SIP/7.0"),
        (400, "sip:1002@pbx.example.com SIP", "<sip:1002@pbx.example.com> SIP"),
        (400, "sip:1002@pbx.example.com SIP", "sip:2001:db8::10 SIP"),
        (400, "sip:1002@pbx.example.com SIP", "sip:1002@pbx.example.com:65536 SIP"),
        (400, "sip:1002@pbx.example.com SIP", "sip:@pbx.example.com SIP"),
        (400, "sip:1002@pbx.example.com SIP", "sip:1002@ SIP"),
        (400, "sip:1002@pbx.example.com SIP", "sip:10%0g@pbx SIP"),
        (400, "sip:1002@pbx.example.com SIP", "1002 SIP"),
        (400, "\"Ana\" <", "\"Ana <"),
        (400, "\"Ana\" <", "Bell, Ana <"),
        (400, "\"Ana\" <", "Ana\rVia: x <"),
        (400, "\"Ana\" <", "\"Ana\nVia: x\" <"),
        (400, "<sip:1001@pbx.example.com>;tag=aa", "<sip:1001@pbx.example.com"),
        (400, "<sip:1001@pbx.example.com>;tag=aa", "< sip:1001@pbx.example.com >;tag=aa"),
        (400, "<sip:1001@pbx.example.com>;tag=aa", "<sip:1001@pbx.example.com>;;;"),
        (400, "<sip:1001@pbx.example.com>;tag=aa", "<sip:1001@pbx.example.com>;tag=a;tag=b"),
        (
            400,
            "To: <sip:1002@pbx.example.com>",
            "To: <sip:1002@pbx.example.com>\r\nTo: <sip:1003@pbx.example.com>",
        ),
        (400, "To: <sip:1002@pbx.example.com>", "To:"),
        (400, "To: <sip:1002@pbx.example.com>\r\n", ""),
        (400, "From: \"Ana\" <sip:1001@pbx.example.com>;tag=aa\r\n", ""),
        (400, "Call-ID: torture@192.0.2.7\r\n", ""),
        (400, "Call-ID: torture@192.0.2.7", "Call-ID:"),
        (400, "Call-ID: torture@192.0.2.7", "Call-ID: two words"),
        (400, "Call-ID: torture@192.0.2.7", "Call-ID: one\r\nCall-ID: two"),
        (400, "CSeq: 7 INVITE\r\n", ""),
        (400, "CSeq: 7 INVITE", "CSeq: 7 INVITE\r\nCSeq: 8 INVITE"),
        (400, "192.0.2.7:5071;branch=z9hG4bKone;rport", "192.0.2.7;;,;,,"),
        (400, "192.0.2.7:5071;branch=z9hG4bKone;rport", "192.0.2.7:port"),
        (400, "Via: SIP/2.0/UDP", "Via: SIP/2.0"),
        (400, "Max-Forwards: 70", "no colon here"),
        (400, "Max-Forwards: 70", "two words: x"),
        (400, "Max-Forwards: 70", ": x"),
        (400, "Max-Forwards: 70", "Bad\0Name: x"),
        (400, "\r\n\r\nbody", ""),
        (400, "\r\n\r\nbody", "\r\n"),
        (
            400,
            "INVITE sip:1002@pbx.example.com SIP/2.0\r\n",
            "INVITE sip:1002@pbx.example.com SIP/2.0\r\n folded: y\r\n",
        ),
    ];
    for (status, before, after) in cases {
        let error = parse(with_change(before, after)).map(|_| ()).expect_err(after);
        assert_eq!(error.status, *status, "{after:?}: {}", error.what);
        let message =
            error.answerable.unwrap_or_else(|| panic!("{after:?} ({}) must be answered", error.what));
        assert!(message.status().is_none());
        // No accessor may panic on a message that serves for a response only.
        let _ = (
            message.from(),
            message.to(),
            message.via(),
            message.contacts(),
            message.addresses(HeaderName::Via),
        );
        let _ = (
            message.call_id(),
            message.cseq(),
            message.uri(),
            message.body(),
            message.header(HeaderName::Via),
        );
    }
}

#[test]
fn what_cannot_be_answered_is_dropped() {
    let response = |before: &str, after: &str| {
        VALID
            .replacen("INVITE sip:1002@pbx.example.com SIP/2.0", "SIP/2.0 200 OK", 1)
            .replacen(before, after, 1)
    };
    assert_eq!(parse(response("", "")).unwrap().status(), Some(200));
    for phrase in ["SIP/2.0 100 ", "SIP/2.0 100", "SIP/2.0 200 = 2**3 * 5**2 но", "sip/2.0 699 \u{1}"] {
        assert!(parse(response("SIP/2.0 200 OK", phrase)).is_ok(), "{phrase}");
    }
    for (before, after) in [
        ("200 OK", "4294967301 OK"),
        ("200 OK", "099 OK"),
        ("200 OK", "700 OK"),
        ("200 OK", "20 OK"),
        ("200 OK", "2OO OK"),
        ("SIP/2.0 200", "SIP/3.0 200"),
        ("SIP/2.0 200", "SIP/2.0  200"),
        ("7 INVITE", "9292394834772304023312 INVITE"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4", "Content-Length: -1"),
    ] {
        let error = parse(response(before, after)).map(|_| ()).expect_err(after);
        assert!(error.answerable.is_none(), "{after}");
    }
    // No Via to send a response by: none at all, or an empty one (which crashed another stack).
    for via in ["", "Via:\r\n", "Via: \r\n", "v:\r\n \r\n"] {
        let text = with_change("Via: SIP/2.0/UDP 192.0.2.7:5071;branch=z9hG4bKone;rport\r\n", via);
        assert!(parse(text).unwrap_err().answerable.is_none(), "{via:?}");
    }
    for noise in [
        &b""[..],
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
        b" \r\n \r\n\r\n",
        b":\r\n\r\n",
    ] {
        assert!(parse(noise).unwrap_err().answerable.is_none(), "{noise:?}");
    }
}

#[test]
fn a_line_that_is_not_utf_8_does_not_hide_later_ones() {
    let text = [
        VALID.split_once("Max").unwrap().0.as_bytes(),
        b"X-Name: caf\xe9\r\nMax",
        VALID.split_once("Max").unwrap().1.as_bytes(),
    ]
    .concat();
    let message = parse(&text).unwrap();
    assert_eq!(message.header_named("x-name"), None);
    assert!(message.all_headers().any(|(name, value)| name == b"X-Name" && value == b"caf\xe9"));
    assert_eq!((message.number(HeaderName::MaxForwards), message.body().len()), (Some(Ok(70)), 4));
    // Invalid UTF-8 in a display name is replaced.
    let at = text.windows(3).position(|w| w == b"Ana").unwrap();
    let mut broken = text.clone();
    broken[at] = 0xc3;
    assert_eq!(parse(broken).unwrap().from().display, "\u{fffd}na");
}

#[test]
fn control_characters_in_display_names_are_dropped() {
    let message = parse(with_change("\"Ana\"", "\"A\\\0n\\\u{7}a\\\u{7f}\"")).unwrap(); // RFC 4475 §3.1.1.2
    assert_eq!(message.from().display, "Ana");
}

#[test]
fn many_and_long_headers_are_limited() {
    let long = "x".repeat(60_000);
    assert!(parse(with_change("Max-Forwards: 70", &format!("X-Long: {long}"))).is_ok());
    let error = parse(with_change("Max-Forwards: 70", &format!("X-Long: {long}{long}"))).unwrap_err();
    assert_eq!((error.status, error.answerable.is_some()), (513, true));
    let vias = |count: usize| {
        with_change(
            "Max-Forwards: 70",
            "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx\r\n".repeat(count).trim_end(),
        )
    };
    assert!(parse(vias(limits::VIAS - 1)).is_ok());
    for text in [vias(limits::VIAS), vias(1000), with_change(";rport", &";rport, SIP/2.0/UDP h".repeat(1000))]
    {
        let error = parse(text).unwrap_err();
        assert_eq!((error.status, error.what, error.answerable.is_some()), (483, "Too Many Vias", true));
    }
    // Lines beyond the limit are dropped, but fields that a response needs are found among them.
    let text = with_change("Max-Forwards: 70", "X: y\r\n".repeat(2000).trim_end());
    let error = parse(text).unwrap_err();
    let message = error.answerable.unwrap();
    assert_eq!((error.status, message.call_id(), message.cseq().number), (400, "torture@192.0.2.7", 7));
    assert!(message.all_headers().count() <= limits::HEADERS + 5);
    let error = parse(with_change("sip:1002@", &format!("sip:{}@", "1".repeat(20_000)))).unwrap_err();
    assert_eq!(error.status, 414);
}

#[test]
fn ipv6_is_accepted_where_rfc_5118_allows_it() {
    for (host, shown) in [
        ("[2001:db8::10]", "2001:db8::10"),
        ("[2001:db8::10:5070]", "2001:db8::10:5070"), // the port cannot be distinguished from the address
        ("[::ffff:192.0.2.2]", "::ffff:192.0.2.2"),
        ("[2001:db8::192.0.2.1]", "2001:db8::192.0.2.1"),
        ("[2001:db8:::192.0.2.1]", "2001:db8:::192.0.2.1"), // an error in the old grammar
    ] {
        let message =
            parse(with_change("sip:1002@pbx.example.com SIP", &format!("sip:1002@{host} SIP"))).unwrap();
        assert_eq!((message.uri().unwrap().host(), message.uri().unwrap().port()), (shown, None));
    }
    for (received, address) in [("2001:db8::9:255", true), ("[2001:db8::9:255]", true), ("nonsense", false)] {
        let text = with_change("192.0.2.7:5071;", &format!("[2001:db8::9:1]:6050;received={received};"));
        let via = parse(text).unwrap().via();
        assert_eq!(
            (via.host.as_ref(), via.port, via.received.is_some()),
            (b"[2001:db8::9:1]".as_slice(), Some(6050), address)
        );
    }
}

#[test]
fn contacts_are_a_star_or_a_list_and_never_both() {
    let with = |lines: &str| parse(with_change("Contact: <sip:1001@192.0.2.7:5071>\r\n", lines)).unwrap();
    assert!(matches!(with("").contacts(), Ok(Contacts::None)));
    assert!(matches!(with("Contact: *\r\n").contacts(), Ok(Contacts::Star)));
    for bad in [
        "Contact: *\r\nContact: *\r\n",
        "Contact: *, <sip:a@b>\r\n",
        "m: <sip:a@b>\r\nm: *\r\n",
        "Contact:\r\n",
        "Contact: <sip:a@b>,\r\n",
        "Contact: sip:a@b?Route=%3Csip:h%3E\r\n",
        "Contact: <sip:a@b\r\n",
        "Contact: \"a <sip:a@b>\r\n",
    ] {
        let error = with(bad).contacts().unwrap_err();
        assert_eq!((error.status, error.answerable.is_some()), (400, true), "{bad}");
    }
    let Ok(Contacts::List(list)) =
        with("Contact: \"A, B\" <sip:a,a@h>;q=0.5, sip:b@h;expires=7\r\nm:\r\n <sip:c@h?a=b>\r\n").contacts()
    else {
        panic!("three contacts")
    };
    assert_eq!(list.len(), 3);
    assert_eq!(
        (list[0].display.as_str(), list[0].param("Q"), list[1].param("expires")),
        ("A, B", Some("0.5"), Some("7"))
    );
    assert_eq!((list[1].uri.param("expires"), list[2].uri.has_headers()), (None, true));
}

#[test]
fn values_are_parsed_as_their_header_requires() {
    let text = with_change(
        "Max-Forwards: 70",
        "Expires: 10000000000000000000000000000000000000\r\nMin-SE: 90;x=y\r\nRetry-After: 120 (in a meeting)\r\nRSeq: -1\r\n\
         Supported: 100rel,, timer\r\nk: path\r\nRequire:\r\nRecord-Route: <sip:a;lr>, <sip:b;lr>\r\nRoute: nonsense\r\nx: 1800;refresher=uac",
    );
    let message = parse(text).unwrap();
    assert_eq!(message.number(HeaderName::Expires), Some(Ok(u32::MAX))); // RFC 4475 §3.1.2.4
    assert_eq!(
        (message.number(HeaderName::MinSe), message.number(HeaderName::RetryAfter)),
        (Some(Ok(90)), Some(Ok(120)))
    );
    assert_eq!(
        (message.number(HeaderName::RSeq), message.number(HeaderName::MinExpires)),
        (Some(Err(())), None)
    );
    assert_eq!(message.tokens(HeaderName::Supported).collect::<Vec<_>>(), ["100rel", "timer", "path"]);
    assert_eq!(message.tokens(HeaderName::Require).count(), 0);
    assert_eq!(message.addresses(HeaderName::RecordRoute).unwrap().len(), 2);
    assert!(
        message.addresses(HeaderName::Route).is_none()
            && message.addresses(HeaderName::Path).unwrap().is_empty()
    );
    assert_eq!(message.number(HeaderName::SessionExpires), Some(Ok(1800)));
    let soap = parse(with_change("sip:1002@pbx.example.com", "urn:service:sos")).unwrap();
    assert_eq!(soap.uri().unwrap().scheme(), Scheme::Other(Bytes::from_static(b"urn")));
}
