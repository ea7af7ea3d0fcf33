//! Why a command failed, and the exit code that says so.

use serde_json::{Value, json};

/// See the module.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Fault {
    /// The server (or the database) says no, or there is no such thing.
    #[error("{0}")]
    Refused(String),
    /// The API says no.
    #[error("{why} ({code})")]
    Api {
        /// Its sentence.
        why: String,
        /// Its code.
        code: String,
        /// All that it answered.
        body: Value,
    },
    /// The command makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
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

    /// For programs: in the shape of the API's refusals, with its fields where it was the API that refused.
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
