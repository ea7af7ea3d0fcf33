//! Route of the OpenAPI document.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::openapi;
use crate::route::{Access, Answer, Route};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(&super::all()).to_string());

pub(crate) fn routes() -> Vec<Route> {
    let access = Access::Public;
    vec![Route::new(("get", "/openapi.json"), "probes", "This document", access, Answer::AnyJson, get(show))]
}

async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
