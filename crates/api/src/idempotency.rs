//! `Idempotency-Key` header: a POST that a client repeats after a lost response is executed once and answered as the first time.
//!
//! Only successful responses are stored, because a rejected request had no effect. They are stored for a day, per API key, and encrypted with that
//! key, because they may contain secrets that are stored nowhere in plain text.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chacha20poly1305::aead::{Aead as _, KeyInit as _};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use store::{IdempotentRequest, PriorRequest};

use crate::App;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::input::{limit_of, read_whole};
use crate::limits::IDEMPOTENCY_KEY_CHARS;

const HEADER: &str = "idempotency-key";
const REPLAYED_HEADER: &str = "idempotency-replayed";
/// Bytes of a stored response: more than any response to a POST, the largest of which shows the objects created by a form of 64 KB.
const RESPONSE_BYTES: usize = 1024 * 1024;

/// Interval and number of attempts to delete the row of a rejected request.
const DELETE_RETRY: Duration = Duration::from_secs(1);
const DELETE_TRIES: u32 = 3600;

/// The idempotent requests in flight, by API key and `Idempotency-Key`.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdempotencyCache {
    in_flight: Arc<Mutex<HashSet<(String, String)>>>,
}

/// Marks a request as in flight until it is dropped.
struct InFlight {
    cache: IdempotencyCache,
    key: (String, String),
}

impl IdempotencyCache {
    fn begin(&self, idempotent: &IdempotentRequest) -> Option<InFlight> {
        let key = (idempotent.key.clone(), idempotent.name.clone());
        let is_new = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        is_new.then(|| InFlight { cache: self.clone(), key })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.cache.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Run a request, or replay the stored response of an earlier one with the same `Idempotency-Key`.
pub(crate) async fn handle(app: &App, request: Request, next: Next) -> Response {
    let named = request.method() == Method::POST && request.headers().contains_key(HEADER);
    let principal = request.extensions().get::<Principal>().cloned();
    let Some(principal) = principal.filter(|_| named) else { return next.run(request).await };
    match run_once(app, &principal, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn run_once(
    app: &App,
    principal: &Principal,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let limit = limit_of(&request);
    let (parts, body) = request.into_parts();
    let name = key_in(&parts.headers)?;
    let body = read_whole(body, limit).await?;
    let mut hash = Sha256::new();
    for part in [parts.uri.to_string().as_bytes(), &body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let idempotent = IdempotentRequest {
        key: principal.key().map_or_else(|| String::from("local"), |key| key.id.to_string()),
        name,
        request: hash.finalize().into(),
        at: app.directory_service().now().wall,
    };
    let response_key = ResponseKey::new(app, &parts.headers, &idempotent);
    let in_flight = app.idempotency_cache().begin(&idempotent);
    let store = app.directory_service().store();
    if in_flight.is_none() {
        // The other request is in flight, so its row is written or about to be.
        return Err(Fault::IdempotencyInProgress.into());
    }
    match store.begin_request(&idempotent).await? {
        PriorRequest::Other => return Err(Fault::IdempotencyMismatch.into()),
        PriorRequest::Begun => return Err(Fault::IdempotencyInDoubt.into()),
        PriorRequest::Answered { status, answer } => {
            return response_key
                .decrypt(&answer)
                .map(|body| replay(status, body))
                .ok_or_else(|| Fault::IdempotencyInDoubt.into());
        }
        PriorRequest::Nothing => {}
    }
    let (app, request) = (app.clone(), Request::from_parts(parts, Body::from(body)));
    // A separate task: clients repeat a request after a disconnect, so a disconnect must not leave the result unknown.
    let work = async move {
        let response = next.run(request).await;
        let kept = store_response(&app, &idempotent, &response_key, response).await;
        drop(in_flight);
        kept
    };
    tokio::spawn(work).await.map_err(|_| Fault::Internal.into())
}

fn key_in(headers: &HeaderMap) -> Result<String, ApiError> {
    let mut all = headers.get_all(HEADER).iter();
    let text = all.next().and_then(|value| value.to_str().ok()).unwrap_or_default();
    let legal =
        (1..=IDEMPOTENCY_KEY_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !legal || all.next().is_some() {
        return Err(ApiError::field(Fault::BadIdempotencyKey, "Idempotency-Key", None));
    }
    Ok(text.to_owned())
}

/// Store a successful response; delete the row of a rejected request.
async fn store_response(
    app: &App,
    idempotent: &IdempotentRequest,
    response_key: &ResponseKey,
    response: Response,
) -> Response {
    let store = app.directory_service().store();
    if response.status() != StatusCode::OK {
        if let Err(error) = store.forget_request(idempotent).await {
            tracing::warn!(%error, "the idempotency row of a rejected request could not be deleted; retrying in the background");
            tokio::spawn(delete_later(app.clone(), idempotent.clone()));
        }
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, RESPONSE_BYTES).await else {
        return ApiError::from(Fault::Internal).into_response();
    };
    let kept = match response_key.encrypt(&body) {
        Some(sealed) => store.finish_request(idempotent, parts.status.as_u16(), &sealed).await,
        None => Ok(()),
    };
    if let Err(error) = kept {
        tracing::error!(%error, "the response of an idempotent request could not be stored");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Delete the row of a rejected request as soon as the database accepts writes. A full disk, which may be why the request failed, also fails this.
async fn delete_later(app: App, idempotent: IdempotentRequest) {
    for _ in 0..DELETE_TRIES {
        tokio::time::sleep(DELETE_RETRY).await;
        if app.directory_service().store().forget_request(&idempotent).await.is_ok() {
            return;
        }
    }
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let mut response = (status, Bytes::from(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
    response
}

/// Encryption key of a stored response, derived from the API key in the request: only the same key can decrypt it.
struct ResponseKey([u8; 32]);

impl ResponseKey {
    fn new(app: &App, headers: &HeaderMap, idempotent: &IdempotentRequest) -> ResponseKey {
        let mut response_key = [0; 32];
        if let Ok(mut mac) =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(app.settings().webhook_key.expose())
        {
            mac.update(b"idempotency:");
            let token = headers.get(header::AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
            // The scheme is case-insensitive, so only the token counts.
            mac.update(token.split(|byte| *byte == b' ').next_back().unwrap_or_default());
            mac.update(&[0]);
            mac.update(idempotent.name.as_bytes());
            mac.update(&idempotent.request);
            response_key.copy_from_slice(&mac.finalize().into_bytes());
        }
        ResponseKey(response_key)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(self.0))
    }

    /// The nonce is a hash of the plaintext, so no two responses under one key share a nonce.
    fn encrypt(&self, body: &[u8]) -> Option<Vec<u8>> {
        let digest = Sha256::new().chain_update(self.0).chain_update(body).finalize();
        let nonce: [u8; 12] = digest.get(..12)?.try_into().ok()?;
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), body).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, kept: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = kept.split_first_chunk::<12>()?;
        self.cipher().decrypt(&Nonce::from(*nonce), sealed).ok()
    }
}
