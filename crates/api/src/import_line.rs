//! Validation of one line of an import. All sources (JSON, spreadsheet, command line without a server) use the same function.

use std::fmt;

use base::Secret;
use model::voicemail::check_pin;
use model::{ExtensionNumber, Language, UserId};

use crate::directory_service::{ImportLine, pin_sentence};
use crate::error::Fault;
use crate::input::rule::is_label;
use crate::limits::{DISPLAY_NAME_CHARS, PASSWORD_CHARS};
use crate::secret;

/// Column of an import.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Column {
    Number,
    Name,
    Username,
    Password,
    Owner,
    Pin,
}

impl Column {
    pub(crate) const ALL: [Column; 6] =
        [Column::Number, Column::Name, Column::Username, Column::Password, Column::Owner, Column::Pin];

    /// Name of the field in JSON.
    pub fn field(self) -> &'static str {
        match self {
            Column::Number => "extensionNumber",
            Column::Name => "displayName",
            Column::Username => "username",
            Column::Password => "password",
            Column::Owner => "userId",
            Column::Pin => "voicemailPin",
        }
    }

    /// Name of the column in a spreadsheet header.
    pub fn header(self) -> &'static str {
        match self {
            Column::Number => "number",
            Column::Name => "name",
            Column::Username => "username",
            Column::Password => "password",
            Column::Owner => "owner",
            Column::Pin => "voicemail PIN",
        }
    }

    fn is_secret(self) -> bool {
        matches!(self, Column::Password | Column::Pin)
    }
}

/// Why a line of an import, or the whole import, is rejected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineFault {
    /// Line of the file (from 1), or index in the list (from 0).
    pub line: u64,
    /// Column at fault; `None` if the line itself is at fault.
    pub column: Option<Column>,
    /// The offending value. Never set for a secret.
    pub value: Option<String>,
    kind: Fault,
    reason: (String, String),
}

impl LineFault {
    pub(crate) fn new(
        line: u64,
        column: Column,
        value: Option<String>,
        reason: (String, String),
    ) -> LineFault {
        let value = value.filter(|_| !column.is_secret()).map(|value| crate::input::printable(&value));
        LineFault { line, column: Some(column), value, kind: Fault::BadValue, reason }
    }

    pub(crate) fn of_kind(self, kind: Fault) -> LineFault {
        LineFault { kind, ..self }
    }

    pub(crate) fn kind(&self) -> Fault {
        self.kind
    }

    pub(crate) fn of_line(line: u64, en: impl Into<String>, es: impl Into<String>) -> LineFault {
        LineFault { line, column: None, value: None, kind: Fault::BadValue, reason: (en.into(), es.into()) }
    }

    /// The fault without its place: `"3007" already exists`.
    pub fn sentence(&self, language: Language) -> String {
        let reason = match language {
            Language::English => &self.reason.0,
            Language::Spanish => &self.reason.1,
        };
        match &self.value {
            Some(value) => format!("{value:?} {reason}"),
            None => reason.clone(),
        }
    }

    /// The fault with the line of the file and the name of the column.
    pub fn in_file(&self, language: Language) -> String {
        let line = match language {
            Language::English => "line",
            Language::Spanish => "línea",
        };
        let column = self.column.map(|column| format!("{}: ", column.header())).unwrap_or_default();
        format!("{line} {}: {column}{}", self.line, self.sentence(language))
    }
}

impl std::error::Error for LineFault {}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_file(Language::English))
    }
}

/// A line as read: empty cells are `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawLine<'t> {
    pub line: u64,
    pub number: Option<&'t str>,
    pub name: Option<&'t str>,
    pub username: Option<&'t str>,
    pub password: Option<&'t str>,
    pub owner: Option<&'t str>,
    pub pin: Option<&'t str>,
}

/// Validate one line by itself. `owner` is used for lines that name no owner.
pub(crate) fn validate_line(raw_line: &RawLine<'_>, owner: &UserId) -> Result<ImportLine, LineFault> {
    let line = raw_line.line;
    let fault = |column: Column, value: Option<&str>, en: &str, es: &str| {
        LineFault::new(line, column, value.map(str::to_owned), (en.to_owned(), es.to_owned()))
    };
    let Some(text) = raw_line.number else {
        return Err(fault(Column::Number, None, "is missing", "falta").of_kind(Fault::MissingField));
    };
    let number = ExtensionNumber::parse(text).map_err(|_| {
        fault(Column::Number, Some(text), "must have 2 to 6 digits", "debe tener de 2 a 6 dígitos")
    })?;
    if let Some(name) = raw_line.name.filter(|name| !is_label(name, DISPLAY_NAME_CHARS)) {
        return Err(fault(
            Column::Name,
            Some(name),
            "must have 1 to 64 characters, none of them a control character",
            "debe tener de 1 a 64 caracteres, ninguno de control",
        ));
    }
    if let Some(username) = raw_line.username.filter(|name| !is_username(name)) {
        return Err(fault(
            Column::Username,
            Some(username),
            "must have 1 to 64 characters: letters, digits, '_', '.' or '-'",
            "debe tener de 1 a 64 caracteres: letras, dígitos, '_', '.' y '-'",
        ));
    }
    if let Some(password) = raw_line.password {
        if !is_label(password, PASSWORD_CHARS) {
            return Err(fault(
                Column::Password,
                None,
                "must have 1 to 256 characters, none of them a control character (was a quote opened and not closed?)",
                "debe tener de 1 a 256 caracteres, ninguno de control (¿unas comillas sin cerrar?)",
            ));
        }
        if secret::is_trivial(password, &[text, raw_line.username.unwrap_or(text)]) {
            return Err(fault(
                Column::Password,
                None,
                "must not be a well-known password, the number or the user name",
                "no debe ser una contraseña conocida, ni el número o el nombre de usuario",
            ));
        }
    }
    let owner = match raw_line.owner {
        None => owner.clone(),
        Some(owner) => UserId::parse(owner).map_err(|_| {
            fault(
                Column::Owner,
                Some(owner),
                "must have 1 to 128 characters: letters, digits, '_', '.' or '-'",
                "debe tener de 1 a 128 caracteres: letras, dígitos, '_', '.' y '-'",
            )
        })?,
    };
    if let Some(pin) = raw_line.pin {
        let (en, es) = match check_pin(pin, number.as_str()) {
            Ok(()) => ("", ""),
            Err(error) => pin_sentence(error),
        };
        if !en.is_empty() {
            return Err(fault(Column::Pin, None, en, es));
        }
    }
    Ok(ImportLine {
        line,
        number,
        username: raw_line.username.map(str::to_owned),
        password: raw_line.password.map(|text| Secret::new(text.to_owned())),
        owner,
        display_name: raw_line.name.map(str::to_owned),
        pin: raw_line.pin.map(|text| Secret::new(text.to_owned())),
    })
}

/// Whether a text is a valid digest user name: 1 to 64 letters, digits, `_`, `.` and `-`.
pub(crate) fn is_username(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(legal)
}
