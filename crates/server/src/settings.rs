//! Extension settings changed by feature codes. They are written one at a time through the API's directory service, with the same rules and audit.

use api::{Actor, DirectoryService, ExtensionChanges, Patch};
use model::ForwardingMode;
use std::sync::Arc;
use switch::{Setting, SettingChange};
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::switch_thread::{SwitchHandle, SwitchMsg};

/// Write each requested change and report the result to the switch, until the switch thread ends.
pub async fn run(
    directory_service: DirectoryService,
    switch_handle: SwitchHandle,
    requests: Arc<Mutex<UnboundedReceiver<(u64, SettingChange)>>>,
) {
    let mut requests = requests.lock().await;
    while let Some((token, change)) = requests.recv().await {
        let actor = Actor { key: None, ip: Some(change.from), request: change.call.to_string() };
        let written = directory_service.change_extension(actor, change.extension, changes(change.to)).await;
        if let Err(error) = &written {
            tracing::warn!(%error, call = %change.call, "a setting changed by feature code could not be stored");
        }
        switch_handle.send(SwitchMsg::SettingChanged { token, done: written.is_ok() });
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
