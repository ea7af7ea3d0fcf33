//! A route of the table from which both the router and the OpenAPI document are made: neither can know one that the other does not.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use model::Permission;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::input::Field;
use crate::{App, layer, routes};

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nobody is asked.
    Nothing,
    /// Any valid key.
    Key,
    /// A key with this permission, or an admin key.
    Permission(Permission),
    /// A key with the permission `admin`.
    Admin,
    /// Any valid key, in the header or in the first message of a WebSocket.
    Hello,
}

/// What a route answers when all is well.
pub(crate) enum Answer {
    /// JSON of this schema.
    Json { name: String, schema: fn() -> RefOr<Schema>, collect: fn(&mut Vec<(String, RefOr<Schema>)>) },
    /// JSON of this schema, or a text for people.
    JsonOrText { name: String, schema: fn() -> RefOr<Schema>, collect: fn(&mut Vec<(String, RefOr<Schema>)>) },
    /// Text.
    Text,
    /// WAV, or Opus in Ogg.
    Audio,
    /// JSON that describes itself.
    AnyJson,
    /// Server-Sent Events.
    EventStream,
    /// A WebSocket.
    Socket,
}

impl Answer {
    pub(crate) fn json<T: ToSchema>() -> Answer {
        Answer::Json { name: T::name().into_owned(), schema: T::schema, collect: T::schemas }
    }

    pub(crate) fn json_or_text<T: ToSchema>() -> Answer {
        Answer::JsonOrText { name: T::name().into_owned(), schema: T::schema, collect: T::schemas }
    }
}

/// See the module.
pub(crate) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub need: Need,
    pub query: &'static [Field],
    pub body: Option<&'static [Field]>,
    /// The type of what is sent, where it is no JSON.
    pub upload: Option<&'static str>,
    pub answer: Answer,
    /// Statuses besides those that follow from the rest: 409, 503.
    pub also: &'static [u16],
    pub handler: MethodRouter<App>,
}

impl Route {
    pub(crate) fn new(
        (method, path): (&'static str, &'static str),
        tag: &'static str,
        summary: &'static str,
        need: Need,
        answer: Answer,
        handler: MethodRouter<App>,
    ) -> Route {
        Route {
            method,
            path,
            tag,
            summary,
            need,
            query: &[],
            body: None,
            upload: None,
            answer,
            also: &[],
            handler,
        }
    }

    pub(crate) fn query(self, query: &'static [Field]) -> Route {
        Route { query, ..self }
    }

    pub(crate) fn body(self, body: &'static [Field]) -> Route {
        Route { body: Some(body), ..self }
    }

    pub(crate) fn upload(self, kind: &'static str) -> Route {
        Route { upload: Some(kind), ..self }
    }

    pub(crate) fn also(self, also: &'static [u16]) -> Route {
        Route { also, ..self }
    }
}

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
