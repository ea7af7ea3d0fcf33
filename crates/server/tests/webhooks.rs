//! Webhooks: signed, in order, retried until accepted, and never sent to private addresses (S88, SSRF).

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

type Request = (HeaderMap, String);

/// A receiver: responds with the given statuses, then with 200.
#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<Request>>>,
    responses: Arc<Mutex<VecDeque<Response>>>,
}

impl Receiver {
    async fn start(&self) -> String {
        async fn take(State(me): State<Receiver>, headers: HeaderMap, body: String) -> Response {
            me.requests.lock().unwrap().push((headers, body));
            me.responses.lock().unwrap().pop_front().unwrap_or_else(|| StatusCode::OK.into_response())
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router =
            Router::new().route("/hook", post(take)).route("/elsewhere", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Request> {
        for _ in 0..1000 {
            if self.requests().len() >= count {
                return self.requests();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} messages did not come: {:?}", self.requests());
    }
}

fn dispatcher(store: &Store, policy: AddressPolicy, attempts: u32) -> JoinHandle<()> {
    let retry =
        RetryPolicy { first: Duration::from_millis(20), longest: Duration::from_millis(50), attempts };
    let client = WebhookClient::new(policy);
    let rng = Rng::from_number(1);
    let dispatcher =
        WebhookDispatcher::new(store.clone(), client, Secret::new(KEY), retry, Clock::start(), rng);
    tokio::spawn(dispatcher.run())
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
    store.save_webhook(&hook, true, audit("webhook_created", "hook_1_a")).await.unwrap();
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
async fn a_delivery_is_signed_over_its_body_and_only_subscribed_events_are_sent() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    store.audit(audit("call_started", "session_0")).await.unwrap(); // before the webhook exists
    let hook = hook(&store, &receiver.start().await).await;
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 5);
    store.audit(audit("api_key_created", "key_1")).await.unwrap();
    store
        .audit(Audit { user: UserId::parse("stranger").ok(), ..audit("call_started", "session_9") })
        .await
        .unwrap();
    store.audit(audit("call_started", "session_1")).await.unwrap();
    deliveries(&store, DeliveryStatus::Delivered, 1).await;
    let (headers, body) = receiver.wait_for(1).await.remove(0);
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&message["type"], &message["subject"]), (&"call_started".into(), &"session_1".into()));
    assert_eq!(headers["centralita-event"], "call_started");
    let signed = headers["centralita-signature"].to_str().unwrap();
    let at = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse::<i64>().unwrap();
    let secret = api::webhook_secret(&Secret::new(KEY), &hook.id, 0);
    assert_eq!(signature(&[secret], Timestamp::from_micros(at * 1_000_000), body.as_bytes()), signed);
    assert_eq!(receiver.requests().len(), 1);
    running.abort();
}

// S88
#[tokio::test]
async fn for_a_day_after_a_rotation_deliveries_are_signed_with_both_secrets() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let hook = hook(&store, &receiver.start().await).await;
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 5);
    let now = Clock::start().now().wall;
    let ago = |minutes: i64| Timestamp::from_micros(now.as_micros() - minutes * 60_000_000);
    let secrets = [0, 1, 2].map(|number| api::webhook_secret(&Secret::new(KEY), &hook.id, number));
    // The first rotation was a little less than a day ago, the second a little more.
    for (minutes, signing) in [(23 * 60 + 50, &[1, 0][..]), (24 * 60 + 10, &[2][..])] {
        let rotated = audit("webhook_secret_rotated", "hook_1_a");
        store.rotate_webhook(&hook.id, ago(minutes), rotated).await.unwrap().unwrap();
        let requests = receiver.requests().len();
        store.audit(audit("call_started", &format!("session_{minutes}"))).await.unwrap();
        let (headers, body) = receiver.wait_for(requests + 1).await.pop().unwrap();
        let signed = headers["centralita-signature"].to_str().unwrap();
        let at = signed.strip_prefix("t=").unwrap().split(',').next().unwrap().parse::<i64>().unwrap();
        let expected: Vec<_> = signing.iter().map(|number: &usize| secrets[*number].clone()).collect();
        assert_eq!(signature(&expected, Timestamp::from_micros(at * 1_000_000), body.as_bytes()), signed);
    }
    running.abort();
}

#[tokio::test]
async fn a_failed_delivery_is_retried_and_later_ones_wait() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    hook(&store, &receiver.start().await).await;
    let refusals = [500, 429, 302].map(|status| StatusCode::from_u16(status).unwrap().into_response());
    receiver.responses.lock().unwrap().extend(refusals);
    for kind in ["call_started", "call_ended"] {
        store.audit(audit(kind, "session_1")).await.unwrap();
    }
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 10);
    let delivered = deliveries(&store, DeliveryStatus::Delivered, 2).await;
    let requests: Vec<_> =
        receiver.requests().iter().map(|(headers, _)| headers["centralita-event"].clone()).collect();
    assert_eq!(requests, ["call_started", "call_started", "call_started", "call_started", "call_ended"]);
    let ids: Vec<_> =
        receiver.requests().iter().map(|(headers, _)| headers["centralita-delivery"].clone()).collect();
    assert!(ids[..4].iter().all(|id| *id == ids[0]) && ids[4] != ids[0], "{ids:?}");
    assert_eq!((delivered[1].attempts, delivered[0].attempts), (4, 1));
    running.abort();
}

