//! Guessing what somebody meant to write.

/// The candidate nearest to `word`, where it is near enough to be meant.
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
    fn a_slip_of_the_finger_is_understood_and_nonsense_is_not() {
        let keys = ["sip.domain", "sip.digest", "http.listen"];
        assert_eq!(nearest("sip.domian", keys.into_iter()), Some("sip.domain"));
        assert_eq!(nearest("sip.digets", keys.into_iter()), Some("sip.digest"));
        assert_eq!(nearest("zzzzzzzzzz", keys.into_iter()), None);
    }
}
