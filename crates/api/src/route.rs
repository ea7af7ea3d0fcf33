//! Route table, from which both the router and the OpenAPI document are built. Neither can have a route that the other lacks.

use axum::routing::MethodRouter;
use model::Permission;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::App;
use crate::input::Field;
use crate::limits::BodyLimit;

/// Access control of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Public: no key needed.
    Public,
    /// Any valid key.
    Key,
    /// A key with this permission, or an admin key.
    Permission(Permission),
    /// A key with the permission `admin`.
    Admin,
    /// Any valid key, in the header or in the first message of the WebSocket.
    KeyOrFirstMessage,
}

/// Body of a successful response.
#[derive(Clone)]
pub(crate) enum Answer {
    /// JSON of this schema.
    Json { name: String, schema: fn() -> RefOr<Schema>, collect: fn(&mut Vec<(String, RefOr<Schema>)>) },
    /// JSON of this schema, or plain text for people.
    JsonOrText { name: String, schema: fn() -> RefOr<Schema>, collect: fn(&mut Vec<(String, RefOr<Schema>)>) },
    /// Plain text.
    Text,
    /// WAV, or Opus in Ogg.
    Audio,
    /// JSON without a schema.
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

/// A route of the HTTP API.
#[derive(Clone)]
pub(crate) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub access: Access,
    pub query: &'static [Field],
    pub body: Option<&'static [Field]>,
    /// Content-Type of an uploaded body that is not JSON.
    pub upload: Option<&'static str>,
    /// Whether the body may also be CSV.
    pub csv: bool,
    pub limit: BodyLimit,
    pub answer: Answer,
    /// Statuses for the document, besides those that follow from the other fields (such as 409 or 503).
    pub also: &'static [u16],
    pub handler: MethodRouter<App>,
}

impl Route {
    pub(crate) fn new(
        (method, path): (&'static str, &'static str),
        tag: &'static str,
        summary: &'static str,
        access: Access,
        answer: Answer,
        handler: MethodRouter<App>,
    ) -> Route {
        Route {
            method,
            path,
            tag,
            summary,
            access,
            query: &[],
            body: None,
            upload: None,
            csv: false,
            limit: BodyLimit::FORM,
            answer,
            also: &[],
            handler,
        }
    }

    /// The same route at another path.
    pub(crate) fn with_path(&self, path: &'static str) -> Route {
        Route { path, ..self.clone() }
    }

    pub(crate) fn query(self, query: &'static [Field]) -> Route {
        Route { query, ..self }
    }

    pub(crate) fn body(self, body: &'static [Field]) -> Route {
        Route { body: Some(body), ..self }
    }

    pub(crate) fn upload(self, kind: &'static str) -> Route {
        Route { upload: Some(kind), limit: BodyLimit::AUDIO, ..self }
    }

    /// Accept CSV as well.
    pub(crate) fn or_csv(self) -> Route {
        Route { csv: true, ..self }
    }

    /// Raise the body limit so that all extensions fit.
    pub(crate) fn bulk(self) -> Route {
        Route { limit: BodyLimit::IMPORT, ..self }
    }

    pub(crate) fn also(self, also: &'static [u16]) -> Route {
        Route { also, ..self }
    }
}
