//! Errors of commands, and their exit codes.

use serde_json::{Value, json};

/// Why a command failed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Fault {
    /// The server or database refused, or the object does not exist.
    #[error("{0}")]
    Refused(String),
    /// The API refused the request.
    #[error("{why} ({code})")]
    Api {
        /// Error text of the API.
        why: String,
        /// Error code of the API.
        code: String,
        /// The whole response body.
        body: Value,
    },
    /// Wrong usage of the command.
    #[error("{0}")]
    Usage(String),
    /// The server cannot be reached.
    #[error("{0}")]
    Unreachable(String),
}

impl Fault {
    /// 1 refused or not found, 2 wrong usage, 3 the server cannot be reached.
    pub fn exit_code(&self) -> u8 {
        match self {
            Fault::Refused(_) | Fault::Api { .. } => 1,
            Fault::Usage(_) => 2,
            Fault::Unreachable(_) => 3,
        }
    }

    /// As JSON in the shape of API errors; for an API error, its body.
    pub fn json(&self) -> Value {
        let code = match self {
            Fault::Api { body, .. } => return body.clone(),
            Fault::Refused(_) => "refused",
            Fault::Usage(_) => "usage",
            Fault::Unreachable(_) => "unreachable",
        };
        json!({ "success": false, "error": self.to_string(), "code": code })
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Fault::Refused(format!("{error:#}"))
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::Refused(error.to_string())
    }
}
