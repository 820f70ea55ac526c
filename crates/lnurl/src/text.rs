//! Strangers' words, fit for a page.

/// Printable text of at most `limit` characters, in one line unless `lines`. Signs that turn the direction of writing,
/// by which a text could show itself as another one, are left out.
pub(crate) fn cleaned(text: &str, limit: usize, lines: bool) -> String {
    let turns = |char: char| matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}');
    let plain = text.chars().filter(|char| !turns(*char)).map(|char| match char {
        '\n' if lines => '\n',
        char if char.is_control() => ' ',
        char => char,
    });
    plain.take(limit).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signs_that_change_how_a_text_reads_are_left_out() {
        assert_eq!(cleaned("a\u{202e}b\u{200b}c\u{7}\nd", 99, false), "abc  d");
        assert_eq!(cleaned("a\r\nb", 99, true), "a \nb");
        assert_eq!(cleaned("äöü", 2, false), "äö");
    }

    proptest! {
        #[test]
        fn what_is_cleaned_is_short_and_printable(text: String, limit in 0usize..50) {
            let clean = cleaned(&text, limit, false);
            prop_assert!(clean.chars().count() <= limit);
            prop_assert!(!clean.chars().any(char::is_control));
        }
    }
}
