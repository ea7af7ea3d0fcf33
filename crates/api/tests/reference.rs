//! `docs/api.md` and `docs/api/` say what the router does: a page for each noun, written from the OpenAPI document and from a walk over the
//! routes by `cargo xtask docs`, and never stale.

use crate::house;
use crate::tour;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use house::House;
use serde_json::Value;
use tour::Exchange;

const HEAD: &str = "# The API

Written by `cargo xtask docs` from the table of routes, with what was asked and answered on a walk over them; `/openapi.json` says the same to
machines, and `/docs` is a page on which it can be tried.

Every request but the probes carries `Authorization: Bearer sk_voip_…`. Refusals have one shape:
`{\"success\": false, \"error\": \"a sentence\", \"code\": \"a_word\", \"requestId\": \"…\"}`, with `field` where one is at fault and `line` where it is a line of a
file that was sent; the sentence is English, or Spanish with `Accept-Language: es`, and the code never changes. Any POST may carry an `Idempotency-Key`:
repeated within a day it is done once and answered as the first time, with `Idempotency-Replayed: true`.

Lists have pages: `limit` says how long, and `nextCursor` of the answer, which means nothing but its place, is the `cursor` of the next one; `null` on
the last. Times are RFC 3339 in UTC with milliseconds. What is not there is `null`, never an empty text. A parameter that a route does not know is refused.

The names of the documents that this server was made after stay beside those of today: `/api/v1/opensips/…` is `/api/v1/server/…` and
`/api/v1/calls/…`, `sessionId` and `recordingId` are `id`, `user` is `userId`.
";

