//! Event routes (S88): a list, a stream of Server-Sent Events, and a WebSocket.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event as SseEvent, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::unfold;
use model::{Permission, UserId};
use serde_json::{Value, json};
use store::EventQuery;
use tokio::sync::mpsc;

use crate::App;
use crate::auth::{self, Principal};
use crate::error::{ApiError, Fault};
use crate::event_subscribers::{DisconnectReason, EventSubscriber};
use crate::input::instant::instant;
use crate::input::{Field, Form, Paging, Rule};
use crate::limits::{KEEP_ALIVE_INTERVAL, PAGE_DEFAULT, SOCKET_AUTH_TIMEOUT, SUBSCRIBER_QUEUE};
use crate::route::{Access, Answer, Route};
use crate::routes::LIMIT;
use crate::schemas::{EventView, EventsAnswer};
use crate::source::Source;

const TYPE: Field = Field::new("type", Rule::EventTypes, "Only events of these types, separated by commas");
const USER: Field =
    Field::new("userId", Rule::Id, "Only events of this user; another user's need admin or events:read")
        .or("user");
const LAST_SEEN: Field =
    Field::new("cursor", Rule::Cursor(Paging::Event), "The id of the last event that was received");
const LIST: &[Field] = &[
    TYPE,
    USER,
    Field::new("since", Rule::Instant, "Only events of this time or later"),
    Field::new(
        "order",
        Rule::OneOf(&["desc", "asc"]),
        "desc: newest first; asc: oldest first, for clients that poll for new events; desc if absent",
    ),
    Field::new("cursor", Rule::Cursor(Paging::Event), "The nextCursor of the previous page"),
    LIMIT,
];
const SUBSCRIBE: &[Field] = &[TYPE, USER, LAST_SEEN];
/// Bytes of a client's message on the WebSocket. It only sends its key.
const MESSAGE_BYTES: usize = 4096;
/// How long the client may take to answer a Close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn routes() -> Vec<Route> {
    let route = |place, summary, access, answer, handler| {
        Route::new(place, "events", summary, access, answer, handler)
    };
    vec![
        route(("get", "/api/v1/events"), "List events", Access::Key, Answer::json::<EventsAnswer>(), get(list))
            .query(LIST)
            .also(&[409, 503]),
        route(
            ("get", "/api/v1/events/stream"),
            "Event stream (Server-Sent Events); Last-Event-ID resumes it",
            Access::Key,
            Answer::EventStream,
            get(stream),
        )
        .query(SUBSCRIBE)
        .also(&[409, 503]),
        route(
            ("get", "/api/v1/events/ws"),
            "Event stream over a WebSocket; without a key in the header, the first message must be {\"authorization\": \"Bearer …\"}",
            Access::KeyOrFirstMessage,
            Answer::Socket,
            get(socket),
        )
        .query(SUBSCRIBE)
        .also(&[401, 403, 409, 429, 503]),
    ]
}

/// The user whose events are read: the client's own; another user's, or all (`None`), with `admin` or `events:read` (S25).
fn visible_user(principal: &Principal, form: &Form) -> Result<Option<UserId>, ApiError> {
    let reads_all = principal.permissions.allow(Permission::Events);
    match form.parsed("userId", UserId::parse)? {
        Some(user) if reads_all || user == *principal.user() => Ok(Some(user)),
        Some(_) => Err(ApiError::field(Fault::ForeignUser, "userId", None)),
        None => Ok((!reads_all).then(|| principal.user().clone())),
    }
}

