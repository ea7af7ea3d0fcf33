//! Allocations for parsing a message: a registrar parses 26,000 a second.
#![allow(clippy::unwrap_used, missing_docs, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use base::Secret;
use bytes::{Bytes, BytesMut};
use centralita_sip::digest::{Credentials, Ha1};
use centralita_sip::{HeaderName, Message};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count_allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (COUNT.with(Cell::get) - before, result)
}

const REGISTER: &str = "REGISTER sip:127.0.0.1:5060 SIP/2.0\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bK-1-1-0\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:1001@127.0.0.1>;tag=77r1\r\n\
    To: <sip:1001@127.0.0.1>\r\n\
    Call-ID: 1-77@127.0.0.1\r\n\
    CSeq: 2 REGISTER\r\n\
    Contact: <sip:1001@127.0.0.1:5071>\r\n\
    Authorization: Digest username=\"1001\",realm=\"localhost\",cnonce=\"6b8b4567\",nc=00000001,qop=auth,uri=\"sip:127.0.0.1:5060\",\
    nonce=\"AAAAAAAAAAAAAAAAAAAAAAAA\",response=\"0123456789abcdef0123456789abcdef\",algorithm=MD5\r\n\
    Expires: 3600\r\n\
    User-Agent: phone\r\n\
    Content-Length: 0\r\n\r\n";

const OK: &str = "SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK-0-1;rport=5060;received=127.0.0.1\r\n\
    From: \"Ana\" <sip:1001@localhost>;tag=a\r\n\
    To: <sip:1002@localhost>;tag=b\r\n\
    Call-ID: abc@127.0.0.1\r\n\
    CSeq: 1 INVITE\r\n\
    Contact: <sip:1002@127.0.0.1:5072>\r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 5\r\n\r\nv=0\r\n";

/// A message as the server passes it on: a slice of a shared buffer.
fn shared(text: &str) -> Bytes {
    BytesMut::from(text).freeze()
}

#[test]
fn a_register_and_a_200_cost_one_allocation_each() {
    for text in [REGISTER, OK] {
        let bytes = shared(text);
        let _other = bytes.clone();
        let (count, message) = count_allocations(|| Message::parse(bytes).unwrap());
        assert_eq!(count, 1, "{:?}", message.start());
        let (count, _copy) = count_allocations(|| message.clone());
        assert_eq!(count, 0);
    }
}

#[test]
fn reading_and_verifying_a_register_allocates_nothing() {
    let message = Message::parse(shared(REGISTER)).unwrap();
    let ha1 = Ha1 { md5: Secret::new([1; 16]), sha256: Secret::new([1; 32]) };
    let (count, right) = count_allocations(|| {
        assert_eq!((message.call_id(), message.from_tag(), message.to_tag()), ("1-77@127.0.0.1", "77r1", ""));
        assert_eq!(message.number(HeaderName::Expires), Some(Ok(3600)));
        assert_eq!((message.via().branch.as_ref(), message.cseq().number), (b"z9hG4bK-1-1-0".as_slice(), 2));
        assert_eq!(
            (message.to().uri.user().unwrap().as_ref(), message.from().uri.host()),
            ("1001", "127.0.0.1")
        );
        Credentials::parse(message.header(HeaderName::Authorization).unwrap())
            .unwrap()
            .prove("REGISTER", &ha1)
    });
    assert_eq!((count, right), (0, false));
    let (count, contacts) = count_allocations(|| message.contacts().unwrap());
    assert!(count <= 1, "{count} for {contacts:?}"); // the list itself
}
