//! Operation ids of the OpenAPI document: a verb and a noun. An id never changes and is unique.

const NAMES: &[(&str, &str, &str)] = &[
    ("get", "/api/v1/calls", "listCalls"),
    ("post", "/api/v1/calls", "createCall"),
    ("get", "/api/v1/calls/{id}", "getCall"),
    ("post", "/api/v1/calls/{id}/end", "endCall"),
    ("get", "/api/v1/calls/{id}/ladder", "getCallLadder"),
    ("post", "/api/v1/calls/{id}/recording/start", "startCallRecording"),
    ("post", "/api/v1/calls/{id}/recording/stop", "stopCallRecording"),
    ("post", "/api/v1/calls/{id}/recording/pause", "pauseCallRecording"),
    ("post", "/api/v1/calls/{id}/recording/resume", "resumeCallRecording"),
    ("post", "/api/v1/opensips/call/initiate", "initiateSession"),
    ("get", "/api/v1/opensips/call/{id}", "getSession"),
    ("post", "/api/v1/opensips/call/{id}/end", "endSession"),
    ("post", "/api/v1/opensips/call/{id}/recording/start", "startSessionRecording"),
    ("post", "/api/v1/opensips/call/{id}/recording/stop", "stopSessionRecording"),
    ("post", "/api/v1/opensips/call/{id}/recording/pause", "pauseSessionRecording"),
    ("post", "/api/v1/opensips/call/{id}/recording/resume", "resumeSessionRecording"),
    ("get", "/api/v1/stats", "getStats"),
    ("post", "/api/v1/server/generate-credentials", "createCredentials"),
    ("post", "/api/v1/opensips/generate-credentials", "generateCredentials"),
    ("get", "/api/v1/events", "listEvents"),
    ("get", "/api/v1/events/stream", "streamEvents"),
    ("get", "/api/v1/events/ws", "openEventSocket"),
    ("get", "/api/v1/voip/extensions", "listExtensions"),
    ("post", "/api/v1/voip/extensions", "createExtension"),
    ("post", "/api/v1/voip/extensions/create", "createExtensionAs"),
    ("post", "/api/v1/voip/extensions/import", "importExtensions"),
    ("get", "/api/v1/voip/extensions/user/{id}", "listExtensionsOfUser"),
    ("get", "/api/v1/voip/extensions/{id}", "getExtension"),
    ("patch", "/api/v1/voip/extensions/{id}", "updateExtension"),
    ("put", "/api/v1/voip/extensions/{id}", "putExtension"),
    ("delete", "/api/v1/voip/extensions/{id}", "deleteExtension"),
    ("post", "/api/v1/voip/extensions/{id}/call", "callFromExtension"),
    ("post", "/api/v1/voip/extensions/{id}/credentials/reset", "resetExtensionPassword"),
    ("get", "/api/v1/guard/bans", "listBans"),
    ("delete", "/api/v1/guard/bans", "liftBans"),
    ("get", "/api/v1/keys", "listKeys"),
    ("post", "/api/v1/keys/voip/generate", "createKey"),
    ("patch", "/api/v1/keys/{id}", "updateKey"),
    ("delete", "/api/v1/keys/{id}", "deleteKey"),
    ("post", "/api/v1/keys/{id}/toggle", "toggleKey"),
    ("get", "/api/v1/keys/{id}/usage", "listKeyUses"),
    ("get", "/api/v1/recordings", "listRecordings"),
    ("get", "/api/v1/recordings/{id}", "getRecording"),
    ("delete", "/api/v1/recordings/{id}", "deleteRecording"),
    ("get", "/api/v1/recordings/{id}/audio", "getRecordingAudio"),
    ("get", "/api/v1/voip/extensions/{id}/recurring-calls", "listRecurringCallsOfExtension"),
    ("post", "/api/v1/voip/extensions/{id}/recurring-calls", "createRecurringCall"),
    ("get", "/api/v1/voip/recurring-calls", "listRecurringCalls"),
    ("get", "/api/v1/voip/recurring-calls/{id}", "getRecurringCall"),
    ("patch", "/api/v1/voip/recurring-calls/{id}", "updateRecurringCall"),
    ("put", "/api/v1/voip/recurring-calls/{id}", "putRecurringCall"),
    ("delete", "/api/v1/voip/recurring-calls/{id}", "deleteRecurringCall"),
    ("get", "/api/v1/voip/recurring-calls/{id}/next", "listNextRuns"),
    ("get", "/api/v1/voip/recurring-calls/{id}/runs", "listRuns"),
    ("get", "/api/v1/voip/extensions/{id}/sounds", "listSounds"),
    ("post", "/api/v1/voip/extensions/{id}/sounds", "createSound"),
    ("get", "/api/v1/voip/sounds/{id}", "getSound"),
    ("delete", "/api/v1/voip/sounds/{id}", "deleteSound"),
    ("get", "/api/v1/voip/sounds/{id}/audio", "getSoundAudio"),
    ("get", "/api/v1/registrations", "listRegistrations"),
    ("post", "/api/v1/server/start", "startServer"),
    ("post", "/api/v1/server/stop", "stopServer"),
    ("get", "/api/v1/server/status", "getServerStatus"),
    ("get", "/api/v1/server/health", "getServerHealth"),
    ("post", "/api/v1/opensips/start", "startOpensips"),
    ("post", "/api/v1/opensips/stop", "stopOpensips"),
    ("get", "/api/v1/opensips/status", "getOpensipsStatus"),
    ("get", "/api/v1/opensips/health", "getOpensipsHealth"),
    ("get", "/api/v1/trunks", "listTrunks"),
    ("post", "/api/v1/trunks", "createTrunk"),
    ("get", "/api/v1/trunks/{id}", "getTrunk"),
    ("patch", "/api/v1/trunks/{id}", "updateTrunk"),
    ("put", "/api/v1/trunks/{id}", "putTrunk"),
    ("delete", "/api/v1/trunks/{id}", "deleteTrunk"),
    ("post", "/api/v1/trunks/{id}/test", "testTrunk"),
    ("get", "/api/v1/voip/extensions/{id}/voicemail", "listMessages"),
    ("patch", "/api/v1/voip/extensions/{id}/voicemail", "updateMailbox"),
    ("put", "/api/v1/voip/extensions/{id}/voicemail", "putMailbox"),
    ("get", "/api/v1/voip/extensions/{id}/voicemail/deliveries", "listMails"),
    ("put", "/api/v1/voip/extensions/{id}/voicemail/greeting", "putGreeting"),
    ("delete", "/api/v1/voip/extensions/{id}/voicemail/greeting", "deleteGreeting"),
    ("get", "/api/v1/voip/extensions/{id}/voicemail/greeting/audio", "getGreetingAudio"),
    ("get", "/api/v1/voip/extensions/{id}/voicemail/{messageId}", "getMessage"),
    ("patch", "/api/v1/voip/extensions/{id}/voicemail/{messageId}", "updateMessage"),
    ("put", "/api/v1/voip/extensions/{id}/voicemail/{messageId}", "putMessage"),
    ("delete", "/api/v1/voip/extensions/{id}/voicemail/{messageId}", "deleteMessage"),
    ("get", "/api/v1/voip/extensions/{id}/voicemail/{messageId}/audio", "getMessageAudio"),
    ("get", "/api/v1/webhooks", "listWebhooks"),
    ("post", "/api/v1/webhooks", "createWebhook"),
    ("get", "/api/v1/webhooks/{id}", "getWebhook"),
    ("patch", "/api/v1/webhooks/{id}", "updateWebhook"),
    ("delete", "/api/v1/webhooks/{id}", "deleteWebhook"),
    ("get", "/api/v1/webhooks/{id}/deliveries", "listDeliveries"),
    ("post", "/api/v1/webhooks/{id}/deliveries/{delivery}/retry", "retryDelivery"),
    ("post", "/api/v1/webhooks/{id}/rotate-secret", "rotateWebhookSecret"),
    ("get", "/healthz", "getLiveness"),
    ("get", "/readyz", "getReadiness"),
    ("get", "/metrics", "getMetrics"),
    ("get", "/openapi.json", "getOpenApi"),
];

/// The id of an operation. One that is not in the table gets an id made of its method and path.
pub(crate) fn operation_id(method: &str, path: &str) -> String {
    let named = NAMES.iter().find(|(m, p, _)| *m == method && *p == path);
    named.map_or_else(|| by_path(method, path), |(_, _, name)| (*name).to_owned())
}

fn by_path(method: &str, path: &str) -> String {
    let words = path.trim_start_matches("/api/v1/").split(['/', '-', '.']).filter(|word| !word.is_empty());
    let mut id = method.to_owned();
    for word in words {
        let mut letters = word.trim_matches(['{', '}']).chars();
        id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        id.push_str(letters.as_str());
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_an_operation_id_and_vice_versa() {
        let routes = crate::routes::all();
        for route in &routes {
            let is = |(m, p, _): &&(&str, &str, &str)| *m == route.method && *p == route.path;
            assert!(NAMES.iter().any(|row| is(&row)), "{} {} has no name", route.method, route.path);
        }
        for (method, path, name) in NAMES {
            assert!(routes.iter().any(|route| route.method == *method && route.path == *path), "{name}");
        }
    }
}