fn kinds(form: &Form) -> Vec<String> {
    form.text("type").map(|kinds| kinds.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<EventsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32;
    let ascending = form.text("order") == Some("asc");
    let cursor = form.integer("cursor").map(|seq| seq as i64);
    let query = EventQuery {
        kinds: kinds(&form),
        user: visible_user(&principal, &form)?,
        since: form.text("since").and_then(instant),
        after: cursor.filter(|_| ascending),
        before: cursor.filter(|_| !ascending),
        ascending,
        limit: limit + 1,
    };
    if query.after.is_some() && query.after > Some(app.directory_service().store().newest_event().await?) {
        return Err(Fault::UnknownEvent.into());
    }
    let mut events = app.directory_service().store().list_events(&query).await?;
    let more = events.len() > limit as usize;
    events.truncate(limit as usize);
    let last = events.last().map(|event| event.seq);
    let next_cursor = if ascending { last.or(cursor).or(Some(0)) } else { last.filter(|_| more) };
    let events = events.iter().map(EventView::of).collect();
    Ok(Json(EventsAnswer { success: true, events, next_cursor }))
}

async fn subscriber(
    app: &App,
    principal: Principal,
    form: &Form,
    last: Option<i64>,
) -> Result<EventSubscriber, ApiError> {
    let cursor = last.or_else(|| form.integer("cursor").map(|seq| seq as i64));
    let user = visible_user(&principal, form)?;
    EventSubscriber::new(app, principal, kinds(form), user, cursor).await
}

async fn stream(
    State(app): State<App>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let form = Form::of_query(&uri, SUBSCRIBE)?;
    let last =
        match headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse::<i64>().ok())) {
            None => None,
            Some(Some(last)) if last >= 0 => Some(last),
            Some(_) => {
                let rule = ("must be the id of an event", "debe ser el id de un evento");
                return Err(ApiError::field(Fault::BadValue, "Last-Event-ID", Some(rule)));
            }
        };
    let subscriber = subscriber(&app, principal, &form, last).await?;
    let (queue, waiting) = mpsc::channel(SUBSCRIBER_QUEUE);
    let disconnect = Arc::new(OnceLock::new());
    let reason = Arc::clone(&disconnect);
    let send_timeout = app.settings().follower_patience;
    tokio::spawn(async move {
        if let Some(why) = feed_queue(subscriber, queue, send_timeout).await {
            let _ = disconnect.set(why);
        }
    });
    // The reason is sent after the queue is empty, so it needs no place in the queue.
    let frames = unfold(Some(waiting), move |waiting| {
        let reason = Arc::clone(&reason);
        async move {
            let mut waiting = waiting?;
            if let Some(frame) = waiting.recv().await {
                return Some((Ok::<SseEvent, Infallible>(frame), Some(waiting)));
            }
            let why: DisconnectReason = *reason.get()?;
            Some((Ok(SseEvent::default().event("cut").data(json!({"code": why.code()}).to_string())), None))
        }
    });
    Ok(Sse::new(frames).into_response())
}

/// Write events to a client's queue until the client disconnects (`None`) or is disconnected.
async fn feed_queue(
    mut subscriber: EventSubscriber,
    queue: mpsc::Sender<SseEvent>,
    send_timeout: Duration,
) -> Option<DisconnectReason> {
    let put = async |frame| match tokio::time::timeout(send_timeout, queue.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(None),
        Err(_) => Err(Some(DisconnectReason::TooSlow)),
    };
    loop {
        let events = tokio::select! {
            events = subscriber.next() => events,
            () = queue.closed() => return None,
            () = tokio::time::sleep(KEEP_ALIVE_INTERVAL) => Ok(Vec::new()),
        };
        let frames = match events {
            Ok(events) if events.is_empty() => vec![SseEvent::default().comment("here")],
            Ok(events) => events.iter().map(frame).collect(),
            Err(disconnect) => return Some(disconnect),
        };
        for frame in frames {
            if let Err(end) = put(frame).await {
                return end;
            }
        }
    }
}

fn frame(event: &store::Event) -> SseEvent {
    let view = EventView::of(event);
    let text = serde_json::to_string(&view).unwrap_or_default();
    SseEvent::default().id(event.seq.to_string()).event(&view.kind).data(text)
}

async fn socket(
    State(app): State<App>,
    principal: Result<Principal, ApiError>,
    Extension(Source(ip)): Extension<Source>,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let form = Form::of_query(&uri, SUBSCRIBE)?;
    let upgrade =
        upgrade.map_err(|_| ApiError::from(Fault::WebSocketRequired))?.max_message_size(MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        let ended = serve_socket(&app, principal.ok(), ip, &form, &mut socket).await;
        tokio::time::timeout(CLOSE_TIMEOUT, close(&mut socket, ended)).await.ok();
    }))
}

