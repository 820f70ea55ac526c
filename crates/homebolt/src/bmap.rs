//! The block map of an image: which blocks must be written, and the SHA-256 of each run of them.
//!
//! The format is bmap 2.0 of <https://github.com/yoctoproject/bmaptool>, so that Debian's `bmaptool copy` can write our
//! images too. It leaves the holes as they are on the disk. Where zeroes carry meaning (a slot image under dm-verity,
//! the tables of a file system) the builder therefore names the region as solid, and it is mapped, zero or not.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range as Bytes;

use sha2::{Digest, Sha256};

/// Bytes in a block.
pub const BLOCK: u64 = 4096;
const ZERO: [u8; BLOCK as usize] = [0; BLOCK as usize];
/// A map of a disk of 1 TB written in every other block would be larger; ours are some kilobytes.
const LARGEST_FILE: usize = 16 << 20;

/// A block map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bmap {
    /// Of the whole image, bytes.
    pub image_size: u64,
    /// Ascending, none touching the next before it.
    pub ranges: Vec<Range>,
}

/// A run of blocks that must be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// First and last block.
    pub first: u64,
    pub last: u64,
    /// Of the run's bytes; a last block that the image's end cuts short counts with the bytes it has.
    pub sha256: [u8; 32],
}

/// Why a block map cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the block map has {0} bytes, more than the {LARGEST_FILE} that make sense")]
    TooLarge(usize),
    #[error("the block map is not text in UTF-8")]
    NotText,
    #[error("the block map is not valid XML")]
    Xml(#[from] roxmltree::Error),
    #[error("the block map has no <{0}>")]
    Missing(&'static str),
    #[error("the block map says {found:?} for {what}; homebolt reads {expected}")]
    Unsupported { what: &'static str, found: String, expected: &'static str },
    #[error("the block map's {what} is not a number: {found:?}")]
    NotANumber { what: &'static str, found: String },
    #[error("the block map is damaged: its own checksum does not match")]
    Checksum,
    #[error("the block map contradicts itself: {0}")]
    Contradiction(String),
    #[error("the block map's range {0} has no checksum of 64 hexadecimal digits")]
    NoRangeChecksum(String),
}

impl Range {
    /// Where in the image the run lies; `image_size` cuts the last block.
    pub fn bytes(&self, image_size: u64) -> Bytes<u64> {
        self.first * BLOCK..((self.last + 1) * BLOCK).min(image_size)
    }
}

impl Bmap {
    /// Bytes of the image that must be written.
    pub fn mapped_bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.bytes(self.image_size)).map(|bytes| bytes.end - bytes.start).sum()
    }

    /// The map of everything `image` yields until its end.
    pub fn of(mut image: impl Read, solid: Vec<Bytes<u64>>) -> io::Result<Self> {
        let mut mapper = Mapper::new(solid);
        io::copy(&mut image, &mut mapper)?;
        Ok(mapper.finish())
    }

    /// The XML file, with its own checksum filled in. The same map gives the same bytes.
    pub fn to_xml(&self) -> String {
        let blank = "0".repeat(64);
        let text = self.xml_with(&blank);
        self.xml_with(&hex::encode(Sha256::digest(text)))
    }

    fn xml_with(&self, checksum: &str) -> String {
        let blocks = self.image_size.div_ceil(BLOCK);
        let mapped: u64 = self.ranges.iter().map(|range| range.last - range.first + 1).sum();
        let mut ranges = String::new();
        for Range { first, last, sha256 } in &self.ranges {
            let run = if first == last { first.to_string() } else { format!("{first}-{last}") };
            ranges.push_str(&format!("        <Range chksum=\"{}\"> {run} </Range>\n", hex::encode(sha256)));
        }
        format!(
            "<?xml version=\"1.0\" ?>\n\
             <!-- Block map of a disk image: only the blocks named here need to be written. -->\n\
             <bmap version=\"2.0\">\n    \
                 <ImageSize> {size} </ImageSize>\n    \
                 <BlockSize> {BLOCK} </BlockSize>\n    \
                 <BlocksCount> {blocks} </BlocksCount>\n    \
                 <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
                 <ChecksumType> sha256 </ChecksumType>\n    \
                 <!-- Of this file, with 64 zeroes in this place. -->\n    \
                 <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    \
                 <BlockMap>\n{ranges}    </BlockMap>\n\
             </bmap>\n",
            size = self.image_size
        )
    }

    /// Reads a block map of format 2 with blocks of 4096 bytes and SHA-256, ours or bmaptool's, and checks that it
    /// does not contradict itself.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        if file.len() > LARGEST_FILE {
            return Err(Error::TooLarge(file.len()));
        }
        let text = std::str::from_utf8(file).map_err(|_| Error::NotText)?;
        let document = roxmltree::Document::parse(text)?;
        let root = document.root_element();
        let version = root.attribute("version").unwrap_or_default();
        if root.tag_name().name() != "bmap" || !version.starts_with("2.") {
            let found = format!("<{} version={version:?}>", root.tag_name().name());
            return Err(Error::Unsupported { what: "the format", found, expected: "bmap version 2" });
        }
        expect(root, "ChecksumType", "sha256")?;
        check_own_checksum(text, child(root, "BmapFileChecksum")?)?;
        expect(root, "BlockSize", "4096")?;

        let image_size = number("ImageSize", child(root, "ImageSize")?)?;
        let blocks = number("BlocksCount", child(root, "BlocksCount")?)?;
        if blocks != image_size.div_ceil(BLOCK) {
            return Err(Error::Contradiction(format!("{image_size} bytes are not {blocks} blocks")));
        }
        let map = root.children().find(|node| node.has_tag_name("BlockMap")).ok_or(Error::Missing("BlockMap"))?;
        let mut ranges: Vec<Range> = Vec::new();
        for node in map.children().filter(|node| node.has_tag_name("Range")) {
            let range = parse_range(node)?;
            let free = ranges.last().map_or(0, |previous| previous.last + 1);
            if range.first < free || range.last < range.first || range.last >= blocks {
                let (first, last) = (range.first, range.last);
                return Err(Error::Contradiction(format!("range {first}-{last} is out of order or past the end")));
            }
            ranges.push(range);
        }
        let mapped: u64 = ranges.iter().map(|range| range.last - range.first + 1).sum();
        if mapped != number("MappedBlocksCount", child(root, "MappedBlocksCount")?)? {
            return Err(Error::Contradiction(format!("its ranges hold {mapped} blocks, its head says otherwise")));
        }
        Ok(Self { image_size, ranges })
    }
}

