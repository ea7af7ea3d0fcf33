//! Language of messages for people: English, or Spanish if the locale says so.
//!
//! Both texts are written where they are used ([`tr!`]), so the compiler checks that both exist and that their values fit.
//! Output for programs (JSON, the log) does not depend on the locale.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

/// A language of the user interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Spanish
    Es,
}

/// Set by [`choose`]; English until then. The language is global, as with `setlocale(3)`.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Set the language of the process.
pub fn choose(lang: Lang) {
    CHOSEN.store(u8::from(lang == Lang::Es), Ordering::Relaxed);
}

/// The language of the process.
pub fn current() -> Lang {
    if CHOSEN.load(Ordering::Relaxed) == 0 { Lang::En } else { Lang::Es }
}

impl Lang {
    /// Language of the locale: the first non-empty one of `LC_ALL`, `LC_MESSAGES` and `LANG` (POSIX, XBD §8.2).
    pub fn of_locale(variable: impl Fn(&str) -> Option<OsString>) -> Lang {
        let named = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| variable(name));
        let locale = named.into_iter().find(|value| !value.is_empty()).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let spanish = locale.strip_prefix("es").or_else(|| locale.strip_prefix("spanish"));
        match spanish {
            Some(rest) if rest.is_empty() || rest.starts_with(['_', '-', '.', '@']) => Lang::Es,
            Some(_) | None => Lang::En,
        }
    }

    /// The text in this language.
    pub fn pick<T>(self, english: T, spanish: T) -> T {
        match self {
            Lang::En => english,
            Lang::Es => spanish,
        }
    }
}

/// A formatted text in the current language: the English text, the Spanish text, and the values of both.
#[macro_export]
macro_rules! tr {
    ($english:literal, $spanish:literal $(, $($values:tt)*)?) => {
        match $crate::lang::current() {
            $crate::lang::Lang::En => ::std::fmt::format(::std::format_args!($english $(, $($values)*)?)),
            $crate::lang::Lang::Es => ::std::fmt::format(::std::format_args!($spanish $(, $($values)*)?)),
        }
    };
}

/// `1 call`, `2 calls`: the number with the singular or plural noun.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_and_the_strongest_variable_wins() {
        let table: [(&[(&str, &str)], Lang); 9] = [
            (&[], Lang::En),
            (&[("LANG", "es_ES.UTF-8")], Lang::Es),
            (&[("LANG", "es")], Lang::Es),
            (&[("LANG", "est_EE")], Lang::En),
            (&[("LANG", "C.UTF-8")], Lang::En),
            (&[("LANG", "es_CL"), ("LC_MESSAGES", "en_US")], Lang::En),
            (&[("LC_ALL", "C"), ("LANG", "es_CL")], Lang::En),
            (&[("LC_ALL", ""), ("LC_MESSAGES", "es_MX@x"), ("LANG", "C")], Lang::Es),
            (&[("LC_ALL", "POSIX"), ("LC_MESSAGES", "es_MX")], Lang::En),
        ];
        for (variables, lang) in table {
            let variable = |name: &str| {
                variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(Lang::of_locale(variable), lang, "{variables:?}");
        }
    }
}
