//! Digest authentication: test vectors of the RFCs, and faults found in other stacks.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use base::{Instant, Rng, Secret};
use centralita_sip::digest::{Algorithm, Credentials, Freshness, Ha1, Nonces, answer, challenge};

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

/// RFC 7616 §3.9.1, without its algorithm and response.
const RFC_7616: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
    nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
    cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

#[test]
fn the_vectors_of_rfc_7616_and_2617_verify() {
    let circle = Ha1::new("Mufasa", "http-auth@example.org", "Circle of Life");
    for (more, algorithm) in [
        ("algorithm=MD5, response=\"8ca523f5e9506fed4657c9700eebdbec\"", Algorithm::Md5),
        (
            "algorithm=SHA-256, response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"",
            Algorithm::Sha256, // RFC 8760 §2.3
        ),
    ] {
        let text = format!("{RFC_7616}, {more}");
        let credentials = Credentials::parse(&text).unwrap();
        assert_eq!(credentials.algorithm, algorithm);
        assert!(credentials.prove("GET", &circle));
        assert!(!credentials.prove("POST", &circle));
        assert!(!credentials.prove("GET", &Ha1::new("Mufasa", "http-auth@example.org", "Circle Of Life")));
    }
    // RFC 2617 §3.5, with the default algorithm
    let text = "Digest username=\"Mufasa\",realm=\"testrealm@host.com\",nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",\
        uri=\"/dir/index.html\",qop=auth,nc=00000001,cnonce=\"0a4f113b\",\
        response=\"6629fae49393a05397450978507c4ef1\",opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    assert!(
        Credentials::parse(text)
            .unwrap()
            .prove("GET", &Ha1::new("Mufasa", "testrealm@host.com", "Circle Of Life"))
    );
}

#[test]
fn answers_to_challenges_verify_for_any_user_and_realm() {
    let mut rng = Rng::from_number(3);
    let mut nonces = Nonces::new(&mut rng);
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        for (user, realm) in [("1001", "localhost"), ("O\"Brien\\", "a b"), ("josé", "sip.example.com")] {
            let nonce = nonces.mint(at(1));
            let asked = challenge(realm, &nonce, algorithm, false);
            let password = Secret::new("S3cret pässword:".to_owned());
            let text = answer(&asked, Some(realm), "REGISTER", "sip:h", user, &password, &mut rng).unwrap();
            let credentials = Credentials::parse(&text).unwrap();
            assert_eq!((&*credentials.username, credentials.realm, credentials.count), (user, realm, 1));
            assert!(credentials.prove("REGISTER", &Ha1::new(user, realm, password.expose())), "{text}");
            assert_eq!(nonces.check(at(1), credentials.nonce), Freshness::Fresh);
            assert!(nonces.spend(at(1), credentials.nonce, credentials.count));
            assert!(!nonces.spend(at(1), credentials.nonce, credentials.count)); // a replay
        }
    }
}

#[test]
fn a_challenge_has_the_shape_that_phones_read() {
    let text = challenge("localhost", "abc", Algorithm::Md5, true); // S136
    assert_eq!(text, "Digest realm=\"localhost\", nonce=\"abc\", algorithm=MD5, qop=\"auth\", stale=true");
    assert!(!challenge("r", "n", Algorithm::Sha256, false).contains("stale"));
}

#[test]
fn a_challenge_without_qop_is_answered_as_rfc_2069_says() {
    let mut rng = Rng::from_number(4);
    let secret = Secret::new("Circle Of Life".to_owned());
    let asked =
        "Digest realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5c\"";
    let text = answer(asked, None, "GET", "/dir/index.html", "Mufasa", &secret, &mut rng).unwrap();
    assert!(
        text.contains("response=\"670fd8c2df070c60b045671b8b24ff02\"") && text.contains("opaque=\"5c\""),
        "{text}"
    ); // RFC 2617 §3.2.2.1
    assert!(!text.contains("cnonce") && !text.contains("qop") && !text.contains("algorithm"));
}

