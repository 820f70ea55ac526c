//! The fingerprint of the box's certificate authority as six words.
//!
//! The first 66 bits of the SHA-256 of the certificate (DER), most significant bit first, in groups of 11; each group
//! is the index of a word in the English list of BIP-39. Anyone can check it by hand. 66 bits are enough here: an
//! attacker on the network must find a second key pair for given words (2^65 tries), a collision does not help.

use bip39::Language;
use sha2::{Digest, Sha256};

pub(crate) const WORDS: usize = 6;

pub(crate) fn words(der: &[u8]) -> [&'static str; WORDS] {
    let list = Language::English.word_list();
    let digest = Sha256::digest(der);
    let mut bits = digest.iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1)));
    std::array::from_fn(|_| list[bits.by_ref().take(11).fold(0, |index, bit| index << 1 | bit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_documented_rule() {
        // SHA-256("abc") = ba7816bf 8f01cfea 41...: 10111010011 11000000101 10101111111 00011110000 00011100111 11110101001
        // = 1491, 1541, 1407, 240, 231, 1961 in the BIP-39 list.
        let list = Language::English.word_list();
        assert_eq!(words(b"abc"), [1491, 1541, 1407, 240, 231, 1961].map(|index: usize| list[index]));
        assert_eq!(words(b"abc")[0], "risk");
    }
}
