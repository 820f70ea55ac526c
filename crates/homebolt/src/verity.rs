//! dm-verity on the host: the superblock, and the hash tree computed anew from the data.
//!
//! Only what our images use: hash format 1, SHA-256, blocks of 4096 bytes (the kernel's
//! Documentation/admin-guide/device-mapper/verity.rst and cryptsetup's lib/verity/verity.c).

use sha2::{Digest, Sha256};

/// Bytes of a data block and of a block of the tree.
pub const BLOCK: usize = 4096;
const DIGEST: usize = 32;

/// The superblock: the first block after the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    pub data_blocks: u64,
    pub salt: Vec<u8>,
}

/// Why a superblock cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no verity superblock where the data ends")]
    NoSuperblock,
    #[error("the verity superblock has {field} {found}, expected {expected}")]
    Unsupported { field: &'static str, found: String, expected: &'static str },
}

impl Superblock {
    /// Reads the first bytes (512 or more) after the data.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (Some(head), Some(b"verity\0\0")) = (bytes.get(..512), bytes.get(..8)) else {
            return Err(Error::NoSuperblock);
        };
        let number = |at: usize, len: usize| head[at..at + len].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let expect = |field, at, len, value: u64, expected| match number(at, len) {
            found if found == value => Ok(()),
            found => Err(Error::Unsupported { field, found: found.to_string(), expected }),
        };
        expect("version", 8, 4, 1, "1")?;
        expect("hash type", 12, 4, 1, "1")?;
        let algorithm = String::from_utf8_lossy(&head[32..64]).trim_end_matches('\0').to_owned();
        if algorithm != "sha256" {
            return Err(Error::Unsupported { field: "algorithm", found: algorithm, expected: "sha256" });
        }
        expect("data block size", 64, 4, 4096, "4096")?;
        expect("hash block size", 68, 4, 4096, "4096")?;
        let salt = number(80, 2) as usize;
        if salt > 256 {
            return Err(Error::Unsupported { field: "salt size", found: salt.to_string(), expected: "at most 256" });
        }
        Ok(Self { data_blocks: number(72, 8), salt: head[88..88 + salt].to_vec() })
    }
}

/// Computes the tree while the data goes by. Memory: 32 bytes for each data block.
#[derive(Debug)]
pub struct Tree {
    salted: Sha256,
    /// The digests of the data blocks, one after the other.
    digests: Vec<u8>,
}

impl Tree {
    pub fn new(salt: &[u8]) -> Self {
        Self { salted: Sha256::new_with_prefix(salt), digests: Vec::new() }
    }

    /// The next data block.
    pub fn push(&mut self, block: &[u8; BLOCK]) {
        self.digests.extend(self.digest(block));
    }

    /// Bytes of the finished tree, without the superblock.
    pub fn size(&self) -> u64 {
        let mut blocks = 0;
        let mut digests = self.digests.len() / DIGEST;
        while digests > 1 {
            digests = digests.div_ceil(BLOCK / DIGEST);
            blocks += digests;
        }
        (blocks * BLOCK) as u64
    }

    /// The root hash, and the tree as it stands on the disk behind the superblock: the highest level first.
    pub fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let mut levels = Vec::new();
        let mut digests = self.digests.clone();
        while digests.len() > DIGEST {
            digests.resize(digests.len().next_multiple_of(BLOCK), 0);
            let (blocks, _) = digests.as_chunks::<BLOCK>();
            let above = blocks.iter().flat_map(|block| self.digest(block)).collect();
            levels.push(std::mem::replace(&mut digests, above));
        }
        levels.reverse();
        (digests, levels.concat())
    }

    fn digest(&self, block: &[u8; BLOCK]) -> [u8; DIGEST] {
        self.salted.clone().chain_update(block).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `veritysetup format --salt=a5..a5` of cryptsetup 2.6.1 made of `blocks` data blocks, the n-th filled with
    /// the byte n modulo 251: the root hash, the blocks of the tree and their SHA-256.
    const MADE_BY_VERITYSETUP: [(u64, &str, usize, &str); 3] = [
        (
            1,
            "e65105adf21ac26da1f2aa9063cf25ffa82eea1a4c3c98282f5d9dda1c566f88",
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            300,
            "8eb55d2cc910e4c57d1d51cd13f368eba20983021c4e4dc4e1a18e45154eb6e0",
            4,
            "a9be2b6d67faf633e7f72807380142b41ded2a15576ee4a9501cd42c9b06ecd0",
        ),
        (
            16385,
            "7f63e08a4deb53d45f9bbfc591c236ce3ff43e56c637735ef021581972f79b30",
            132,
            "7adeb865d9e2d5bcdbabb8cda1b0cd79e779f0e068e7f743ed57f1699e312167",
        ),
    ];

    /// The superblock that veritysetup wrote for 300 blocks.
    fn superblock() -> Vec<u8> {
        let head = "7665726974790000010000000100000011111111222233334444555555555555736861323536000000000000\
            000000000000000000000000000000000000000000100000001000002c010000000000002000000000000000";
        let mut bytes = hex::decode(head).unwrap();
        bytes.resize(120, 0xa5);
        bytes.resize(512, 0);
        bytes
    }

    #[test]
    fn trees_of_no_two_and_three_levels_are_those_of_veritysetup() {
        for (blocks, root, tree_blocks, tree_hash) in MADE_BY_VERITYSETUP {
            let mut tree = Tree::new(&[0xa5; 32]);
            for block in 0..blocks {
                tree.push(&[(block % 251) as u8; BLOCK]);
            }
            assert_eq!(tree.size(), (tree_blocks * BLOCK) as u64, "{blocks} blocks");
            let (found, bytes) = tree.finish();
            assert_eq!(hex::encode(found), root, "{blocks} blocks");
            assert_eq!(bytes.len(), tree_blocks * BLOCK, "{blocks} blocks");
            assert_eq!(hex::encode(Sha256::digest(bytes)), tree_hash, "{blocks} blocks");
        }
    }

    #[test]
    fn a_superblock_of_veritysetup_is_read() {
        let expected = Superblock { data_blocks: 300, salt: vec![0xa5; 32] };
        assert_eq!(Superblock::parse(&superblock()), Ok(expected));
    }

    #[test]
    fn another_algorithm_format_or_block_size_is_named() {
        for (at, byte, field) in
            [(8, 2, "version"), (12, 0, "hash type"), (36, b'1', "algorithm"), (65, 2, "data block size")]
        {
            let mut bytes = superblock();
            bytes[at] = byte;
            assert!(
                matches!(Superblock::parse(&bytes), Err(Error::Unsupported { field: f, .. }) if f == field),
                "{field}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_superblock_are_refused_without_a_panic() {
        assert_eq!(Superblock::parse(b""), Err(Error::NoSuperblock));
        assert_eq!(Superblock::parse(b"verity\0\0"), Err(Error::NoSuperblock));
        assert_eq!(Superblock::parse(&[0; 4096]), Err(Error::NoSuperblock));
        let mut long_salt = superblock();
        long_salt[81] = 0xff;
        assert!(matches!(Superblock::parse(&long_salt), Err(Error::Unsupported { field: "salt size", .. })));
    }
}