#[tokio::test]
async fn a_dead_delivery_can_be_retried_and_does_not_block_others() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    hook(&store, &receiver.start().await).await;
    receiver
        .responses
        .lock()
        .unwrap()
        .extend((0..3).map(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 3);
    store.audit(audit("call_started", "session_1")).await.unwrap();
    store.audit(audit("call_ended", "session_1")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
    assert_eq!((dead.attempts, dead.answer, dead.fault.as_deref()), (3, Some(500), Some("answered 500")));
    deliveries(&store, DeliveryStatus::Delivered, 1).await;
    let now = Clock::start().now().wall;
    store.retry_delivery(&dead.id, now, audit("webhook_delivery_retried", "hook_1_a")).await.unwrap();
    deliveries(&store, DeliveryStatus::Delivered, 2).await;
    assert_eq!(receiver.requests().len(), 5);
    running.abort();
}

#[tokio::test]
async fn the_next_start_resumes_after_a_crash() {
    let (folder, receiver) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let url = receiver.start().await;
    hook(&store, &url).await;
    for n in 0..20 {
        store.audit(audit("call_started", &format!("session_{n}"))).await.unwrap();
    }
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 5);
    receiver.wait_for(3).await;
    running.abort();
    store.close().await;
    // Deliveries in flight are leased to the dead process: they are due again when the lease ends, here at once.
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
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 5);
    deliveries(&store, DeliveryStatus::Delivered, 20).await;
    let mut subjects: Vec<String> = receiver
        .requests()
        .iter()
        .map(|(_, body)| serde_json::from_str::<Value>(body).unwrap()["subject"].as_str().unwrap().to_owned())
        .collect();
    subjects.sort_unstable();
    subjects.dedup();
    assert_eq!(subjects.len(), 20);
    running.abort();
}

#[tokio::test]
async fn nothing_is_sent_to_private_addresses_and_no_redirect_is_followed() {
    let (folder, canary) = (Folder::new(), Receiver::default());
    let store = folder.store().await;
    let url = canary.start().await;
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap().to_owned();
    hook(&store, &format!("https://127.0.0.1:{port}/hook")).await;
    let running = dispatcher(&store, AddressPolicy::Public, 1);
    store.audit(audit("call_started", "session_1")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
    assert_eq!((dead.answer, dead.fault.as_deref()), (None, Some("the address is not public")));
    // A name that resolves to a private address is refused too.
    hook(&store, &format!("https://localhost:{port}/hook")).await;
    store.audit(audit("call_started", "session_2")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 2).await.remove(0);
    assert_eq!(dead.fault.as_deref(), Some("the address is not public"));
    running.abort();
    assert!(canary.requests().is_empty());
    // Redirects are not followed.
    hook(&store, &url).await;
    let elsewhere = [("location", url.replace("/hook", "/elsewhere"))];
    canary.responses.lock().unwrap().push_back((StatusCode::TEMPORARY_REDIRECT, elsewhere).into_response());
    let running = dispatcher(&store, AddressPolicy::LoopbackToo, 1);
    store.audit(audit("call_started", "session_3")).await.unwrap();
    let dead = deliveries(&store, DeliveryStatus::Dead, 3).await.remove(0);
    assert_eq!((dead.answer, canary.requests().len()), (Some(307), 1));
    running.abort();
}

#[tokio::test]
async fn a_failed_delivery_says_whether_dns_the_connection_or_tls_failed() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    // Accepts the connection and closes it at once.
    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cut = rude.local_addr().unwrap();
    tokio::spawn(async move { while rude.accept().await.is_ok() {} });
    let plain = Receiver::default().start().await.replace("http://", "https://");
    for (url, said) in [
        ("https://no-such-name.invalid/token", "DNS: the name does not exist"),
        (&format!("http://{closed}/token"), "connection: refused: no program listens on that port"),
        (&format!("https://{cut}/token"), "connection: "),
        (&plain, "TLS: "),
    ] {
        let folder = Folder::new();
        let store = folder.store().await;
        hook(&store, url).await;
        store.audit(audit("call_started", "session_1")).await.unwrap();
        let running = dispatcher(&store, AddressPolicy::LoopbackToo, 1);
        let dead = deliveries(&store, DeliveryStatus::Dead, 1).await.remove(0);
        let fault = dead.fault.unwrap();
        assert!(fault.starts_with(said), "{url}: {fault}");
        assert!(!fault.contains("token") && !fault.contains("127.0.0.1"), "{fault}");
        running.abort();
    }
}
