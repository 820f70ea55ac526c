//! What LND takes as bare text, numbers and bytes.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::Error;

/// Bytes that must not reach a log: no `Display`, and `Debug` shows nothing. Erased from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Every use of this is a place to look at.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// The 24 words from which everything on the chain can be found again. No `Display`; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed(Zeroizing<Vec<String>>);

impl Seed {
    pub fn new(words: Vec<String>) -> Self {
        Self(Zeroizing::new(words))
    }

    /// From what a person typed: any white space between the words, any case.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let seed = Self::new(words);
        if seed.0.len() == 24 { Ok(seed) } else { Err(Error::BadSeed(crate::SeedFault::Count)) }
    }

    /// The words themselves. Every use of this is a place to look at.
    pub fn expose(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[seed]")
    }
}

/// A type of so many bytes whose text form is lower-case hexadecimal.
macro_rules! hex_type {
    ($(#[$about:meta])* $name:ident, $length:literal, $kind:literal) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            pub const fn new(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            pub const fn bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Of an answer.
            #[allow(dead_code, reason = "not every type comes as bytes")]
            pub(crate) fn of(action: &'static str, bytes: &[u8]) -> Result<Self, Error> {
                let wrong = |_| Error::Answer { action, what: format!("{} bytes for a {}", bytes.len(), $kind) };
                bytes.try_into().map(Self).map_err(wrong)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| malformed($kind, text))?;
                Ok(Self(bytes))
            }
        }
    };
}

fn malformed(kind: &'static str, text: &str) -> Error {
    Error::Malformed { kind, text: text.chars().take(80).collect() }
}

hex_type!(
    /// The public key by which a node is known.
    NodeId, 33, "public key of a node"
);
hex_type!(
    /// Identifies a payment: SHA-256 of its [`Preimage`].
    Hash, 32, "payment hash"
);
hex_type!(
    /// Proves that a payment arrived. Whoever knows it before can take the payment: `Debug` does not show it.
    Preimage, 32, "preimage"
);

/// `Display` and `Debug` as hexadecimal.
macro_rules! shown_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{self}")
            }
        }
    )*};
}

shown_as_hex!(NodeId, Hash);

impl Preimage {
    pub fn hash(&self) -> Hash {
        use sha2::{Digest, Sha256};
        Hash(Sha256::digest(self.0).into())
    }

    /// As hexadecimal. Every use of this is a place to look at.
    pub fn expose(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[preimage]")
    }
}

/// `pubkey@host:port`: a node and where to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    pub node: NodeId,
    pub host: String,
}

impl FromStr for NodeAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (node, host) = text.trim().split_once('@').ok_or_else(|| malformed("address of a node", text))?;
        let is_host = !host.is_empty() && host.chars().all(|sign| sign.is_ascii_graphic() && sign != '@');
        if !is_host {
            return Err(malformed("address of a node", text));
        }
        Ok(Self { node: node.parse()?, host: host.to_owned() })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.node, self.host)
    }
}

/// The funding output of a channel, `txid:index`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelPoint {
    /// As people read it, which is the reverse of the chain's order.
    txid: [u8; 32],
    index: u32,
}

impl ChannelPoint {
    /// From an answer's bytes, in the chain's order.
    pub(crate) fn of(action: &'static str, txid: &[u8], index: u32) -> Result<Self, Error> {
        let wrong = |_| Error::Answer { action, what: format!("{} bytes for a transaction id", txid.len()) };
        let mut txid: [u8; 32] = txid.try_into().map_err(wrong)?;
        txid.reverse();
        Ok(Self { txid, index })
    }

    pub fn txid(&self) -> String {
        hex::encode(self.txid)
    }

    pub fn index(&self) -> u32 {
        self.index
    }
}

impl FromStr for ChannelPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || malformed("channel (txid:index)", text);
        let (txid, index) = text.trim().split_once(':').ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(txid, &mut bytes).map_err(|_| wrong())?;
        let is_number = !index.is_empty() && index.bytes().all(|digit| digit.is_ascii_digit());
        let index = index.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
        Ok(Self { txid: bytes, index })
    }
}

impl fmt::Display for ChannelPoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.txid(), self.index)
    }
}

/// How much to give for a place in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeRate {
    /// Whatever LND estimates to suffice for confirmation within so many blocks.
    Blocks(u16),
    SatPerVbyte(u32),
}

impl FeeRate {
    /// The two fields of LND's requests, of which one is zero.
    pub(crate) fn fields(self) -> (i32, u64) {
        match self {
            Self::Blocks(blocks) => (i32::from(blocks), 0),
            Self::SatPerVbyte(rate) => (0, u64::from(rate)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let shown =
            format!("{:?}", (Secret::new("hunter2"), Seed::new(vec!["abandon".into()]), Preimage::new([7; 32])));
        assert_eq!(shown, "([secret], [seed], [preimage])");
    }

    #[test]
    fn a_seed_is_24_words_however_they_were_typed() {
        let typed = format!("  Ability\n{}", "able ".repeat(23));
        assert_eq!(Seed::parse(&typed).unwrap().expose()[..2], ["ability", "able"]);
        assert!(matches!(Seed::parse("able able"), Err(Error::BadSeed(crate::SeedFault::Count))));
    }

    #[test]
    fn the_hash_of_a_preimage_is_its_sha256() {
        let zeros = Preimage::new([0; 32]).hash().to_string();
        assert_eq!(zeros, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    }

    #[test]
    fn a_point_of_an_answer_is_turned_around() {
        let mut txid = [0; 32];
        txid[31] = 0xab;
        let point = ChannelPoint::of("test", &txid, 3).unwrap();
        assert_eq!(point.to_string(), format!("ab{}:3", "00".repeat(31)));
        assert!(ChannelPoint::of("test", &txid[1..], 3).is_err());
    }

    proptest! {
        #[test]
        fn points_survive_their_text_form(txid: [u8; 32], index: u32) {
            let point = ChannelPoint { txid, index };
            prop_assert_eq!(point.to_string().parse::<ChannelPoint>().unwrap(), point);
        }

        #[test]
        fn addresses_survive_their_text_form(low: [u8; 32], host in "[a-z0-9.:\\[\\]]{1,60}") {
            let mut node = [2; 33];
            node[1..].copy_from_slice(&low);
            let address = NodeAddress { node: NodeId::new(node), host };
            prop_assert_eq!(address.to_string().parse::<NodeAddress>().unwrap(), address);
        }

        #[test]
        fn no_text_makes_a_parser_fall_over_and_what_is_taken_is_shown_alike(
            text in ".*|[0-9a-f]{64}:[+0-9]{0,12}|[0-9a-f]{62,68}|[0-9a-f]{66}@.*"
        ) {
            if let Ok(point) = text.parse::<ChannelPoint>() {
                prop_assert_eq!(point.txid(), text.trim().split(':').next().unwrap().to_lowercase());
            }
            if let Ok(node) = text.parse::<NodeId>() {
                prop_assert_eq!(node.to_string(), text.trim().to_lowercase());
            }
            let _ = (text.parse::<NodeAddress>(), text.parse::<Hash>(), Seed::parse(&text));
        }
    }
}
