//! The language of sentences for people: English, or Spanish where the locale says so.
//!
//! Both texts stand where they are used ([`tr!`]), so the compiler refuses one without the other, and checks the values in both.
//! Documents for programs (JSON, the log) do not change with the locale.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;

/// A language that people are spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Spanish
    Es,
}

/// What [`choose`] has said; English until then. One process speaks one language, as with `setlocale(3)`.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Speak this language from now on.
pub fn choose(lang: Lang) {
    CHOSEN.store(u8::from(lang == Lang::Es), Ordering::Relaxed);
}

/// The language that is spoken.
pub fn current() -> Lang {
    if CHOSEN.load(Ordering::Relaxed) == 0 { Lang::En } else { Lang::Es }
}

impl Lang {
    /// What the locale says: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is not empty decides (POSIX, XBD §8.2).
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

    /// The text of this language.
    pub fn pick<T>(self, english: T, spanish: T) -> T {
        match self {
            Lang::En => english,
            Lang::Es => spanish,
        }
    }
}

/// A sentence in the language that is spoken: the English text, the Spanish text, and the values of both.
#[macro_export]
macro_rules! tr {
    ($english:literal, $spanish:literal $(, $($values:tt)*)?) => {
        match $crate::lang::current() {
            $crate::lang::Lang::En => ::std::fmt::format(::std::format_args!($english $(, $($values)*)?)),
            $crate::lang::Lang::Es => ::std::fmt::format(::std::format_args!($spanish $(, $($values)*)?)),
        }
    };
}

/// `1 call`, `2 calls`: the number with the word that goes with it.
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
