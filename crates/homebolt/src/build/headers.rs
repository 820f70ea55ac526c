//! Block headers that the image brings along for a first start with neutrino (`--headers`).

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use release::{HEADERS_PREFIX, HeadersKind};
use sha2::{Digest, Sha256};

use super::{
    cache,
    error::{At, Error},
};

/// Both files, checked.
#[derive(Debug)]
pub struct Headers {
    pub about: release::Headers,
    /// Each with its SHA-256.
    pub files: [(HeadersKind, PathBuf, String); 2],
}

/// Reads the folder that was named. What LND would refuse at its start on the box is refused here.
pub fn read(folder: &Path) -> Result<Headers, Error> {
    let path = |kind: HeadersKind| folder.join(kind.file_name());
    let (block, filter) = (path(HeadersKind::Block), path(HeadersKind::Filter));
    let head = |path: &Path| -> Result<([u8; HEADERS_PREFIX], u64), Error> {
        let mut file = File::open(path).at("open", path)?;
        let length = file.metadata().at("read", path)?.len();
        let mut head = [0; HEADERS_PREFIX];
        file.read_exact(&mut head).at("read", path)?;
        Ok((head, length))
    };
    let ((block_head, block_length), (filter_head, filter_length)) = (head(&block)?, head(&filter)?);
    let about = release::Headers::read((&block_head, block_length), (&filter_head, filter_length));
    let about = about.map_err(|(kind, fault)| Error::File { path: path(kind), why: fault.to_string() })?;
    let reader = File::open(&block).map(|file| BufReader::with_capacity(1 << 20, file)).at("open", &block)?;
    follow(reader, about.last, &block)?;
    let hashed = |kind, path: PathBuf| cache::sha256(&path).map(|sha256| (kind, path, sha256));
    Ok(Headers { about, files: [hashed(HeadersKind::Block, block)?, hashed(HeadersKind::Filter, filter)?] })
}

/// Whether each header names the one before it. The work in them LND weighs itself.
fn follow(mut file: impl Read, last: u32, path: &Path) -> Result<(), Error> {
    file.read_exact(&mut [0; HEADERS_PREFIX]).at("read", path)?;
    let mut before = [0; 32];
    for height in 0..=last {
        let mut header = [0; 80];
        file.read_exact(&mut header).at("read", path)?;
        if header[4..36] != before {
            return Err(Error::File {
                path: path.into(),
                why: format!("block {height} does not follow the one before it"),
            });
        }
        before = Sha256::digest(Sha256::digest(header)).into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// So many blocks of a chain without work, in a folder.
    fn chain(count: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let head = |kind: u8| [&[0x16, 0x1c, 0x14, 0x12, 0, kind][..], &[0; 4]].concat();
        let mut blocks = head(0);
        let mut before = [0_u8; 32];
        for number in 0..count {
            let header = [&[1, 0, 0, 0][..], &before, &[number as u8; 44]].concat();
            before = Sha256::digest(Sha256::digest(&header)).into();
            blocks.extend(header);
        }
        fs::write(folder.path().join("block_headers.bin"), blocks).unwrap();
        fs::write(folder.path().join("filter_headers.bin"), [head(1), vec![7; 32 * count]].concat()).unwrap();
        folder
    }

    #[test]
    fn a_chain_of_headers_is_taken_with_its_hashes() {
        let folder = chain(5);
        let headers = read(folder.path()).unwrap();
        assert_eq!(headers.about, release::Headers { network: "simnet", last: 4 });
        assert_eq!(headers.files[1].2, cache::sha256(&folder.path().join("filter_headers.bin")).unwrap());
    }

    #[test]
    fn a_file_that_is_missing_short_or_broken_is_named() {
        let refused = |break_it: &dyn Fn(&Path), word: &str, name: &str| {
            let folder = chain(5);
            break_it(folder.path());
            let sentence = read(folder.path()).unwrap_err().to_string();
            assert!(sentence.contains(word) && sentence.contains(name), "{sentence}");
        };
        refused(&|folder| fs::remove_file(folder.join("filter_headers.bin")).unwrap(), "open", "filter_headers.bin");
        refused(&|folder| fs::write(folder.join("block_headers.bin"), "short").unwrap(), "read", "block_headers.bin");
        refused(
            &|folder| {
                let path = folder.join("filter_headers.bin");
                let length = fs::metadata(&path).unwrap().len();
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length - 1).unwrap();
            },
            "no whole number",
            "filter_headers.bin",
        );
        refused(
            &|folder| {
                let path = folder.join("block_headers.bin");
                let mut bytes = fs::read(&path).unwrap();
                bytes[10 + 80 * 2 + 50] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            "block 3 does not follow",
            "block_headers.bin",
        );
    }
}
