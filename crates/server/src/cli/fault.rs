//! Why a command failed, and the exit code that says so.

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The server (or the database) says no, or there is no such thing.
    #[error("{0}")]
    Refused(String),
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
            Fault::Refused(_) => 1,
            Fault::Usage(_) => 2,
            Fault::Unreachable(_) => 3,
        }
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
