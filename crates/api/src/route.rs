//! A route of the table from which both the router and the OpenAPI document are made: neither can know one that the other does not.

use axum::routing::MethodRouter;
use model::Permission;
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::App;
use crate::input::Field;
use crate::limits::BodyLimit;

/// Who may use a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
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
#[derive(Clone)]
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
#[derive(Clone)]
pub(crate) struct Route {
    pub method: &'static str,
    pub path: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub need: Access,
    pub query: &'static [Field],
    pub body: Option<&'static [Field]>,
    /// The type of what is sent, where it is no JSON.
    pub upload: Option<&'static str>,
    /// Its body may be a table as well.
    pub csv: bool,
    pub limit: BodyLimit,
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
        need: Access,
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
            csv: false,
            limit: BodyLimit::FORM,
            answer,
            also: &[],
            handler,
        }
    }

    /// The same at another place.
    pub(crate) fn at(&self, path: &'static str) -> Route {
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

    /// Its body may be a table as well.
    pub(crate) fn or_csv(self) -> Route {
        Route { csv: true, ..self }
    }

    /// Its body may hold all extensions.
    pub(crate) fn bulk(self) -> Route {
        Route { limit: BodyLimit::IMPORT, ..self }
    }

    pub(crate) fn also(self, also: &'static [u16]) -> Route {
        Route { also, ..self }
    }
}