fn child<'a>(root: roxmltree::Node<'a, '_>, name: &'static str) -> Result<&'a str, Error> {
    let node = root.children().find(|node| node.has_tag_name(name)).ok_or(Error::Missing(name))?;
    Ok(node.text().unwrap_or_default().trim())
}

fn expect(root: roxmltree::Node, what: &'static str, expected: &'static str) -> Result<(), Error> {
    let found = child(root, what)?;
    if found == expected { Ok(()) } else { Err(Error::Unsupported { what, found: found.into(), expected }) }
}

fn number(what: &'static str, text: &str) -> Result<u64, Error> {
    text.parse().map_err(|_| Error::NotANumber { what, found: text.chars().take(40).collect() })
}

fn check_own_checksum(text: &str, claimed: &str) -> Result<(), Error> {
    if claimed.len() != 64 || !claimed.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Checksum);
    }
    // Like bmaptool: the first place where the digits stand. A comment that holds them fails the check, no more.
    let blank = text.replacen(claimed, &"0".repeat(64), 1);
    if hex::encode(Sha256::digest(blank)) == claimed { Ok(()) } else { Err(Error::Checksum) }
}

fn parse_range(node: roxmltree::Node) -> Result<Range, Error> {
    let text = node.text().unwrap_or_default().trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number("Range", first.trim())?, number("Range", last.trim())?);
    let mut sha256 = [0; 32];
    hex::decode_to_slice(node.attribute("chksum").unwrap_or_default(), &mut sha256)
        .map_err(|_| Error::NoRangeChecksum(format!("{first}-{last}")))?;
    Ok(Range { first, last, sha256 })
}