fn kind_of(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array().filter(|words| words.len() < 20) {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    if let Some(choice) = schema["oneOf"].as_array() {
        return choice.iter().map(kind_of).collect::<Vec<_>>().join(" or ");
    }
    schema["type"].as_str().unwrap_or("any").to_owned()
}

fn row(page: &mut String, name: &str, place: &str, required: bool, schema: &Value, about: &Value) {
    let needed = if required { ", required" } else { "" };
    let about = about.as_str().unwrap_or_default();
    let _ = writeln!(page, "| `{name}` | {place}{needed} | {} | {about} |", kind_of(schema));
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn operation(page: &mut String, method: &str, path: &str, operation: &Value, walk: &[Exchange]) {
    let _ = writeln!(
        page,
        "\n## {} {path}\n\n{}. {}\n",
        method.to_uppercase(),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" && parameter["deprecated"] != true {
            let required = parameter["required"] == true;
            let name = text(&parameter["name"]);
            row(&mut rows, name, "query", required, &parameter["schema"], &parameter["description"]);
        }
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    for (name, schema) in body["schema"]["properties"].as_object().into_iter().flatten() {
        let required =
            body["schema"]["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        row(&mut rows, name, "body", required, schema, &schema["description"]);
    }
    if !rows.is_empty() {
        let _ = writeln!(page, "| name | where | type | what |\n|---|---|---|---|\n{rows}");
    }
    if let Some(csv) = operation["requestBody"]["content"]["text/csv"]["example"].as_str() {
        let _ = writeln!(page, "As `text/csv`:\n\n```csv\n{csv}```\n");
    }
    if let Some(one) = tour::of(walk, method, path) {
        let _ = writeln!(page, "```http\n{} {}", method.to_uppercase(), one.path);
        if tour::is_said(&one.body) {
            let _ = writeln!(page, "Content-Type: application/json\n\n{}", pretty(&one.body));
        }
        let _ = writeln!(page, "```\n\n```json\n{}\n```\n", pretty(&one.answer));
    }
    let statuses: Vec<&str> =
        operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
    let _ = writeln!(page, "Statuses: {}.", statuses.join(", "));
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn file_of(tag: &str) -> String {
    format!("{}.md", tag.replace(' ', "-"))
}

/// A page with a table of everything that a list of the document holds.
fn appendix(document: &Value, list: &str, head: &str, columns: &[(&str, &str)]) -> String {
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let mut page = format!("{head}\n| {} |\n|{}\n", titles.join(" | "), "---|".repeat(columns.len()));
    let mut rows: Vec<&Value> = document[list].as_array().unwrap().iter().collect();
    rows.sort_by_key(|row| text(&row[columns[0].1]));
    for row in rows {
        let cells = columns.iter().enumerate().map(|(n, (_, name))| match &row[name] {
            Value::String(text) if n == 0 => format!("`{text}`"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let _ = writeln!(page, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    page
}

/// Every page by its file.
fn pages(document: &Value, walk: &[Exchange]) -> BTreeMap<String, String> {
    let mut by_tag: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let tag = text(&described["tags"][0]).to_owned();
            let (page, index) = by_tag.entry(tag).or_default();
            operation(page, method, path, described, walk);
            index.push(format!("`{} {path}` {}", method.to_uppercase(), text(&described["summary"])));
        }
    }
    let mut index = String::from(HEAD);
    let mut pages = BTreeMap::new();
    for (tag, (operations, routes)) in by_tag {
        let _ = writeln!(index, "\n## [{tag}](api/{})\n", file_of(&tag));
        for route in routes {
            let _ = writeln!(index, "- {route}");
        }
        let page = format!("# {tag}\n\nWritten by `cargo xtask docs`; [all nouns](../api.md).\n{operations}");
        pages.insert(format!("api/{}", file_of(&tag)), page);
    }
    let _ = writeln!(
        index,
        "\n## Tables\n\n- [Types of events](api/event-types.md)\n- [Codes of refusals](api/error-codes.md)\n- [Why calls end](api/end-reasons.md)"
    );
    let head = "# Types of events\n\nWhat `/api/v1/events` lists, streams tell and webhooks are sent.\n";
    let events = appendix(document, "x-event-types", head, &[("type", "type"), ("when", "description")]);
    let head = "# Codes of refusals\n\nWhat `code` of a refusal may be; a call that is refused has the code of [its reason](end-reasons.md).\n";
    let columns = [("code", "code"), ("status", "status"), ("English", "en"), ("español", "es")];
    let codes = appendix(document, "x-error-codes", head, &columns);
    let head = "# Why calls end\n\nWhat `endReason` of a call and of its legs may be, with the SIP status and the Q.850 cause that phones are told, and the\n`status` of a call that ended so before it was answered.\n";
    let columns = [
        ("endReason", "reason"),
        ("SIP", "sip"),
        ("Q.850", "q850"),
        ("status", "status"),
        ("English", "en"),
        ("español", "es"),
    ];
    let reasons = appendix(document, "x-end-reasons", head, &columns);
    pages.insert("api/event-types.md".into(), events);
    pages.insert("api/error-codes.md".into(), codes);
    pages.insert("api/end-reasons.md".into(), reasons);
    pages.insert("api.md".into(), index);
    pages
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn the_pages_of_the_api_are_not_stale() {
    let house = House::new().await;
    let pages = pages(house.document().await, &tour::walk().await);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let extra = || {
        files_in(&docs.join("api")).into_iter().filter(|file| {
            let name = format!("api/{}", file.file_name().unwrap().to_string_lossy());
            !pages.contains_key(&name)
        })
    };
    if std::env::var_os("CENTRALITA_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(docs.join("api")).unwrap();
        extra().for_each(|file| std::fs::remove_file(file).unwrap());
        for (name, page) in &pages {
            std::fs::write(docs.join(name), page).unwrap();
        }
    }
    assert_eq!(extra().next(), None, "a page of no noun: run `cargo xtask docs`");
    for (name, page) in &pages {
        let there = std::fs::read_to_string(docs.join(name)).unwrap_or_default();
        assert!(there == *page, "docs/{name} is stale: run `cargo xtask docs`");
    }
}

/// What no walk can show: audio, streams, what needs a message that was given up.
const NOT_SHOWN: [&str; 4] = ["getCallLadder", "retryDelivery", "createSound", "putGreeting"];

#[tokio::test]
async fn two_walks_are_the_same_and_every_answer_in_json_is_shown() {
    let (walk, again) = (tour::walk().await, tour::walk().await);
    assert_eq!(walk.len(), again.len());
    for (one, other) in walk.iter().zip(&again) {
        assert_eq!((one.path.as_str(), &one.answer), (other.path.as_str(), &other.answer));
        assert!(!one.answer.to_string().contains("sk_voip_") || one.path.contains("/keys"), "{}", one.answer);
    }
    let house = House::new().await;
    for (path, item) in house.document().await["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let json = &described["responses"]["200"]["content"]["application/json"]["schema"];
            let named = text(&described["operationId"]);
            if json["$ref"].is_string() && !NOT_SHOWN.contains(&named) {
                assert!(
                    tour::of(&walk, method, path).is_some(),
                    "{method} {path} ({named}) is not on the walk"
                );
            }
        }
    }
}
