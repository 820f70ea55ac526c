//! What the console of a box says.

use crate::report::{Outcome, fails};

/// Where a picture begins: the cursor goes home. It may be a new one or the old one again.
const HOME: &str = "\x1b[H";
/// Where it ends: what is left below is erased.
const END: &str = "\x1b[J";
/// Stands in front of each line.
const ERASE_LINE: &str = "\x1b[2K";

/// The newest whole picture of a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Screen(pub(crate) String);

impl Screen {
    /// The last whole picture with a fingerprint in a terminal's bytes.
    pub(crate) fn last(bytes: &str) -> Outcome<Self> {
        let pictures = bytes.rsplit(HOME).filter_map(|picture| picture.split_once(END)).map(|(picture, _)| picture);
        match pictures.into_iter().find(|picture| words_in(picture).len() == 6) {
            Some(picture) => Ok(Self::of(picture)),
            None => fails(format!("the console shows no fingerprint; its end:\n{}", crate::report::tail(bytes, 15))),
        }
    }

    /// A picture without a terminal's codes.
    pub(crate) fn of(picture: &str) -> Self {
        Self(picture.replace(ERASE_LINE, "").replace("\x1b[2J", "").replace('\r', ""))
    }

    /// The claim code, as shown.
    pub(crate) fn code(&self) -> Option<&str> {
        let (_, rest) = self.0.split_once("Claim code:")?;
        rest.split_whitespace().next()
    }

    /// The code for a new password, if one was asked for.
    pub(crate) fn reset_code(&self) -> Option<&str> {
        let (_, rest) = self.0.split_once("New password:")?;
        rest.split_whitespace().next()
    }

    /// The six words of the certificate's fingerprint.
    pub(crate) fn words(&self) -> Vec<String> {
        words_in(&self.0)
    }
}

fn words_in(picture: &str) -> Vec<String> {
    let after = picture.lines().skip_while(|line| !line.contains("Fingerprint of the certificate:")).skip(1).take(2);
    let word = |word: &&str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase());
    // The QR code stands left of the words; its letters are blocks.
    after.flat_map(str::split_whitespace).filter(word).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_words_are_read_beside_the_qr_code() {
        let picture = |begin: &str, claim: &str| {
            let line = |text: &str| format!("\x1b[2K{text}\r\n");
            let words = [
                line(&format!("\u{2588}\u{2588}   {claim}")),
                line("\u{2588} \u{2588}  Fingerprint of the certificate:"),
                line("\u{2588}\u{2580}   one two three"),
                line(" \u{2588}\u{2588}  four five six"),
            ];
            format!("{begin}{}\x1b[J", words.concat())
        };
        let old = picture("\x1b[H\x1b[2J", "Claim code:   AAAA-BBBB");
        let screen = Screen::last(&old).unwrap();
        assert_eq!(screen.code(), Some("AAAA-BBBB"));
        assert_eq!(screen.words(), ["one", "two", "three", "four", "five", "six"]);
        let noisy = format!("{old}[ 61.2] the kernel talks");
        assert_eq!(Screen::last(&noisy).unwrap(), screen);
        let half = &picture("\x1b[H", "")[..60];
        assert_eq!(Screen::last(&format!("{noisy}{half}")).unwrap(), screen, "half a picture does not count");
        let claimed = format!("{noisy}{}", picture("\x1b[H", ""));
        assert_eq!(Screen::last(&claimed).unwrap().code(), None);
        assert!(Screen::last("GRUB").is_err());
    }
}