/// Makes the map of what is written to it, for example beside the compressor. Memory: one block.
#[derive(Debug)]
pub struct Mapper {
    /// By their start; those that lie behind are dropped.
    solid: VecDeque<Bytes<u64>>,
    /// The block that is not full yet.
    partial: Vec<u8>,
    /// Number of the next block.
    block: u64,
    size: u64,
    open: Option<(u64, Sha256)>,
    ranges: Vec<Range>,
}

impl Mapper {
    /// `solid`: byte regions of the image that are mapped even where they are zero.
    pub fn new(mut solid: Vec<Bytes<u64>>) -> Self {
        solid.sort_unstable_by_key(|bytes| bytes.start);
        let partial = Vec::with_capacity(BLOCK as usize);
        Self { solid: solid.into(), partial, block: 0, size: 0, open: None, ranges: Vec::new() }
    }

    /// The map, once all of the image has been written.
    pub fn finish(mut self) -> Bmap {
        if !self.partial.is_empty() {
            let block = std::mem::take(&mut self.partial);
            self.take(&block);
        }
        self.close();
        Bmap { image_size: self.size, ranges: self.ranges }
    }

    /// One block, or the image's last bytes.
    fn take(&mut self, block: &[u8]) {
        let (start, end) = (self.block * BLOCK, self.block * BLOCK + block.len() as u64);
        while self.solid.front().is_some_and(|solid| solid.end <= start) {
            self.solid.pop_front();
        }
        let solid = self.solid.iter().take_while(|solid| solid.start < end).any(|solid| start < solid.end);
        // A comparison with a constant is a memcmp: quick even in a debug build.
        if !solid && block == &ZERO[..block.len()] {
            self.close();
        } else {
            self.open.get_or_insert_with(|| (self.block, Sha256::new())).1.update(block);
        }
        self.block += 1;
    }

    fn close(&mut self) {
        if let Some((first, hash)) = self.open.take() {
            self.ranges.push(Range { first, last: self.block - 1, sha256: hash.finalize().into() });
        }
    }
}

