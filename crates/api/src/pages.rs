//! Web pages for people: a welcome page and the API reference with Swagger UI. All content is in the binary, and nothing is loaded from elsewhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use model::Language;
use serde_json::json;
use utoipa_swagger_ui::Config;

use crate::App;
use crate::auth::language;
use crate::error::{ApiError, Fault};

/// Paths that need no key.
pub(crate) const PUBLIC: [&str; 3] = ["/", "/docs", "/docs/{file}"];

/// No external content and no inline scripts, so that injected text is not executed. Images from `data:` are needed because Swagger UI has its
/// arrows in its style sheet.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);
const WELCOME_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const DOCS: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Centralita API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="stylesheet" href="/docs/page.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</body>
</html>
"#;

/// Keys stay in the memory of the page, and the document is not sent to an external validator.
const SCRIPT: &str = r##""use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  filter: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout"
});
"##;

const STYLE: &str = "body { margin: 0 auto; max-width: 80rem; font-family: sans-serif; }\n\
    main { padding: 2rem 1rem; line-height: 1.6; }\n";

/// Routes of the pages. They are not part of the OpenAPI document.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/", get(welcome)).route("/docs", get(docs)).route("/docs/{file}", get(file))
}

async fn welcome(headers: HeaderMap) -> Response {
    let language = language(&headers);
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        let mut page = Html(welcome_page(language)).into_response();
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, WELCOME_POLICY);
        page
    } else {
        let places = json!({
            "success": true, "name": "Centralita", "documentation": "/docs", "openapi": "/openapi.json", "api": "/api/v1",
            "health": "/healthz", "ready": "/readyz"
        });
        axum::Json(places).into_response()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-language"));
    response
}

fn welcome_page(language: Language) -> String {
    let (code, says, links) = match language {
        Language::English => (
            "en",
            "This is a PBX. Programs use its API under <code>/api/v1</code> with the key in the file <code>admin.key</code> of \
             its data directory.",
            ["API reference, with forms to try it", "OpenAPI document", "Liveness probe", "Readiness probe"],
        ),
        Language::Spanish => (
            "es",
            "Esto es una centralita telefónica. Los programas usan su API en <code>/api/v1</code> con la clave del archivo <code>admin.key</code> \
             de su carpeta de datos.",
            [
                "Referencia de la API, con formularios para probarla",
                "Documento OpenAPI",
                "Sonda de actividad (liveness)",
                "Sonda de disponibilidad (readiness)",
            ],
        ),
    };
    let places = ["/docs", "/openapi.json", "/healthz", "/readyz"];
    let items: String = places
        .iter()
        .zip(links)
        .map(|(place, says)| format!("<li><a href=\"{place}\">{says}</a>: <code>{place}</code></li>\n"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>Centralita</title>\n<link rel=\"stylesheet\" href=\"/docs/page.css\">\n\
         </head>\n<body>\n<main>\n<h1>Centralita</h1>\n<p>{says}</p>\n<ul>\n{items}</ul>\n</main>\n</body>\n</html>\n"
    )
}

async fn docs() -> Response {
    let mut page = Html(DOCS).into_response();
    page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, DOCS_POLICY);
    page.headers_mut()
        .insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    page
}

async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    const JS: &str = "text/javascript; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    let kind = match name.as_str() {
        "page.js" => return Ok(([(header::CONTENT_TYPE, JS)], SCRIPT).into_response()),
        "page.css" => return Ok(([(header::CONTENT_TYPE, CSS)], STYLE).into_response()),
        // The files of Swagger UI that the page uses.
        "swagger-ui-bundle.js" => JS,
        "swagger-ui.css" => CSS,
        _ => return Err(Fault::NotFound.into()),
    };
    let found = utoipa_swagger_ui::serve(&name, Arc::new(Config::default())).ok().flatten();
    let found = found.ok_or(Fault::NotFound)?;
    Ok(([(header::CONTENT_TYPE, kind)], found.bytes.into_owned()).into_response())
}
