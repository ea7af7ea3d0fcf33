//! URIs: validity, parts and equality (RFC 3261 §19.1, RFC 3966).
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use centralita_sip::{NameAddr, Quoted, Scheme, Transport, Uri};
use proptest::prelude::*;

fn uri(text: &str) -> Uri {
    Uri::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn uris_are_equal_as_rfc_3261_says() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("SIP:a@h", "sip:a@h"),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0:0::1]"),
        ("sip:a:p@h;lr", "sip:a:%70@h"),
        ("tel:+1-201-555-0123", "tel:+1(201)555.0123"),
        ("tel:7042;phone-context=Example.com", "TEL:70-42;phone-context=example.com"),
        ("urn:service:sos", "URN:service:sos"),
    ] {
        assert!(uri(a) == uri(b) && uri(b) == uri(a), "{a} {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"), // the user knows case
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:h"),
        ("sip:a@h", "sip:a:p@h"),
        ("sip:a@h;maddr=x", "sip:a@h"),
        ("sip:a@h;ttl=1", "sip:a@h"),
        ("sip:a@h;user=phone", "sip:a@h"),
        ("sip:a%2Fb@h", "sip:a/b@h"), // reserved: escaped is not unescaped (RFC 2396 §2.2)
        ("tel:+12015550123", "tel:12015550123"),
        ("tel:7042;phone-context=a", "tel:7042;phone-context=b"),
        ("tel:7042;phone-context=a", "tel:7042"),
        ("tel:1", "sip:1@h"),
        ("urn:a", "urn:A"),
    ] {
        assert!(uri(a) != uri(b) && uri(b) != uri(a), "{a} {b}");
    }
}

#[test]
fn the_parts_of_a_uri_are_found_with_any_user() {
    let odd = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(
        (odd.user().unwrap().as_ref(), odd.host()),
        ("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*", "example.com")
    );
    let escaped = uri("sip:user;par=u%40example.net@h:5061;lr;x=%41;Transport=WS?a=b&c");
    assert_eq!(escaped.user().unwrap(), "user;par=u@example.net");
    assert_eq!(
        (escaped.port(), escaped.param("LR"), escaped.param("x")),
        (Some(5061), Some(""), Some("%41"))
    );
    assert_eq!(
        (escaped.param("transport"), escaped.param("none"), escaped.has_headers()),
        (Some("WS"), None, true)
    );
    assert_eq!(uri("sip:*43#@h").user().unwrap(), "*43#"); // dialled so by phones that do not escape it
    assert_eq!(uri("sip:null-%00-null@h").user().unwrap(), "null-\0-null"); // RFC 4475 §3.1.1.4
    assert_eq!(uri("sip:%ff@h").user(), None);
    assert_eq!(uri("sip:h;x=1;").param("x"), Some("1"));
    let tel = uri("tel:+1-201-555-0123;ext=7");
    assert_eq!(
        (tel.scheme(), tel.user().unwrap().as_ref(), tel.host(), tel.param("ext")),
        (Scheme::Tel, "+1-201-555-0123", "", Some("7"))
    );
    assert_eq!(uri("http://a/b").scheme(), Scheme::Other(Bytes::from_static(b"http")));
}

