//! Mailboxes, messages and mails are loaded after the database is opened again, and deleted with their extension.

use crate::samples;

use std::time::Duration;

use base::Timestamp;
use model::voicemail::{Attempt, Delivery, DeliveryId, DeliveryState};
use model::{Change, MessageState};
use samples::*;

fn mail(name: &str, about: &model::VoicemailMessage, due: i64) -> Delivery {
    let id = DeliveryId::parse(name).unwrap();
    Delivery { next_at: at(due), ..Delivery::new(id, about, "ana@example.com".into(), at(0)) }
}

#[tokio::test]
async fn boxes_and_messages_come_back_as_they_were_written() {
    let folder = Folder::new();
    let store = folder.open().await;
    let (first, second) =
        (message("vm_1_a", "ext_1", MessageState::Saved), message("vm_2_b", "ext_1", MessageState::New));
    let changes = [
        Change::Extension(extension("ext_1", "1001")),
        Change::Mailbox(mailbox("ext_1")),
        Change::Message(second.clone()),
        Change::Message(first.clone()),
    ];
    store.write(&changes, audit("voicemail_left")).await.unwrap();
    store.close().await;

    let store = folder.open().await;
    let directory = store.load_directory().await.unwrap();
    let id = extension("ext_1", "1001").id;
    assert_eq!(*directory.mailbox(&id), mailbox("ext_1")); // S72
    let kept: Vec<_> = directory.messages(&id).map(|m| (**m).clone()).collect();
    assert_eq!(kept, [first.clone(), second.clone()]);

    let gone = Change::MessageGone { extension: id.clone(), id: first.id };
    store.write(&[gone], audit("voicemail_deleted")).await.unwrap();
    let directory = store.load_directory().await.unwrap();
    assert_eq!(directory.messages(&id).map(|m| m.id.clone()).collect::<Vec<_>>(), [second.id]);
}

#[tokio::test]
async fn a_mail_is_retried_and_stays_as_a_log() {
    let folder = Folder::new();
    let store = folder.open().await;
    let about = message("vm_1_a", "ext_1", MessageState::New);
    let (soon, late) = (mail("mail_1_a", &about, 10), mail("mail_1_b", &about, 99));
    let change = [Change::Message(about.clone())];
    store.write_all(&change, &[late.clone(), soon.clone()], &[audit("voicemail_left")]).await.unwrap();
    assert_eq!(store.due_mails(at(9), 10).await.unwrap(), []);
    assert_eq!(store.due_mails(at(10), 10).await.unwrap(), std::slice::from_ref(&soon));

    let failed = soon.after(Attempt::Later("451 try again".into()), at(11), Duration::from_secs(60));
    store.mail_tried(&failed).await.unwrap();
    assert_eq!(store.due_mails(at(11), 10).await.unwrap(), []);
    assert_eq!(store.due_mails(at(71), 10).await.unwrap(), std::slice::from_ref(&failed));
    let sent = failed.after(Attempt::Sent, at(71), Duration::from_secs(60));
    store.mail_tried(&sent).await.unwrap();
    assert_eq!(
        store.due_mails(Timestamp::from_micros(i64::MAX), 10).await.unwrap(),
        std::slice::from_ref(&late)
    );
    let log = store.mails_of(&about.extension, 10).await.unwrap();
    assert_eq!(log, [late, sent.clone()]);
    assert_eq!((sent.state, sent.attempts), (DeliveryState::Sent, 2));
}

#[tokio::test]
async fn a_deleted_extension_takes_its_voicemail_with_it() {
    let folder = Folder::new();
    let store = folder.open().await;
    let about = message("vm_1_a", "ext_1", MessageState::New);
    let other = message("vm_1_b", "ext_2", MessageState::New);
    let changes = [
        Change::Extension(extension("ext_1", "1001")),
        Change::Mailbox(mailbox("ext_1")),
        Change::Message(about.clone()),
        Change::Message(other.clone()),
    ];
    let mails = [mail("mail_1_a", &about, 0)];
    store.write_all(&changes, &mails, &[audit("voicemail_left")]).await.unwrap();
    let gone = [Change::ExtensionGone(about.extension.clone())];
    store.write(&gone, audit("voip_extension_deleted")).await.unwrap();
    let directory = store.load_directory().await.unwrap();
    assert_eq!(directory.all_messages().map(|m| m.id.clone()).collect::<Vec<_>>(), [other.id]);
    assert_eq!(directory.mailbox(&about.extension).email, None);
    assert_eq!(store.mails_of(&about.extension, 10).await.unwrap(), []);
}
