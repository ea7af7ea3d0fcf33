//! The whole of the API as a service, made of the table of routes.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use model::Permission;
use tower_http::catch_panic::CatchPanicLayer;

use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::route::Need;
use crate::{App, layer, routes};

/// All routes. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: limits are kept by source address.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let permitted = route.handler.route_layer(from_fn_with_state(route.need, permit));
        router = router.route(route.path, permitted);
    }
    router
        .fallback(|| async { ApiError::from(Fault::NotFound) })
        .layer(CatchPanicLayer::custom(layer::panicked))
        .layer(from_fn_with_state(app.clone(), layer::surround))
        .with_state(app)
}

/// 403 before anything else of a route is looked at.
async fn permit(State(need): State<Need>, request: Request, next: Next) -> Response {
    let refused = match (need, request.extensions().get::<Caller>()) {
        (Need::Nothing | Need::Hello, _) | (Need::Key, Some(_)) => None,
        (Need::Permission(permission), Some(caller)) => caller.needs(permission).err(),
        (Need::Admin, Some(caller)) => caller.needs(Permission::Admin).err(),
        (_, None) => Some(Fault::KeyMissing.into()),
    };
    match refused {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}
