//! Route for the SIP messages of a call, as JSON or as a ladder diagram.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::{CallId, Permission};
use switch::ladder::Rung;
use switch::{Command, Reply};

use crate::App;
use crate::app::unexpected_reply;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form, Rule};
use crate::limits::JOURNAL_TIMEOUT;
use crate::live::{find_call, may_read};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::schemas::{self, LadderAnswer};

const FORMAT: &[Field] = &[Field::new(
    "format",
    Rule::OneOf(&["json", "text"]),
    "Format of the response; overrides the Accept header",
)];
/// Width of a diagram column in characters.
const COLUMN: usize = 30;
const POLL: std::time::Duration = std::time::Duration::from_millis(50);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("get", "/api/v1/calls/{id}/ladder"),
            "calls",
            "SIP messages of a call, in order, as JSON or as a text diagram",
            Access::Permission(Permission::Call),
            Answer::json_or_text::<LadderAnswer>(),
            get(show),
        )
        .query(FORMAT)
        .also(&[503]),
    ]
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call =
        find_call(&app, &id.id()?).await?.filter(|call| may_read(&principal, call)).ok_or(Fault::NotFound)?;
    let form = Form::of_query(&uri, FORMAT)?;
    let rungs = find(&app, &call.id).await?;
    if form.text("format").map_or_else(|| wants_text(&headers), |format| format == "text") {
        let text = draw(&call.id, &rungs);
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    let ladder = rungs.iter().map(view).collect();
    Ok(Json(LadderAnswer { success: true, session_id: call.id.to_string(), ladder }).into_response())
}

