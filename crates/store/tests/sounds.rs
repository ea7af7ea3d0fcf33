//! Sounds are loaded after the database is opened again, limited per extension, and deleted with it.

use crate::samples;

use base::Id;
use model::{Change, Sound};
use samples::*;

fn sound(id: &str, of: &str) -> Sound {
    let owner = extension(of, "1001");
    Sound {
        id: Id::parse(id).unwrap(),
        extension: owner.id,
        user: owner.user,
        name: "Good morning".into(),
        millis: 1_500,
        created_at: at(7),
    }
}

#[tokio::test]
async fn sounds_come_back_with_their_audio_and_go_when_they_are_removed() {
    let folder = Folder::new();
    let store = folder.open().await;
    let (first, second, other) = (sound("snd_1", "ext_1"), sound("snd_2", "ext_1"), sound("snd_3", "ext_2"));
    for (sound, bytes) in [(&first, [1; 9]), (&second, [2; 9]), (&other, [3; 9])] {
        assert!(store.insert_sound(sound, &bytes, 2, audit("sound_created")).await.unwrap());
    }
    let third = sound("snd_4", "ext_1");
    assert!(!store.insert_sound(&third, &[4; 9], 2, audit("sound_created")).await.unwrap(), "two are enough");
    store.close().await;

    let store = folder.open().await; // S86
    assert_eq!(store.sounds(&first.extension).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(store.sound(&second.id).await.unwrap().as_ref(), Some(&second));
    assert_eq!(store.sound_audio(&second.id).await.unwrap(), Some(vec![2; 9]));
    assert_eq!(store.sound_audio(&third.id).await.unwrap(), None);
    assert!(store.remove_sound(&first.id, audit("sound_deleted")).await.unwrap());
    assert!(!store.remove_sound(&first.id, audit("sound_deleted")).await.unwrap(), "it is gone already");
    assert_eq!(store.sound(&first.id).await.unwrap(), None);

    store
        .write(&[Change::ExtensionGone(second.extension.clone())], audit("extension_deleted"))
        .await
        .unwrap();
    assert_eq!(store.sounds(&second.extension).await.unwrap(), []);
    assert_eq!(store.sounds(&other.extension).await.unwrap(), [other]);
}
