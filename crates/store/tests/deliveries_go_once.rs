//! Webhook deliveries, idempotent requests and statistics on either database: of two concurrent requests one wins.

use crate::samples;

use centralita_store::{
    Attempt, DeliveryFilter, DeliveryStatus, IdempotentRequest, KeyUse, Outcome, PriorRequest, Stats,
    StatsQuery, Store,
};
use model::journal::Record;
use model::{CallRecord, CallStatus, Cause, Change, UserId, Webhook, WebhookId};
use samples::*;

fn hook(name: &str) -> Webhook {
    Webhook {
        id: WebhookId::parse(name).unwrap(),
        user: user("user_123").id,
        url: "https://crm.example/hook".into(),
        types: vec!["user_created".into()],
        everybody: true,
        active: true,
        since: 0,
        secret: 0,
        rotated_at: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn write_events(store: &Store, times: usize) {
    for n in 0..times {
        let change = Change::User(user(&format!("user_{n}")));
        store.write(&[change], audit("user_created")).await.unwrap();
    }
}

fn all(hook: &Webhook) -> DeliveryFilter {
    DeliveryFilter { webhook: hook.id.clone(), status: None, before: None, limit: 100 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_dispatchers_one_gets_each_delivery() {
    let folder = Folder::new();
    let (one, two) = (folder.open().await, folder.open().await);
    let hook = hook("hook_1");
    one.save_webhook(&hook, true, audit("webhook_created")).await.unwrap();
    write_events(&one, 3).await;
    let (a, b) = tokio::join!(one.fan_out(at(9)), two.fan_out(at(9)));
    assert_eq!((a.unwrap(), b.unwrap()), (false, false));
    let made = one.deliveries(&all(&hook)).await.unwrap();
    let [last, second, begun] = made.iter().map(|d| d.seq).collect::<Vec<_>>()[..] else {
        panic!("{made:?}")
    };
    assert!(begun < second && second < last, "{made:?}");

    // All have the same subject: only the first is available, and to one dispatcher.
    let (a, b) =
        tokio::join!(one.take_due(at(10), at(40), 8, 4, &[]), two.take_due(at(10), at(40), 8, 4, &[]));
    let taken: Vec<_> = a.unwrap().into_iter().chain(b.unwrap()).collect();
    assert_eq!(taken.iter().map(|due| due.delivery.seq).collect::<Vec<_>>(), [begun]);
    let first = &taken[0].delivery;
    let attempt = Attempt { outcome: Outcome::Delivered, answer: Some(200), fault: None, at: at(11) };
    one.attempted(&first.id, &attempt).await.unwrap();
    assert_eq!(one.next_due().await.unwrap(), Some(at(9)));
    assert!(two.take_due(at(12), at(40), 8, 4, std::slice::from_ref(&hook.id)).await.unwrap().is_empty());
    let next = two.take_due(at(12), at(40), 8, 4, &[]).await.unwrap();
    assert_eq!(next.iter().map(|due| due.delivery.seq).collect::<Vec<_>>(), [second]);

    let dead = Attempt { outcome: Outcome::Dead, answer: None, fault: Some("refused".into()), at: at(13) };
    two.attempted(&next[0].delivery.id, &dead).await.unwrap();
    let letters = DeliveryFilter { status: Some(DeliveryStatus::Dead), ..all(&hook) };
    assert_eq!(one.deliveries(&letters).await.unwrap().len(), 1);
    one.retry_delivery(&next[0].delivery.id, at(14), audit("webhook_delivery_retried")).await.unwrap();
    let again = one.delivery(&next[0].delivery.id).await.unwrap().unwrap();
    assert_eq!((again.status, again.attempts, again.next_at), (DeliveryStatus::Pending, 0, at(14)));

    assert_eq!(one.webhooks(Some(&hook.user)).await.unwrap().len(), 1);
    one.delete_webhook(&hook.id, audit("webhook_deleted")).await.unwrap();
    assert_eq!(two.webhook(&hook.id).await.unwrap(), None);
    assert!(two.deliveries(&all(&hook)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_repeated_is_done_once() {
    let folder = Folder::new();
    let (one, two) = (folder.open().await, folder.open().await);
    let asked = |second| IdempotentRequest {
        key: "key_1".into(),
        name: "n-1".into(),
        request: [7; 32],
        at: at(second),
    };
    let first = asked(0);
    let (a, b) = tokio::join!(one.begin_request(&first), two.begin_request(&first));
    let mut both = [a.unwrap(), b.unwrap()];
    both.sort_by_key(|earlier| *earlier != PriorRequest::Nothing);
    assert_eq!(both, [PriorRequest::Nothing, PriorRequest::Begun]);
    one.finish_request(&first, 201, b"sealed").await.unwrap();
    let answered = PriorRequest::Answered { status: 201, answer: b"sealed".to_vec() };
    assert_eq!(two.begin_request(&asked(5)).await.unwrap(), answered);
    assert_eq!(
        two.begin_request(&IdempotentRequest { request: [8; 32], ..asked(5) }).await.unwrap(),
        PriorRequest::Other
    );
    two.forget_request(&first).await.unwrap();
    assert_eq!(one.begin_request(&asked(6)).await.unwrap(), PriorRequest::Nothing);
    // A day later the idempotency key is free again.
    assert_eq!(one.begin_request(&asked(6 + 86_400)).await.unwrap(), PriorRequest::Nothing);
}

#[tokio::test]
async fn figures_are_counted_for_one_user_and_for_all() {
    let folder = Folder::new();
    let store = folder.open().await;
    let missed = CallRecord {
        status: CallStatus::Failed,
        answered_at: None,
        ended_at: Some(at(9)),
        cause: Some(Cause::Busy),
        user: UserId::parse("eva").unwrap(),
        other_user: None,
        ..call("session_3_c", 4_000)
    };
    let records = [
        Record::CallClosed(Box::new(closed("session_1_a", 0))),
        Record::CallClosed(Box::new(closed("session_2_b", 1))),
        Record::CallClosed(Box::new(missed)),
    ];
    store.feed(&records).await.unwrap();
    let since = at(0);
    let stats: Stats = store.stats(&StatsQuery { user: None, since }).await.unwrap();
    assert_eq!((stats.ended, stats.answered, stats.talk_seconds, stats.measured), (3, 2, 14, 4));
    assert_eq!(stats.hours.iter().map(|hour| hour.calls).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(stats.causes.len(), 1);
    for (name, calls) in [("user_123", 2), ("user_456", 2), ("eva", 1), ("nobody", 0)] {
        let user = Some(UserId::parse(name).unwrap());
        assert_eq!(store.stats(&StatsQuery { user, since }).await.unwrap().ended, calls, "{name}");
    }
    let used = |second| KeyUse {
        key: key("key_1", 1).id,
        route: "GET /api/v1/calls".into(),
        ip: [127, 0, 0, 1].into(),
        status: 200,
        count: 2,
        last_used: at(second),
    };
    store.key_used(&[used(0), used(86_400), used(1)]).await.unwrap();
    let uses = store.key_uses(&key("key_1", 1).id, 0, 9).await.unwrap();
    assert_eq!(uses.iter().map(|used| used.count).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(store.key_uses(&key("key_1", 1).id, 1, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_that_was_begun_before_does_not_bring_an_old_secret_back() {
    let folder = Folder::new();
    let store = folder.open().await;
    let old = hook("hook_1");
    store.save_webhook(&old, true, audit("webhook_created")).await.unwrap();
    let rotated =
        store.rotate_webhook(&old.id, at(7), audit("webhook_secret_rotated")).await.unwrap().unwrap();
    assert_eq!((rotated.secret, rotated.rotated_at), (1, Some(at(7))));
    let changed = Webhook { url: "https://crm.example/other".into(), ..old };
    store.save_webhook(&changed, false, audit("webhook_updated")).await.unwrap();
    let kept = store.webhook(&changed.id).await.unwrap().unwrap();
    assert_eq!((kept.secret, kept.rotated_at, kept.url), (1, Some(at(7)), changed.url));
    store.delete_webhook(&kept.id, audit("webhook_deleted")).await.unwrap();
    assert_eq!(store.rotate_webhook(&kept.id, at(8), audit("webhook_secret_rotated")).await.unwrap(), None);
}
