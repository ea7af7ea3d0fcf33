//! The API as an axum router, built from the route table.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use model::Permission;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form};
use crate::limits::BodyLimit;
use crate::route::Access;
use crate::{App, cors, idempotency, middleware, pages, routes};

/// Checks of a request before its handler runs.
#[derive(Clone)]
struct Entry {
    app: App,
    need: Access,
    query: &'static [Field],
    limit: BodyLimit,
    reads_body: bool,
}

/// Router with all routes. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, because rate limits use the source address.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let entry = Entry {
            app: app.clone(),
            need: route.need,
            query: route.query,
            limit: route.limit,
            reads_body: route.body.is_some() || route.upload.is_some(),
        };
        let entered = route.handler.route_layer(from_fn_with_state(entry, enter));
        router = router.route(route.path, entered);
    }
    let cors = cors::layer(&app.settings().origins);
    let router = router
        .merge(pages::routes())
        .fallback(|| async { ApiError::from(Fault::NotFound) })
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(app.clone(), middleware::surround))
        .with_state(app);
    // Outermost layer: a browser sends the CORS preflight without a key.
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Check the permission (403) before anything else, then query parameters and Content-Encoding, then idempotency.
async fn enter(State(entry): State<Entry>, mut request: Request, next: Next) -> Response {
    if let Err(refused) = entry.admits(&request) {
        return refused.into_response();
    }
    request.extensions_mut().insert(entry.limit);
    idempotency::once(&entry.app, request, next).await
}

impl Entry {
    fn admits(&self, request: &Request) -> Result<(), ApiError> {
        match (self.need, request.extensions().get::<Principal>()) {
            (Access::Nothing | Access::Hello, _) | (Access::Key, Some(_)) => {}
            (Access::Permission(permission), Some(principal)) => principal.needs(permission)?,
            (Access::Admin, Some(principal)) => principal.needs(Permission::Admin)?,
            (_, None) => return Err(Fault::KeyMissing.into()),
        }
        // Load balancers and browsers may append query parameters to probes and pages, so public routes ignore them.
        if self.need != Access::Nothing {
            Form::knows(request.uri(), self.query)?;
        }
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        if self.reads_body
            && encoding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(ApiError::field(Fault::ContentEncoding, "Content-Encoding", None));
        }
        Ok(())
    }
}
