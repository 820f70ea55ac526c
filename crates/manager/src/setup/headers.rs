//! Block headers that the system brings along (`homebolt build --headers`). A new node with neutrino takes them at its
//! first start, and asks others only for what came later.
//!
//! LND looks at them again at every start that names them, and does not start at all if they differ from what it has. So
//! they are named until the node has run once: [`super::follow`] takes the choice back then.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use release::{HEADERS_PREFIX, Headers, HeadersKind};

use super::bitcoin::{Backend, Bitcoin, Chain};

/// What the system brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shipped {
    pub(crate) chain: Chain,
    /// Height of the last header.
    pub(crate) last: u32,
    pub(crate) block: PathBuf,
    pub(crate) filter: PathBuf,
}

impl Shipped {
    /// What is in the folder; most systems bring none.
    pub(crate) fn find(folder: &Path) -> Option<Self> {
        let (block, filter) =
            (folder.join(HeadersKind::Block.file_name()), folder.join(HeadersKind::Filter.file_name()));
        let (block_head, filter_head) = (head(&block)?, head(&filter)?);
        let told = Headers::read((&block_head.0, block_head.1), (&filter_head.0, filter_head.1));
        let headers = match told {
            Ok(headers) => headers,
            Err((kind, fault)) => {
                // The builder has looked at them: a damaged system is told elsewhere, and neutrino works without.
                tracing::warn!(file = kind.file_name(), %fault, "the headers of the system are not used");
                return None;
            }
        };
        Some(Self { chain: Chain::from_name(headers.network)?, last: headers.last, block, filter })
    }

    /// Whether this choice takes them.
    pub(crate) fn serves(&self, bitcoin: &Bitcoin) -> bool {
        bitcoin.chain == self.chain && matches!(bitcoin.backend, Backend::Neutrino { headers: true, .. })
    }
}

fn head(path: &Path) -> Option<([u8; HEADERS_PREFIX], u64)> {
    let mut file = File::open(path).ok()?;
    let mut head = [0; HEADERS_PREFIX];
    file.read_exact(&mut head).ok()?;
    Some((head, file.metadata().ok()?.len()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{super::bitcoin::Database, *};

    /// Headers of so many blocks of simnet, as far as the manager looks at them.
    pub(crate) fn ship(folder: &Path, count: usize) {
        for (kind, number) in [(HeadersKind::Block, 0), (HeadersKind::Filter, 1)] {
            let head = [0x16, 0x1c, 0x14, 0x12, 0, number, 0, 0, 0, 0];
            let bytes = [&head[..], &vec![0; kind.size() as usize * count]].concat();
            std::fs::write(folder.join(kind.file_name()), bytes).unwrap();
        }
    }

    #[test]
    fn headers_serve_neutrino_on_their_own_chain_if_they_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Shipped::find(folder.path()), None);
        ship(folder.path(), 500);
        let shipped = Shipped::find(folder.path()).unwrap();
        assert_eq!((shipped.chain, shipped.last), (Chain::Simnet, 499));
        let chosen = |chain, headers| {
            let backend = Backend::Neutrino { peers: vec![], fee_url: String::new(), headers };
            shipped.serves(&Bitcoin { chain, backend, database: Database::Sqlite })
        };
        assert!(chosen(Chain::Simnet, true) && !chosen(Chain::Simnet, false) && !chosen(Chain::Mainnet, true));
    }

    #[test]
    fn a_damaged_or_half_pair_is_none() {
        let folder = tempfile::tempdir().unwrap();
        ship(folder.path(), 5);
        std::fs::write(folder.path().join("block_headers.bin"), [0; 90]).unwrap();
        assert_eq!(Shipped::find(folder.path()), None);
        ship(folder.path(), 5);
        std::fs::remove_file(folder.path().join("filter_headers.bin")).unwrap();
        assert_eq!(Shipped::find(folder.path()), None);
    }
}
