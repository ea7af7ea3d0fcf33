//! Header parameters: `;name=value`, `;name="quoted"`, `;name`, with optional white space around separators (RFC 3261 §25).

use crate::lexer::{self, Span, TOKEN, VALUE};

/// One parameter, as spans of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub(crate) name: Span,
    /// Without its quotes; empty if there is none.
    pub(crate) value: Span,
    pub(crate) quoted: bool,
}

/// Iterator over the parameters of `text` from `at` on, where a `;` or the end is expected. Yields `None` once if the text is malformed.
pub(crate) struct Params<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Params<'a> {
    pub(crate) fn new(text: &'a [u8], at: usize) -> Self {
        Params { text, at }
    }

    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|&b| lexer::is_space(b)) {
            self.at += 1;
        }
    }

    fn take_while(&mut self, class: u16) -> Span {
        let start = self.at;
        while self.text.get(self.at).is_some_and(|&b| lexer::is(b, class)) {
            self.at += 1;
        }
        Span::new(start, self.at)
    }

    /// One parameter after its `;`.
    fn next_param(&mut self) -> Option<Param> {
        self.skip_space();
        let name = self.take_while(TOKEN);
        if name.is_empty() {
            return None;
        }
        self.skip_space();
        let mut param = Param { name, value: Span::default(), quoted: false };
        if self.text.get(self.at) == Some(&b'=') {
            self.at += 1;
            self.skip_space();
            if self.text.get(self.at) == Some(&b'"') {
                let end = lexer::after_quoted(self.text, self.at)?;
                param = Param { value: Span::new(self.at + 1, end - 1), quoted: true, ..param };
                self.at = end;
            } else {
                param.value = self.take_while(VALUE);
                // `;rport=` occurs in the field: an empty value counts as none.
            }
            self.skip_space();
        }
        Some(param)
    }
}

impl Iterator for Params<'_> {
    type Item = Option<Param>;

    fn next(&mut self) -> Option<Option<Param>> {
        self.skip_space();
        match self.text.get(self.at) {
            None => None,
            Some(b';') => {
                self.at += 1;
                let param = self.next_param();
                if param.is_none() {
                    self.at = self.text.len();
                }
                Some(param)
            }
            Some(_) => {
                self.at = self.text.len();
                Some(None)
            }
        }
    }
}

/// The value of a parameter, by case-insensitive name.
pub(crate) fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let found = Params::new(text, 0)
        .map_while(|p| p)
        .find(|p| p.name.of(text).eq_ignore_ascii_case(name.as_bytes()))?;
    Some(found.value.of(text))
}