/// Complete the closing handshake (RFC 6455 §5.5.1, §7.1.1): answer the client's Close frame, or send ours with a reason and wait for the answer.
async fn close(socket: &mut WebSocket, ended: Result<(), Close>) {
    if let Err((code, reason)) = ended {
        let frame = CloseFrame { code, reason: Utf8Bytes::from(reason) };
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
    }
    // Reading also writes the Close frame that the library has queued, and ends when both sides have closed.
    while let Some(Ok(_)) = socket.recv().await {}
}

/// Close code of the WebSocket, and the API's error code as its reason.
type Close = (u16, String);

/// Send events until the client disconnects or is disconnected.
async fn serve_socket(
    app: &App,
    principal: Option<Principal>,
    ip: std::net::IpAddr,
    form: &Form,
    socket: &mut WebSocket,
) -> Result<(), Close> {
    let refused = |error: ApiError| (close_code::POLICY, error.code().to_owned());
    let principal = match principal {
        Some(principal) => principal,
        None => match tokio::time::timeout(SOCKET_AUTH_TIMEOUT, first_message(socket)).await {
            Ok(FirstMessage::Text(first_message)) => {
                authenticate_message(app, ip, &first_message).map_err(refused)?
            }
            Ok(FirstMessage::Closed) => return Ok(()),
            Ok(FirstMessage::Invalid) | Err(_) => return Err(refused(Fault::KeyMissing.into())),
        },
    };
    let mut subscriber = subscriber(app, principal, form, None).await.map_err(refused)?;
    let send_timeout = app.settings().follower_patience;
    send_json(
        socket,
        send_timeout,
        json!({"type": "hello", "cursor": crate::cursor::encode(&subscriber.cursor())}),
    )
    .await?;
    loop {
        let events = tokio::select! {
            events = subscriber.next() => events,
            message = socket.recv() => match message {
                None | Some(Ok(Message::Close(_))) => return Ok(()),
                // A protocol violation is reported to the client (§7.4.1) if the connection still works.
                Some(Err(_)) => return Err((close_code::PROTOCOL, String::new())),
                // Further messages are ignored. The library answers pings.
                Some(Ok(_)) => continue,
            },
            () = tokio::time::sleep(KEEP_ALIVE_INTERVAL) => {
                send(socket, send_timeout, Message::Ping(Vec::new().into())).await?;
                continue;
            }
        };
        match events {
            Ok(events) => {
                for event in &events {
                    let view = serde_json::to_value(EventView::of(event)).unwrap_or_default();
                    send_json(socket, send_timeout, view).await?;
                }
            }
            Err(DisconnectReason::Key) => {
                return Err((close_code::POLICY, DisconnectReason::Key.code().to_owned()));
            }
            Err(disconnect) => return Err((close_code::AGAIN, disconnect.code().to_owned())),
        }
    }
}

/// First message of a client without a key in the header.
enum FirstMessage {
    Text(Utf8Bytes),
    Invalid,
    /// Closed or disconnected.
    Closed,
}

async fn first_message(socket: &mut WebSocket) -> FirstMessage {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(first_message))) => return FirstMessage::Text(first_message),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            None | Some(Ok(Message::Close(_))) => return FirstMessage::Closed,
            Some(Ok(Message::Binary(_)) | Err(_)) => return FirstMessage::Invalid,
        }
    }
}

/// Authenticate the first message: `{"authorization": "Bearer sk_voip_…"}`.
fn authenticate_message(app: &App, ip: std::net::IpAddr, first_message: &str) -> Result<Principal, ApiError> {
    let first_message: Value =
        serde_json::from_str(first_message).map_err(|_| ApiError::from(Fault::BadJson))?;
    let token = first_message["authorization"].as_str().and_then(auth::bearer).ok_or(Fault::KeyMissing)?;
    auth::authenticate_token(app, token, ip, "").principal
}

async fn send_json(socket: &mut WebSocket, send_timeout: Duration, value: Value) -> Result<(), Close> {
    send(socket, send_timeout, Message::Text(value.to_string().into())).await
}

/// Send a message. A client that does not read it in time is disconnected, and may reconnect with its last event id.
async fn send(socket: &mut WebSocket, send_timeout: Duration, message: Message) -> Result<(), Close> {
    match tokio::time::timeout(send_timeout, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err((close_code::AWAY, String::new())),
        Err(_) => Err((close_code::AGAIN, DisconnectReason::TooSlow.code().to_owned())),
    }
}