impl Write for Mapper {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.size += data.len() as u64;
        let mut rest = data;
        if !self.partial.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK as usize - self.partial.len()));
            self.partial.extend_from_slice(head);
            rest = tail;
            if self.partial.len() < BLOCK as usize {
                return Ok(data.len());
            }
            let block = std::mem::take(&mut self.partial);
            self.take(&block);
        }
        let (blocks, tail) = rest.as_chunks::<{ BLOCK as usize }>();
        for block in blocks {
            self.take(block);
        }
        self.partial.extend_from_slice(tail);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Blocks 1, 2 and 5 hold data, and 100 bytes of a seventh block.
    fn image() -> Vec<u8> {
        let mut image = vec![0; 6 * 4096 + 100];
        for byte in [4096, 2 * 4096 + 4095, 5 * 4096, 6 * 4096 + 99] {
            image[byte] = 7;
        }
        image
    }

    fn sha(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// `xml` with a checksum that fits again.
    fn resealed(xml: &str) -> String {
        let at = xml.find("<BmapFileChecksum> ").unwrap() + "<BmapFileChecksum> ".len();
        let blank = format!("{}{}{}", &xml[..at], "0".repeat(64), &xml[at + 64..]);
        format!("{}{}{}", &xml[..at], hex::encode(sha(blank.as_bytes())), &xml[at + 64..])
    }

    #[test]
    fn runs_of_data_are_mapped_with_their_checksums_and_zero_blocks_are_holes() {
        let image = image();
        let map = Bmap::of(&image[..], vec![]).unwrap();
        let expected = vec![
            Range { first: 1, last: 2, sha256: sha(&image[4096..3 * 4096]) },
            Range { first: 5, last: 6, sha256: sha(&image[5 * 4096..]) },
        ];
        assert_eq!(map, Bmap { image_size: 6 * 4096 + 100, ranges: expected });
        assert_eq!(map.mapped_bytes(), 3 * 4096 + 100);
    }

    #[test]
    fn a_solid_region_is_mapped_although_it_is_zero() {
        let solid = vec![0..0, 3 * 4096 + 1..4 * 4096];
        let map = Bmap::of(&image()[..], solid).unwrap();
        assert_eq!(map.ranges.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>(), [(1, 3), (5, 6)]);
    }

    #[test]
    fn an_empty_image_has_an_empty_map_that_reads_back() {
        let map = Bmap::of(&b""[..], vec![]).unwrap();
        assert_eq!(Bmap::parse(map.to_xml().as_bytes()).unwrap(), map);
    }

    #[test]
    fn a_map_made_by_bmaptool_is_read() {
        let map = Bmap::parse(include_bytes!("../tests/bmaptool-3.6.bmap")).unwrap();
        assert_eq!(map.image_size, 1 << 20);
        assert_eq!(map.ranges.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>(), [(5, 7), (20, 20)]);
        assert_eq!(hex::encode(map.ranges[1].sha256)[..16], *"2e7fe0213f43036e");
    }

    #[test]
    fn a_changed_digit_breaks_the_maps_own_checksum() {
        let xml = Bmap::of(&image()[..], vec![]).unwrap().to_xml();
        let changed = xml.replacen("> 1-2 <", "> 1-3 <", 1);
        assert!(matches!(Bmap::parse(changed.as_bytes()), Err(Error::Checksum)));
    }

    #[test]
    fn ranges_that_overlap_or_leave_the_image_are_refused_even_with_a_right_checksum() {
        let xml = Bmap::of(&image()[..], vec![]).unwrap().to_xml();
        for bad in ["2-1", "1-5", "6-7", "5-18446744073709551615"] {
            let changed = resealed(&xml.replacen("> 1-2 <", &format!("> {bad} <"), 1));
            assert!(matches!(Bmap::parse(changed.as_bytes()), Err(Error::Contradiction(_))), "{bad}");
        }
        let untouched = resealed(&xml);
        assert_eq!(untouched, xml);
    }

    #[test]
    fn another_block_size_or_version_is_named() {
        let xml = Bmap::of(&image()[..], vec![]).unwrap().to_xml();
        for (from, to) in [("> 4096 <", "> 512 <"), ("version=\"2.0\"", "version=\"1.3\"")] {
            let error = Bmap::parse(resealed(&xml.replacen(from, to, 1)).as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Bmap::parse(&bytes);
        }

        #[test]
        fn a_map_damaged_anywhere_never_panics_and_is_never_taken_for_the_original(
            at in 0usize..1000, byte in any::<u8>()
        ) {
            let map = Bmap::of(&image()[..], vec![]).unwrap();
            let mut xml = map.to_xml().into_bytes();
            let at = at % xml.len();
            prop_assume!(xml[at] != byte);
            xml[at] = byte;
            prop_assert!(Bmap::parse(&xml).is_err());
        }

        #[test]
        fn resealed_damage_never_panics(at in 0usize..1000, text in "[0-9<>/\\- a-z]{0,24}") {
            let mut xml = Bmap::of(&image()[..], vec![]).unwrap().to_xml();
            let at = at % xml.len();
            xml.insert_str(at, &text);
            if xml.contains("<BmapFileChecksum> ") {
                let _ = Bmap::parse(resealed(&xml).as_bytes());
            }
        }

        #[test]
        fn the_map_is_the_same_however_the_image_arrives_and_survives_its_xml(
            blocks in proptest::collection::vec(any::<bool>(), 0..40), tail in 0usize..4096, step in 1usize..9000
        ) {
            let mut image: Vec<u8> = blocks.iter().flat_map(|full| [u8::from(*full); 4096]).collect();
            image.extend(vec![1; tail]);
            let mut mapper = Mapper::new(vec![]);
            for piece in image.chunks(step) {
                mapper.write_all(piece).unwrap();
            }
            let map = mapper.finish();
            prop_assert_eq!(&map, &Bmap::of(&image[..], vec![]).unwrap());
            prop_assert_eq!(&map, &Bmap::parse(map.to_xml().as_bytes()).unwrap());
            let mut copy = vec![0; image.len()];
            for range in &map.ranges {
                let bytes = range.bytes(map.image_size);
                let bytes = bytes.start as usize..bytes.end as usize;
                prop_assert_eq!(sha(&image[bytes.clone()]), range.sha256);
                copy[bytes.clone()].copy_from_slice(&image[bytes]);
            }
            prop_assert_eq!(copy, image);
        }
    }
}