#[test]
fn invalid_uris_are_rejected_with_the_faulty_part() {
    for (text, what) in [
        ("", "scheme"),
        ("sip", "scheme"),
        (":a@h", "scheme"),
        ("1sip:a", "scheme"),
        ("s ip:a@h", "scheme"),
        ("sip:", "host"),
        ("sip:a@", "host"),
        ("sip:@h", "user"),
        ("sip: a@h", "user"),
        ("sip:a b@h", "user"),
        ("sip:a\"@h", "user"),
        ("sip:a%4@h", "user"),
        ("sip:a%@h", "user"),
        ("sip:a:b:c@h", "password"),
        ("sip:é@h", "user"),
        ("sip:a@h:", "port"),
        ("sip:a@h:99999", "port"),
        ("sip:a@h:5060x", "port"),
        ("sip:a@h:-1", "port"),
        ("sip:a@h h", "host"),
        ("sip:a@[::1", "host"),
        ("sip:a@[::1]x", "host"),
        ("sip:a@[1.2.3.4]", "host"),
        ("sip:a@[fe80::1%25eth0]", "host"),
        ("sip:a@::1", "host"),
        ("sip:a@h;x=\"y\"", "parameter"),
        ("sip:a@h; lr", "parameter"),
        ("sip:a@h;=x", "parameter"),
        ("sip:a@b@c", "host"),
        ("sip:a@h?", "headers"),
        ("sip:a@h?x=<y>", "headers"),
        ("sip:a@h>", "host"),
        ("sip:a@h\r\n", "host"),
        ("tel:", "number"),
        ("tel:+", "number"),
        ("tel:1+2", "number"),
        ("tel:12 34", "number"),
        ("tel:x", "number"),
        ("urn:", "text"),
        ("urn:a b", "text"),
        ("urn:<a>", "text"),
        ("urn:a\0", "text"),
    ] {
        let error = Uri::parse(Bytes::copy_from_slice(text.as_bytes())).expect_err(text);
        assert_eq!(error.what, what, "{text:?}");
    }
    assert_eq!(Uri::parse(Bytes::from(format!("sip:{}", "h".repeat(9000)))).unwrap_err().what, "length");
}

/// Typical URIs, and a few unusual ones.
fn any_uri() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => ("(sip|sips|SIP):", "([a-c1+*]|%4[1-3]|%2[fF]){0,3}(:[a-b]{0,2})?", "@?(h|H|h\\.com|192\\.0\\.2\\.1|\\[::1\\]|\\[0:0::1\\])",
              "(:5060|:5061)?", "(;(lr|a=1|A=1|a=2|transport=tcp|Transport=TCP|user=phone|maddr=h)){0,3}", "(\\?(a=1|b=2|a=1&b=2|b=2&a=1))?")
            .prop_map(|(scheme, user, host, port, params, headers)| {
                let at = if user.is_empty() || user.starts_with(':') { String::new() } else { format!("{user}@") };
                format!("{scheme}{at}{}{port}{params}{headers}", host.trim_start_matches('@'))
            }),
        2 => "tel:[+]?[0-9]{1,4}(-[0-9])?(;ext=[0-9])?",
        1 => "(urn|URN|http):[a-c]{1,3}",
    ]
}

proptest! {
    #[test]
    fn equality_is_reflexive_and_symmetric_and_text_survives(a in any_uri(), b in any_uri()) {
        let (x, y) = (uri(&a), uri(&b));
        prop_assert_eq!(x.to_string(), a);
        prop_assert!(x == x.clone() && uri(x.as_str()) == x);
        prop_assert_eq!(x == y, y == x);
    }

    #[test]
    fn any_user_can_be_written_and_read_again(user in "\\PC{1,20}", port in 1u16.., v6: bool) {
        let ip: std::net::IpAddr = if v6 { "2001:db8::7".parse().unwrap() } else { "192.0.2.7".parse().unwrap() };
        let made = Uri::sip(Some(&user), (ip, port).into(), Some(Transport::Tcp));
        let read = uri(made.as_str());
        prop_assert_eq!(read.user().unwrap(), user);
        prop_assert_eq!((read.host().parse().unwrap(), read.port()), (ip, Some(port)));
        prop_assert!(read == made);
    }

    #[test]
    fn any_display_name_can_be_written_and_read_again(display in "\\PC{0,30}") {
        let text = format!("{} <sip:a@h>;tag=x", Quoted(&display));
        let read = NameAddr::parse(Bytes::from(text)).unwrap();
        prop_assert_eq!((read.display.as_str(), read.tag()), (display.as_str(), Some("x")));
    }

    #[test]
    fn no_bytes_make_a_uri_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), scheme in "(sip:|tel:|sips:|x:)?") {
        let text = [scheme.as_bytes(), &bytes].concat();
        if let Ok(read) = Uri::parse(Bytes::from(text.clone())) {
            prop_assert_eq!(read.as_bytes(), &text);
            prop_assert!(text.is_ascii() && read == read.clone());
            let _ = (read.user(), read.host(), read.port(), read.param("x"), read.scheme());
        }
    }
}
