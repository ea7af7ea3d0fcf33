//! Settings that people dial: written one after the other by the way that the API writes them, with the same rules and the same audit.

use api::{Actor, DirectoryService, ExtensionChanges, Patch};
use model::ForwardingMode;
use std::sync::Arc;
use switch::{Setting, SettingChange};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::switch_thread::{SwitchHandle, SwitchMsg};

/// Write what the exchange asks for until that is gone, and tell it what came of each.
pub async fn run(
    directory_service: DirectoryService,
    switch_handle: SwitchHandle,
    asked: Arc<Mutex<UnboundedReceiver<(u64, SettingChange)>>>,
) {
    let mut asked = asked.lock().await;
    while let Some((token, change)) = asked.recv().await {
        let actor = Actor { key: None, ip: Some(change.from), request: change.call.to_string() };
        let written = directory_service.change_extension(actor, change.extension, changes(change.to)).await;
        if let Err(error) = &written {
            tracing::warn!(%error, call = %change.call, "a setting that was dialled is not written");
        }
        switch_handle.put(SwitchMsg::SettingChanged { token, done: written.is_ok() });
    }
}

fn changes(to: Setting) -> ExtensionChanges {
    match to {
        Setting::ForwardTo(number) => ExtensionChanges {
            forwarding_enabled: Some(true),
            forwarding_number: Patch::Set(number),
            forwarding_mode: Some(ForwardingMode::Always),
            ..ExtensionChanges::default()
        },
        Setting::ForwardOff => {
            ExtensionChanges { forwarding_enabled: Some(false), ..ExtensionChanges::default() }
        }
        Setting::DoNotDisturb(on) => {
            ExtensionChanges { do_not_disturb: Some(on), ..ExtensionChanges::default() }
        }
    }
}
