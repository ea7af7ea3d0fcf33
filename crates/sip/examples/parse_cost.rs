//! Cost of parsing, answering and verifying messages: `cargo run --release -p centralita-sip --example parse_cost [NAME]`.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base::{Rng, Secret};
use bytes::{Bytes, BytesMut};
use centralita_sip::digest::{Algorithm, Credentials, Ha1, Nonces, answer, challenge};
use centralita_sip::{HeaderName, Message, Uri};

struct Counting;
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
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

const ROUNDS: u32 = 200_000;

fn measure<T>(what: &str, mut work: impl FnMut() -> T) {
    if std::env::args().nth(1).is_some_and(|only| only != what) {
        return;
    }
    let mut best = f64::MAX;
    let before = COUNT.load(Ordering::Relaxed);
    for _ in 0..5 {
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            black_box(work());
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    let allocations = (COUNT.load(Ordering::Relaxed) - before) as f64 / f64::from(5 * ROUNDS);
    println!("{what:<34} {best:>8.0} ns {allocations:>6.2} allocations");
}

fn main() {
    let mut rng = Rng::from_number(1);
    let mut nonces = Nonces::new(&mut rng);
    let now = base::Instant::from_micros(1_000_000);
    let nonce = nonces.mint(now);
    let secret = Secret::new("SecurePass123!x".to_owned());
    let asked = challenge("localhost", &nonce, Algorithm::Md5, false);
    let authorization =
        answer(&asked, None, "REGISTER", "sip:127.0.0.1:5060", "1001", &secret, &mut rng).unwrap();
    let register = format!(
        "REGISTER sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5071;branch=z9hG4bK-1-1-0\r\nMax-Forwards: 70\r\n\
         From: <sip:1001@127.0.0.1>;tag=77r1\r\nTo: <sip:1001@127.0.0.1>\r\nCall-ID: 1-77@127.0.0.1\r\nCSeq: 2 REGISTER\r\n\
         Contact: <sip:1001@127.0.0.1:5071>\r\nAuthorization: {authorization}\r\nExpires: 3600\r\nUser-Agent: bench\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let shared: Bytes = BytesMut::from(register.as_str()).freeze();
    println!("a REGISTER of {} bytes", shared.len());
    measure("parse", || Message::parse(shared.clone()).unwrap());
    measure("parse a vector of its own", || {
        Message::parse(Bytes::from(register.clone().into_bytes())).unwrap()
    });
    let message = Message::parse(shared.clone()).unwrap();
    measure("from and to", || (message.from(), message.to()));
    measure("via", || message.via());
    measure("contacts", || message.contacts().unwrap());
    measure("clone", || message.clone());
    let ha1 = Ha1::new("1001", "localhost", secret.expose());
    let line = message.header(HeaderName::Authorization).unwrap();
    measure("credentials: read", || Credentials::parse(line).unwrap());
    let credentials = Credentials::parse(line).unwrap();
    measure("credentials: prove, MD5", || assert!(credentials.prove("REGISTER", &ha1)));
    measure("nonce: mint", || nonces.mint(now));
    measure("nonce: check", || nonces.check(now, &nonce));
    measure("nonce: mint and spend", || {
        let nonce = nonces.mint(now);
        nonces.spend(now, &nonce, 1)
    });
    let uri = Bytes::from_static(b"sip:1001@pbx.example.com:5062;transport=tcp;lr");
    measure("uri", || Uri::parse(uri.clone()).unwrap());
}
