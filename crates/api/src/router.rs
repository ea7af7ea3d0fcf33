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
struct RouteGuard {
    app: App,
    access: Access,
    query: &'static [Field],
    limit: BodyLimit,
    reads_body: bool,
}

/// Router with all routes. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, because rate limits use the source address.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let guard = RouteGuard {
            app: app.clone(),
            access: route.access,
            query: route.query,
            limit: route.limit,
            reads_body: route.body.is_some() || route.upload.is_some(),
        };
        let guarded = route.handler.route_layer(from_fn_with_state(guard, guard_route));
        router = router.route(route.path, guarded);
    }
    let cors = cors::layer(&app.settings().origins);
    let router = router
        .merge(pages::routes())
        .fallback(|| async { ApiError::from(Fault::NotFound) })
        .layer(CatchPanicLayer::custom(middleware::on_panic))
        .layer(from_fn_with_state(app.clone(), middleware::handle_request))
        .with_state(app);
    // Outermost layer: a browser sends the CORS preflight without a key.
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Check the permission (403) before anything else, then query parameters and Content-Encoding, then idempotency.
async fn guard_route(State(guard): State<RouteGuard>, mut request: Request, next: Next) -> Response {
    if let Err(refused) = guard.check(&request) {
        return refused.into_response();
    }
    request.extensions_mut().insert(guard.limit);
    idempotency::handle(&guard.app, request, next).await
}

impl RouteGuard {
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        match (self.access, request.extensions().get::<Principal>()) {
            (Access::Public | Access::KeyOrFirstMessage, _) | (Access::Key, Some(_)) => {}
            (Access::Permission(permission), Some(principal)) => principal.require(permission)?,
            (Access::Admin, Some(principal)) => principal.require(Permission::Admin)?,
            (_, None) => return Err(Fault::KeyMissing.into()),
        }
        // Load balancers and browsers may append query parameters to probes and pages, so public routes ignore them.
        if self.access != Access::Public {
            Form::check_names(request.uri(), self.query)?;
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