/// The ladder from the switch while the call is active, else from the database, where it may arrive a moment after the call has ended.
async fn find(app: &App, id: &CallId) -> Result<Vec<Rung>, ApiError> {
    match app.ask(Command::Ladder { call: id.clone() }).await? {
        Reply::Ladder(rungs) => return Ok(rungs),
        Reply::Unknown => {}
        other => return Err(unexpected_reply(&other)),
    }
    let arrival = async {
        let ended = app.directory_service().store().call(id).await?.and_then(|call| call.ended_at);
        loop {
            if let Some(blob) = app.directory_service().store().ladder(id).await? {
                return Ok::<_, ApiError>(Some(blob));
            }
            let now = app.directory_service().now().wall;
            if ended.is_none_or(|ended| now.since(ended) > JOURNAL_TIMEOUT) {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let blob = tokio::time::timeout(JOURNAL_TIMEOUT, arrival).await.unwrap_or(Ok(None))?;
    let blob = blob.ok_or(Fault::LadderNotKept)?;
    switch::ladder::decode(&blob).ok_or_else(|| Fault::Internal.into())
}

fn wants_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let place = |kind: &str| accept.split(',').position(|range| range.trim().starts_with(kind));
    match (place("text/plain"), place("application/json")) {
        (Some(text), Some(json)) => text < json,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn first_line(rung: &Rung) -> &str {
    rung.text.lines().next().unwrap_or_default()
}

fn view(rung: &Rung) -> schemas::Rung {
    schemas::Rung {
        at: rung.at.to_string(),
        direction: if rung.sent { "sent" } else { "received" },
        transport: rung.transport.clone(),
        local: rung.local.to_string(),
        remote: rung.remote.to_string(),
        first_line: first_line(rung).to_owned(),
        text: rung.text.clone(),
    }
}

/// Draw the diagram: one column per peer, with ours after the first one; then the messages in full.
fn draw(id: &CallId, rungs: &[Rung]) -> String {
    let mut peers: Vec<SocketAddr> = Vec::new();
    for rung in rungs {
        if !peers.contains(&rung.remote) {
            peers.push(rung.remote);
        }
    }
    let column_of = |peer: SocketAddr| {
        let place = peers.iter().position(|known| *known == peer).unwrap_or_default();
        if place == 0 { 0 } else { place + 1 }
    };
    let columns = peers.len() + 1;
    let mut names: Vec<String> = peers.iter().map(ToString::to_string).collect();
    names.insert(names.len().min(1), "centralita".into());

    let mut text = format!("{id}\n\n{:12}", "");
    for name in &names {
        let _ = write!(text, "{name:^COLUMN$}");
    }
    text = text.trim_end().to_owned();
    text.push('\n');
    let begin = rungs.first().map(|rung| rung.at).unwrap_or_default();
    for (number, rung) in rungs.iter().enumerate() {
        let after = rung.at.since(begin);
        let line = arrow(columns, column_of(rung.remote), rung);
        let _ = writeln!(text, "{:>3} {:>7.3} {}", number + 1, after.as_secs_f64(), line.trim_end());
    }
    for (number, rung) in rungs.iter().enumerate() {
        let way = if rung.sent { "to" } else { "from" };
        let _ =
            write!(text, "\n--- {} · {} · {} {way} {}\n", number + 1, rung.at, rung.transport, rung.remote);
        text.push_str(rung.text.trim_end());
        text.push('\n');
    }
    text
}

/// One line of the diagram: bars for the columns, and an arrow between our column and the peer's.
fn arrow(columns: usize, peer: usize, rung: &Rung) -> String {
    const OURS: usize = 1;
    let middle = |column: usize| column * COLUMN + COLUMN / 2;
    let mut line: Vec<char> = vec![' '; columns * COLUMN];
    for column in 0..columns {
        if let Some(place) = line.get_mut(middle(column)) {
            *place = '|';
        }
    }
    let (left, right) = (middle(peer.min(OURS)) + 1, middle(peer.max(OURS)));
    let points_right = rung.sent == (peer > OURS);
    let label = label(first_line(rung), right.saturating_sub(left + 6));
    let span = right.saturating_sub(left);
    let pad = span.saturating_sub(label.chars().count() + 2);
    let mut shaft: Vec<char> = std::iter::repeat_n('-', pad / 2).collect();
    shaft.push(' ');
    shaft.extend(label.chars());
    shaft.push(' ');
    shaft.resize(span, '-');
    if points_right {
        if let Some(head) = shaft.last_mut() {
            *head = '>';
        }
    } else if let Some(head) = shaft.first_mut() {
        *head = '<';
    }
    for (offset, mark) in shaft.into_iter().enumerate() {
        if let Some(place) = line.get_mut(left + offset) {
            *place = mark;
        }
    }
    line.into_iter().collect()
}

/// Label of an arrow: `INVITE` of a request, `200 OK` of a response.
fn label(first_line: &str, room: usize) -> String {
    let text = match first_line.strip_prefix("SIP/2.0 ") {
        Some(status) => status,
        None => first_line.split(' ').next().unwrap_or_default(),
    };
    text.chars().filter(|c| !c.is_control()).take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_diagram_is_drawn() {
        let rung = |sent, remote: &str, text: &str, millis: i64| Rung {
            at: base::Timestamp::from_micros(millis * 1000),
            sent,
            transport: "UDP".into(),
            local: "127.0.0.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            text: text.into(),
        };
        let rungs = [
            rung(false, "127.0.0.1:5062", "INVITE sip:1002@localhost SIP/2.0\r\nVia: x\r\n\r\n", 0),
            rung(true, "127.0.0.1:5064", "INVITE sip:1002@127.0.0.1:5064 SIP/2.0\r\n\r\n", 2),
            rung(false, "127.0.0.1:5064", "SIP/2.0 180 Ringing\r\n\r\n", 15),
            rung(true, "127.0.0.1:5062", "SIP/2.0 180 Ringing\r\n\r\n", 16),
        ];
        let drawing = draw(&CallId::parse("session_1_a").unwrap(), &rungs);
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(
            lines[2].split_whitespace().collect::<Vec<_>>(),
            ["127.0.0.1:5062", "centralita", "127.0.0.1:5064"]
        );
        assert_eq!(lines[3].replace(['-', ' '], ""), "10.000|INVITE>||");
        assert_eq!(lines[4].replace(['-', ' '], ""), "20.002||INVITE>|");
        assert_eq!(lines[5].replace(['-', ' '], ""), "30.015||<180Ringing|");
        assert_eq!(lines[6].replace(['-', ' '], ""), "40.016|<180Ringing||");
        assert!(drawing.contains("\nINVITE sip:1002@localhost SIP/2.0\r\nVia: x\n"));
    }
}
