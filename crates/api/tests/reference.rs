//! `docs/api.md` says what the router does: it is written from the OpenAPI document by `cargo xtask docs`, and must not be stale.

mod house;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use house::House;
use serde_json::Value;

const HEAD: &str = "# The API, route by route

Written by `cargo xtask docs` from the table of routes; the same as `/openapi.json` says to machines. Every request but the probes carries
`Authorization: Bearer sk_voip_…`. Refusals have one shape: `{\"success\": false, \"error\": \"a sentence\", \"code\": \"a_word\", \"requestId\": \"…\"}`, with
`field` where one is at fault; the sentence is English, or Spanish with `Accept-Language: es`, and the code never changes. Any POST may carry an
`Idempotency-Key`: repeated within a day it is done once and answered as the first time, with `Idempotency-Replayed: true`.
";

fn kind_of(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", ");
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

fn operation(page: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let _ = writeln!(
        page,
        "\n### {} {path}\n\n{}. {}\n",
        method.to_uppercase(),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let mut rows = String::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" {
            let required = parameter["required"] == true;
            row(
                &mut rows,
                &text(&parameter["name"]),
                "query",
                required,
                &parameter["schema"],
                &parameter["description"],
            );
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
    for (title, example) in [
        ("Request", &body["example"]),
        ("Answer", &operation["responses"]["200"]["content"]["application/json"]["example"]),
    ] {
        if example.as_object().is_some_and(|object| !object.is_empty()) {
            let _ = writeln!(
                page,
                "{title}:\n\n```json\n{}\n```\n",
                serde_json::to_string_pretty(example).unwrap()
            );
        }
    }
    let statuses: Vec<&str> =
        operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
    let _ = writeln!(page, "Statuses: {}.", statuses.join(", "));
}

#[tokio::test]
async fn the_page_of_the_api_is_not_stale() {
    let house = House::new().await;
    let document = house.document().await;
    let mut by_tag: BTreeMap<String, String> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let tag = described["tags"][0].as_str().unwrap().to_owned();
            operation(by_tag.entry(tag).or_default(), method, path, described);
        }
    }
    let mut page = String::from(HEAD);
    for (tag, operations) in by_tag {
        let _ = write!(page, "\n## {tag}\n{operations}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    if std::env::var_os("CENTRALITA_WRITE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(there == page, "docs/api.md is stale: run `cargo xtask docs`");
}
