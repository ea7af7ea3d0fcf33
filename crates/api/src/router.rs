//! The whole of the API as a service, made of the table of routes.

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

/// What is asked of a request before its route sees it.
#[derive(Clone)]
struct Entry {
    app: App,
    need: Access,
    query: &'static [Field],
    limit: BodyLimit,
    reads_body: bool,
}

/// All routes. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: limits are kept by source address.
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
    // Around everything: a browser asks before it sends a key.
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// 403 before anything else of a route is looked at; then what holds for every route alike.
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
        // Who asks for a probe or a page may put anything behind it, as balancers and browsers do.
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
