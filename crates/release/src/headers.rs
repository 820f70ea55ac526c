//! Headers of a chain that a system brings along, so that a new node with neutrino need not ask others for all of them.
//!
//! Two files in the form that LND imports (its `docs/neutrino_headers_import.md`, since 0.21): ten bytes, then headers
//! without a gap.
//! ```text
//!  0..4  the network's magic bytes     4  version, 0     5  0 block headers, 1 filter headers     6..10  first height
//! ```
//! LND checks every header by itself (work, order, the chain they make) before it takes one. What is checked here is that it
//! would not refuse to start: it does, for good, with headers of another network.

/// Where an image has them. Below it: [`Kind::file_name`].
pub const HEADERS_FOLDER: &str = "/usr/share/homebolt/headers";

/// Bytes before the first header.
pub const PREFIX: usize = 10;

/// Networks by LND's names and the magic bytes of their messages.
const NETWORKS: [(&str, [u8; 4]); 6] = [
    ("mainnet", [0xf9, 0xbe, 0xb4, 0xd9]),
    ("testnet3", [0x0b, 0x11, 0x09, 0x07]),
    ("testnet4", [0x1c, 0x16, 0x3f, 0x28]),
    ("signet", [0x0a, 0x03, 0xcf, 0x40]),
    ("regtest", [0xfa, 0xbf, 0xb5, 0xda]),
    ("simnet", [0x16, 0x1c, 0x14, 0x12]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Block,
    /// Of compact block filters (BIP 157).
    Filter,
}

impl Kind {
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Block => "block_headers.bin",
            Self::Filter => "filter_headers.bin",
        }
    }

    /// Of one header, bytes.
    pub fn size(self) -> u64 {
        match self {
            Self::Block => 80,
            Self::Filter => 32,
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Block => 0,
            Self::Filter => 1,
        }
    }
}

/// What is in both files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// `mainnet`, `testnet3`, `testnet4`, `signet`, `regtest` or `simnet`.
    pub network: &'static str,
    /// Height of the last header.
    pub last: u32,
}

/// Why files are no headers that LND would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadersFault {
    #[error("it ends before its first header")]
    Short,
    #[error("it begins with the magic bytes {0:02x?}, which are of no network that LND knows")]
    Network([u8; 4]),
    #[error("it is of version {0}, and only version 0 is known")]
    Version(u8),
    #[error("it says that its headers are of kind {0}, and {1} is wanted")]
    Kind(u8, u8),
    #[error("it begins at height {0}: a new node has no header before that, so it must begin at 0")]
    Start(u32),
    #[error("{0} bytes of headers are no whole number of them")]
    Ragged(u64),
    #[error("the block headers are of {} up to {}, the filter headers of {} up to {}", .0.network, .0.last, .1.network, .1.last)]
    Differ(Headers, Headers),
}

/// Reads the first bytes of one file that is `length` bytes long.
fn one(kind: Kind, prefix: &[u8], length: u64) -> Result<Headers, HeadersFault> {
    let [a, b, c, d, version, is, start @ ..] = *prefix.first_chunk::<PREFIX>().ok_or(HeadersFault::Short)?;
    let magic = [a, b, c, d];
    let network = NETWORKS.iter().find(|(_, known)| *known == magic).map(|(name, _)| *name);
    let network = network.ok_or(HeadersFault::Network(magic))?;
    if version != 0 {
        return Err(HeadersFault::Version(version));
    }
    if is != kind.number() {
        return Err(HeadersFault::Kind(is, kind.number()));
    }
    match u32::from_le_bytes(start) {
        0 => {}
        height => return Err(HeadersFault::Start(height)),
    }
    let bytes = length.saturating_sub(PREFIX as u64);
    if !bytes.is_multiple_of(kind.size()) {
        return Err(HeadersFault::Ragged(bytes));
    }
    let count = u32::try_from(bytes / kind.size()).map_err(|_| HeadersFault::Ragged(bytes))?;
    Ok(Headers { network, last: count.checked_sub(1).ok_or(HeadersFault::Short)? })
}

impl Headers {
    /// Reads both files by their first [`PREFIX`] bytes and their lengths. An error names the file it is of.
    pub fn read(block: (&[u8], u64), filter: (&[u8], u64)) -> Result<Self, (Kind, HeadersFault)> {
        let of = |kind, (prefix, length): (&[u8], u64)| one(kind, prefix, length).map_err(|fault| (kind, fault));
        let (blocks, filters) = (of(Kind::Block, block)?, of(Kind::Filter, filter)?);
        if blocks != filters {
            return Err((Kind::Filter, HeadersFault::Differ(blocks, filters)));
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(magic: [u8; 4], version: u8, kind: u8, start: u32) -> Vec<u8> {
        [&magic[..], &[version, kind], &start.to_le_bytes()].concat()
    }

    const MAINNET: [u8; 4] = [0xf9, 0xbe, 0xb4, 0xd9];

    fn read(block: &[u8], filter: &[u8], count: u64) -> Result<Headers, (Kind, HeadersFault)> {
        Headers::read((block, 10 + 80 * count), (filter, 10 + 32 * count))
    }

    #[test]
    fn a_pair_of_files_tells_its_network_and_its_last_height() {
        let (block, filter) = (prefix(MAINNET, 0, 0, 0), prefix(MAINNET, 0, 1, 0));
        assert_eq!(read(&block, &filter, 900_000).unwrap(), Headers { network: "mainnet", last: 899_999 });
        let simnet = [0x16, 0x1c, 0x14, 0x12];
        let told = read(&prefix(simnet, 0, 0, 0), &prefix(simnet, 0, 1, 0), 1).unwrap();
        assert_eq!(told, Headers { network: "simnet", last: 0 });
    }

    #[test]
    fn what_lnd_would_refuse_is_refused_with_its_reason() {
        let (block, filter) = (prefix(MAINNET, 0, 0, 0), prefix(MAINNET, 0, 1, 0));
        use HeadersFault as F;
        for (bad, fault) in [
            (prefix([1, 2, 3, 4], 0, 0, 0), F::Network([1, 2, 3, 4])),
            (prefix(MAINNET, 1, 0, 0), F::Version(1)),
            (prefix(MAINNET, 0, 1, 0), F::Kind(1, 0)),
            (prefix(MAINNET, 0, 0, 100_000), F::Start(100_000)),
            (vec![0; 9], F::Short),
        ] {
            assert_eq!(read(&bad, &filter, 10), Err((Kind::Block, fault)));
        }
        assert_eq!(read(&block, &filter, 0), Err((Kind::Block, F::Short)), "no header");
        assert_eq!(Headers::read((&block, 95), (&filter, 42)), Err((Kind::Block, F::Ragged(85))));
        let longer = Headers::read((&block, 10 + 160), (&filter, 10 + 32));
        assert!(matches!(longer, Err((Kind::Filter, F::Differ(..)))), "{longer:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(
            block in prop::collection::vec(any::<u8>(), 0..20),
            filter in prop::collection::vec(any::<u8>(), 0..20),
            lengths in any::<(u64, u64)>(),
        ) {
            let _ = Headers::read((&block, lengths.0), (&filter, lengths.1));
        }
    }
}
