//! Webhooks: signed, in order, again until they are taken, and never to where they must not go (S88, security.md row 24).

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base::{Rng, Secret, Timestamp};
use model::{RetryPolicy, UserId, Webhook, WebhookId};
use serde_json::Value;
use server::clock::Clock;
use server::webhooks::WebhookDispatcher;
use server::webhooks::address::AddressPolicy;
use server::webhooks::client::{WebhookClient, signature};
use store::{Audit, Delivery, DeliveryFilter, DeliveryStatus, Store};
use tokio::task::JoinHandle;

const KEY: [u8; 32] = [7; 32];

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("centralita-hooks-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Folder(std::env::temp_dir().join(name))
    }

    async fn store(&self) -> Store {
        Store::open("sqlite:test.db", &self.0).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Heard = (HeaderMap, String);

/// Somebody who receives: answers with the statuses that it was given, then 200.
#[derive(Clone, Default)]
struct Receiver {
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
}

impl Receiver {
    async fn start(&self) -> String {
        async fn take(State(me): State<Receiver>, headers: HeaderMap, body: String) -> Response {
            me.heard.lock().unwrap().push((headers, body));
            me.answers.lock().unwrap().pop_front().unwrap_or_else(|| StatusCode::OK.into_response())
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router =
            Router::new().route("/hook", post(take)).route("/elsewhere", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    async fn hears(&self, count: usize) -> Vec<Heard> {
        for _ in 0..1000 {
            if self.heard().len() >= count {
                return self.heard();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} messages did not come: {:?}", self.heard());
    }
}

fn courier(store: &Store, reach: AddressPolicy, attempts: u32) -> JoinHandle<()> {
    let patience =
        RetryPolicy { first: Duration::from_millis(20), longest: Duration::from_millis(50), attempts };
    let post = WebhookClient::new(reach);
    let rng = Rng::from_number(1);
    let courier =
        WebhookDispatcher::new(store.clone(), post, Secret::new(KEY), patience, Clock::start(), rng);
    tokio::spawn(courier.run())
}

fn audit(kind: &'static str, subject: &str) -> Audit {
    Audit {
        at: Timestamp::from_micros(1_736_937_000_000_000),
        kind,
        user: UserId::parse("user_123").ok(),
        subject: subject.into(),
        key: None,
        ip: None,
        request: String::new(),
        detail: serde_json::json!({"sessionId": subject}),
    }
}

async fn hook(store: &Store, url: &str) -> Webhook {
    let hook = Webhook {
        id: WebhookId::parse("hook_1_a").unwrap(),
        user: UserId::parse("user_123").unwrap(),
        url: url.into(),
        types: vec!["call_started".into(), "call_ended".into()],
        everybody: false,
        active: true,
        since: 0,
        secret: 0,
        rotated_at: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    store.put_webhook(&hook, true, audit("webhook_created", "hook_1_a")).await.unwrap();
    hook
}

async fn deliveries(store: &Store, status: DeliveryStatus, count: usize) -> Vec<Delivery> {
    let webhook = WebhookId::parse("hook_1_a").unwrap();
    let filter = DeliveryFilter { webhook, status: Some(status), before: None, limit: 100 };
    for _ in 0..1000 {
        let found = store.deliveries(&filter).await.unwrap();
        if found.len() == count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{count} deliveries are not {}", status.as_str());
}

#[tokio::test]
async fn a_message_is_signed_over_its_very_bytes_and_tells_only_what_was_asked_for() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    store.audit(audit("call_started", "session_0")).await.unwrap(); // before there was anybody to tell
    let hook = hook(&store, &receiver.start().await).await;
    let running = courier(&store, AddressPolicy::LoopbackToo, 5);
    store.audit(audit("api_key_created", "key_1")).await.unwrap();
    store
        .audit(Audit { user: UserId::parse("stranger").ok(), ..audit("call_started", "session_9") })
        .await
        .unwrap();
    store.audit(audit("call_started", "session_1")).await.unwrap();
    deliveries(&store, DeliveryStatus::Delivered, 1).await;
    let (headers, body) = receiver.hears(1).await.remove(0);
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&message["type"], &message["subject"]), (&"call_started".into(), &"session_1".into()));
    assert_eq!(headers["centralita-event"], "call_started");
    let signed = headers["centralita-signature"].to_str().unwrap();
    let at = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse::<i64>().unwrap();
    let secret = api::webhook_secret(&Secret::new(KEY), &hook.id, 0);
    assert_eq!(signature(&[secret], Timestamp::from_micros(at * 1_000_000), body.as_bytes()), signed);
    assert_eq!(receiver.heard().len(), 1);
    running.abort();
}

// S88
#[tokio::test]
async fn for_a_day_after_a_change_messages_bear_the_signatures_of_both_secrets() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let hook = hook(&store, &receiver.start().await).await;
    let running = courier(&store, AddressPolicy::LoopbackToo, 5);
    let now = Clock::start().now().wall;
    let ago = |minutes: i64| Timestamp::from_micros(now.as_micros() - minutes * 60_000_000);
    let secrets = [0, 1, 2].map(|number| api::webhook_secret(&Secret::new(KEY), &hook.id, number));
    // Changed first a little less than a day ago, then a little more, and so for the second time.
    for (minutes, signing) in [(23 * 60 + 50, &[1, 0][..]), (24 * 60 + 10, &[2][..])] {
        let rotated = audit("webhook_secret_rotated", "hook_1_a");
        store.rotate_webhook(&hook.id, ago(minutes), rotated).await.unwrap().unwrap();
        let heard = receiver.heard().len();
        store.audit(audit("call_started", &format!("session_{minutes}"))).await.unwrap();
        let (headers, body) = receiver.hears(heard + 1).await.pop().unwrap();
        let signed = headers["centralita-signature"].to_str().unwrap();
        let at = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse::<i64>().unwrap();
        let expected: Vec<_> = signing.iter().map(|number: &usize| secrets[*number].clone()).collect();
        assert_eq!(signature(&expected, Timestamp::from_micros(at * 1_000_000), body.as_bytes()), signed);
    }
    running.abort();
}

#[tokio::test]
async fn what_is_not_taken_comes_again_and_what_follows_it_waits() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    hook(&store, &receiver.start().await).await;
    let refusals = [500, 429, 302].map(|status| StatusCode::from_u16(status).unwrap().into_response());
    receiver.answers.lock().unwrap().extend(refusals);
    for kind in ["call_started", "call_ended"] {
        store.audit(audit(kind, "session_1")).await.unwrap();
    }
    let running = courier(&store, AddressPolicy::LoopbackToo, 10);
    let delivered = deliveries(&store, DeliveryStatus::Delivered, 2).await;
    let heard: Vec<_> =
        receiver.heard().iter().map(|(headers, _)| headers["centralita-event"].clone()).collect();
    assert_eq!(heard, ["call_started", "call_started", "call_started", "call_started", "call_ended"]);
    let ids: Vec<_> =
        receiver.heard().iter().map(|(headers, _)| headers["centralita-delivery"].clone()).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert_eq!((delivered[1].attempts, delivered[0].attempts), (4, 1));
    running.abort();
}

#[tokio::test]
async fn a_dead_letter_can_be_sent_again_and_does_not_stop_the_others() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    hook(&store, &receiver.start().await).await;
    receiver
        .answers
        .lock()
        .unwrap()
        .extend((0..3).map(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    let running = courier(&store, AddressPolicy::LoopbackToo, 3);
    store.audit(audit("call_started", "session_1")).await.unwrap();
    store.audit(audit("call_ended", "session_1")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
    assert_eq!((dead.attempts, dead.answer, dead.fault.as_deref()), (3, Some(500), Some("answered 500")));
    deliveries(&store, DeliveryStatus::Delivered, 1).await;
    let now = Clock::start().now().wall;
    store.retry_delivery(&dead.id, now, audit("webhook_delivery_retried", "hook_1_a")).await.unwrap();
    deliveries(&store, DeliveryStatus::Delivered, 2).await;
    assert_eq!(receiver.heard().len(), 5);
    running.abort();
}

#[tokio::test]
async fn another_start_goes_on_where_the_last_one_died() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let url = receiver.start().await;
    hook(&store, &url).await;
    for n in 0..20 {
        store.audit(audit("call_started", &format!("session_{n}"))).await.unwrap();
    }
    let running = courier(&store, AddressPolicy::LoopbackToo, 5);
    receiver.hears(3).await;
    running.abort();
    store.close().await;
    // What was taken and not settled is leased to the dead one: it is due again as soon as the lease ends, here at once.
    let store = folder.store().await;
    let webhook = WebhookId::parse("hook_1_a").unwrap();
    let pending = DeliveryFilter { webhook, status: Some(DeliveryStatus::Pending), before: None, limit: 100 };
    for delivery in store.deliveries(&pending).await.unwrap() {
        let again = store::Attempt {
            outcome: store::Outcome::Again(Timestamp::default()),
            answer: None,
            fault: None,
            at: Timestamp::default(),
        };
        store.attempted(&delivery.id, &again).await.unwrap();
    }
    let running = courier(&store, AddressPolicy::LoopbackToo, 5);
    deliveries(&store, DeliveryStatus::Delivered, 20).await;
    let mut subjects: Vec<String> = receiver
        .heard()
        .iter()
        .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["subject"].as_str().unwrap().to_owned())
        .collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(subjects.len(), 20);
    running.abort();
}

#[tokio::test]
async fn nothing_is_sent_inside_and_no_redirect_is_followed() {
    let (folder, canary) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let url = canary.start().await;
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap().to_owned();
    hook(&store, &format!("https://127.0.0.1:{port}/hook")).await;
    let running = courier(&store, AddressPolicy::Public, 1);
    store.audit(audit("call_started", "session_1")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
    assert_eq!((dead.answer, dead.fault.as_deref()), (None, Some("the address is not public")));
    // A name that leads inside is no better.
    hook(&store, &format!("https://localhost:{port}/hook")).await;
    store.audit(audit("call_started", "session_2")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 2).await.remove(0);
    assert_eq!(dead.fault.as_deref(), Some("the address is not public"));
    running.abort();
    assert!(canary.heard().is_empty());
    // A receiver that points elsewhere is not followed.
    hook(&store, &url).await;
    let elsewhere = [("location", url.replace("/hook", "/elsewhere"))];
    canary.answers.lock().unwrap().push_back((StatusCode::TEMPORARY_REDIRECT, elsewhere).into_response());
    let running = courier(&store, AddressPolicy::LoopbackToo, 1);
    store.audit(audit("call_started", "session_3")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 3).await.remove(0);
    assert_eq!((dead.answer, canary.heard().len()), (Some(307), 1));
    running.abort();
}

#[tokio::test]
async fn a_message_that_does_not_arrive_says_whether_it_was_dns_the_connection_or_tls() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    // Takes the connection and closes it at once.
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cut = rude.local_addr().unwrap();
    tokio::spawn(async move { while rude.accept().await.is_ok() {} });
    let plain = Receiver::default().start().await.replace("http://", "https://");
    for (url, said) in [
        ("https://no-such-name.invalid/token", "DNS: the name is not found"),
        (&format!("http://{closed}/token"), "connection: refused: nobody listens on that port"),
        (&format!("https://{cut}/token"), "connection: "),
        (&plain, "TLS: "),
    ] {
        let folder = Folder::new();
        let store = folder.store().await;
        hook(&store, url).await;
        store.audit(audit("call_started", "session_1")).await.unwrap();
        let running = courier(&store, AddressPolicy::LoopbackToo, 1);
        let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
        let fault = dead.fault.unwrap();
        assert!(fault.starts_with(said), "{url}: {fault}");
        assert!(!fault.contains("token") && !fault.contains("127.0.0.1"), "{fault}");
        running.abort();
    }
}