#[test]
fn unsupported_challenges_are_not_answered() {
    let mut rng = Rng::from_number(5);
    let secret = Secret::new("x".to_owned());
    for asked in [
        "Digest realm=\"other\", nonce=\"n\"", // a realm that our secret is not for
        "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256",
        "Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess, qop=\"auth\"",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
        "Digest realm=\"r\"",
        "Digest realm=\"r\", nonce=\"n",
        "Digest realm=\"r\", nonce=\"n\", nonce=\"m\"",
        "Basic realm=\"r\"",
        "Digest",
        "",
    ] {
        assert_eq!(answer(asked, Some("r"), "INVITE", "sip:x", "u", &secret, &mut rng), None, "{asked}");
    }
    assert!(
        answer(
            "digest  Realm = \"r\" ,, nonce=n,qop=\"auth-int, auth\"",
            Some("r"),
            "INVITE",
            "sip:x",
            "u",
            &secret,
            &mut rng
        )
        .is_some()
    );
}

#[test]
fn incomplete_credentials_are_rejected() {
    let whole = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"00\", cnonce=\"c\", nc=0000000a, qop=auth";
    assert_eq!(Credentials::parse(whole).unwrap().count, 10); // nc is hexadecimal, and more than a byte
    assert_eq!(Credentials::parse(&whole.replace("0000000a", "ffffffff")).unwrap().count, u32::MAX);
    for (before, after) in [
        ("username=\"u\", ", ""),
        ("realm=\"r\", ", ""),
        ("nonce=\"n\", ", ""),
        ("uri=\"sip:h\", ", ""),
        ("response=\"00\", ", ""),
        ("cnonce=\"c\", ", ""),
        ("nc=0000000a, ", ""),
        (", qop=auth", ""),
        ("qop=auth", "qop=foo"),
        ("qop=auth", "qop=auth-int"),
        ("qop=auth", "qop=auth, qop=auth"),
        ("0000000a", "a"),
        ("0000000a", "000000001"),
        ("0000000a", "0000000g"),
        ("0000000a", "+000000a"),
        ("\"n\"", "\"n"),
        ("\"n\"", "\"n\" x"),
        ("\"n\"", "\"n\", nonce=\"m\""),
        ("\"u\"", "\"\""),
        ("\"c\"", "\"\""),
        ("qop=auth", "qop=auth, algorithm=MD5-sess"),
        ("qop=auth", "qop=auth, algorithm=SHA-512-256"),
        ("Digest", "Basic"),
        ("Digest ", "Digest"),
        ("\"r\"", "\"r\0\""),
    ] {
        let text = whole.replace(before, after);
        assert_ne!(text, whole);
        assert!(Credentials::parse(&text).is_none(), "{text}");
    }
    assert!(Credentials::parse(&format!("{whole}, x=\"{}\"", "y".repeat(8000))).is_none());
    // A response that is not hexadecimal, or has the wrong length, fails verification and does not panic.
    for response in ["", "zz", "0", &"0".repeat(31), &"0".repeat(32), &"0".repeat(64), &"é".repeat(16)] {
        let text = whole.replace("\"00\"", &format!("\"{response}\""));
        assert!(!Credentials::parse(&text).unwrap().prove("REGISTER", &Ha1::new("u", "r", "p")));
    }
}

#[test]
fn nonces_verify_and_become_stale() {
    let (mut ours, theirs) = (Nonces::new(&mut Rng::from_number(6)), Nonces::new(&mut Rng::from_number(7)));
    let nonce = ours.mint(at(100));
    assert_ne!(nonce, ours.mint(at(100)));
    assert_eq!(ours.check(at(100), &nonce), Freshness::Fresh);
    assert_eq!(ours.check(at(160), &nonce), Freshness::Fresh);
    assert_eq!(ours.check(at(161), &nonce), Freshness::Stale);
    assert_eq!(theirs.check(at(100), &nonce), Freshness::Forged);
    for at_byte in 0..nonce.len() {
        let mut text = nonce.clone().into_bytes();
        text[at_byte] = if text[at_byte] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(text).unwrap();
        assert_eq!(ours.check(at(100), &text), Freshness::Forged, "{text}");
    }
    for text in ["", "A", &nonce[1..], &format!("{nonce}A"), "=", "ñ"] {
        assert_eq!(ours.check(at(100), text), Freshness::Forged, "{text}");
        assert!(!ours.spend(at(100), text, 1));
    }
    assert!(!ours.spend(at(161), &nonce, 1));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", Ha1::new("u", "r", "p"), Nonces::new(&mut Rng::from_number(8)));
    assert_eq!(shown, "Ha1 { md5: ***, sha256: *** } Nonces { used: 0, .. }"); // security.md row 20
}
