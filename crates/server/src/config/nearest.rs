//! Suggestions for misspelled names.

/// The candidate with the smallest edit distance to `word`, if it is at most half the longer length.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 2)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_gets_a_suggestion_and_nonsense_does_not() {
        let keys = ["sip.domain", "sip.digest", "http.listen"];
        assert_eq!(nearest("sip.domian", keys.into_iter()), Some("sip.domain"));
        assert_eq!(nearest("sip.digets", keys.into_iter()), Some("sip.digest"));
        assert_eq!(nearest("zzzzzzzzzz", keys.into_iter()), None);
    }
}
