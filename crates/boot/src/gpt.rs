//! Reads a GUID partition table: the primary one, or the backup at the disk's end when the primary is broken.
//!
//! The field offsets are those of the UEFI specification 2.10, section 5.3.

use std::{
    fmt,
    io::{self, Read, Seek, SeekFrom},
    str::FromStr,
};

/// Partition type of the box's data partition, this product's own.
pub const DATA_TYPE: &str = "373e0d83-6967-4e61-b68a-59c0a89aa865";

/// No table that people make has entries larger than this, bytes together.
const MAX_ENTRIES: u64 = 1024 * 1024;

/// A GUID in the byte order of the disk (the first three fields little-endian).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid([u8; 16]);

/// Which byte on disk each pair of digits of the text form stands for.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl fmt::Display for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, &byte) in ORDER.iter().enumerate() {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(formatter, "{dash}{:02x}", self.0[byte])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// A text that is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GUID")]
pub struct NotAGuid(String);

impl FromStr for Guid {
    type Err = NotAGuid;

    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        let wrong = || NotAGuid(text.to_owned());
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        let digits: Vec<u32> = text.chars().filter(|&char| char != '-').filter_map(|char| char.to_digit(16)).collect();
        if text.len() != 36 || dashes != [8, 13, 18, 23] || digits.len() != 32 {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (pair, &byte) in digits.chunks_exact(2).zip(&ORDER) {
            bytes[byte] = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// One used entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Counted from 1, as in the device's name.
    pub number: u32,
    pub kind: Guid,
    pub guid: Guid,
    /// First and last sector, in logical sectors of the disk, both included.
    pub first: u64,
    pub last: u64,
    pub label: String,
}

/// The partitions of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub partitions: Vec<Partition>,
    /// The primary table was broken.
    pub from_backup: bool,
}

/// Why there is no table to use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no GUID partition table")]
    None,
    #[error("the partition table is damaged: {0}")]
    Damaged(&'static str),
    #[error("the partition table cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Reads the table of a disk with `sectors` logical sectors of `size` bytes each.
pub fn read(disk: &mut (impl Read + Seek), size: u64, sectors: u64) -> Result<Table, Error> {
    let primary = match read_at(disk, size, sectors, 1) {
        Ok(partitions) => return Ok(Table { partitions, from_backup: false }),
        Err(error) => error,
    };
    match read_at(disk, size, sectors, sectors.saturating_sub(1)) {
        Ok(partitions) => Ok(Table { partitions, from_backup: true }),
        // What is wrong with the primary says more than that there is no backup.
        Err(_) => Err(primary),
    }
}

fn read_at(disk: &mut (impl Read + Seek), size: u64, sectors: u64, at: u64) -> Result<Vec<Partition>, Error> {
    if !(512..=65536).contains(&size) || at == 0 || at >= sectors {
        return Err(Error::None);
    }
    let header = bytes(disk, size, at, size)?;
    if &header[..8] != b"EFI PART" {
        return Err(Error::None);
    }
    let length = number(&header, 12, 4);
    if !(92..=size).contains(&length) {
        return Err(Error::Damaged("its header has an impossible length"));
    }
    let mut checked = header[..usize::try_from(length).unwrap_or(92)].to_vec();
    checked[16..20].fill(0);
    if u64::from(crc32(&checked)) != number(&header, 16, 4) {
        return Err(Error::Damaged("the checksum of its header is wrong"));
    }
    if number(&header, 24, 8) != at {
        return Err(Error::Damaged("its header belongs to another place"));
    }
    let (start, count, entry) = (number(&header, 72, 8), number(&header, 80, 4), number(&header, 84, 4));
    let total = count.saturating_mul(entry);
    if entry < 128 || entry % 8 != 0 || total == 0 || total > MAX_ENTRIES || start >= sectors {
        return Err(Error::Damaged("its list of partitions has an impossible size"));
    }
    let entries = bytes(disk, size, start, total)?;
    if u64::from(crc32(&entries)) != number(&header, 88, 4) {
        return Err(Error::Damaged("the checksum of its list of partitions is wrong"));
    }
    let used = (1..).zip(entries.chunks_exact(usize::try_from(entry).unwrap_or(128)));
    used.filter(|(_, entry)| entry[..16] != [0; 16]).map(|(number, entry)| partition(number, entry, sectors)).collect()
}

fn partition(place: u32, entry: &[u8], sectors: u64) -> Result<Partition, Error> {
    let guid = |at: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&entry[at..at + 16]);
        Guid(bytes)
    };
    let (first, last) = (number(entry, 32, 8), number(entry, 40, 8));
    if first > last || last >= sectors {
        return Err(Error::Damaged("a partition lies outside of the disk"));
    }
    let units = entry[56..128].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let label = char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Ok(Partition { number: place, kind: guid(0), guid: guid(16), first, last, label })
}

fn bytes(disk: &mut (impl Read + Seek), size: u64, sector: u64, length: u64) -> Result<Vec<u8>, Error> {
    let start = sector.checked_mul(size).ok_or(Error::Damaged("it points outside of the disk"))?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    disk.seek(SeekFrom::Start(start))?;
    disk.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A little-endian number of `length` bytes, at most 8.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// CRC-32 as of IEEE 802.3. Bit by bit: it runs over 16 KiB, once.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 512;
    const ESP: &str = "11111111-2222-3333-4444-555555555555";

    /// A disk with the partitions (label, first, last), primary and backup table.
    fn disk(size: u64, partitions: &[(&str, u64, u64)]) -> Vec<u8> {
        let size_ = usize::try_from(size).unwrap();
        let mut entries = vec![0; 128 * 128];
        for (entry, (label, first, last)) in entries.chunks_exact_mut(128).zip(partitions) {
            entry[..16].copy_from_slice(&DATA_TYPE.parse::<Guid>().unwrap().0);
            entry[16..32].copy_from_slice(&ESP.parse::<Guid>().unwrap().0);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (unit, place) in label.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        let blocks = (entries.len() as u64).div_ceil(size);
        let mut disk = vec![0; usize::try_from(SECTORS * size).unwrap()];
        for (at, start) in [(1, 2), (SECTORS - 1, SECTORS - 1 - blocks)] {
            let mut header = vec![0; 92];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&[0, 0, 1, 0]);
            header[12..16].copy_from_slice(&92_u32.to_le_bytes());
            header[24..32].copy_from_slice(&u64::to_le_bytes(at));
            header[72..80].copy_from_slice(&u64::to_le_bytes(start));
            header[80..84].copy_from_slice(&128_u32.to_le_bytes());
            header[84..88].copy_from_slice(&128_u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
            let crc = crc32(&header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            let at = usize::try_from(at).unwrap() * size_;
            disk[at..at + 92].copy_from_slice(&header);
            let start = usize::try_from(start).unwrap() * size_;
            disk[start..start + entries.len()].copy_from_slice(&entries);
        }
        disk
    }

    fn parse(disk: &[u8], size: u64) -> Result<Table, Error> {
        read(&mut Cursor::new(disk), size, disk.len() as u64 / size)
    }

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_guid_survives_the_way_through_its_text() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        let guid: Guid = text.to_uppercase().parse().unwrap();
        assert_eq!(guid.to_string(), text);
        assert_eq!(guid.0[..4], [0x28, 0x73, 0x2a, 0xc1]);
        for bad in ["", "c12a7328", "c12a7328-f81f-11d2-ba4b-00a0c93ec93g", "c12a7328f81f-11d2-ba4b-00a0c93ec93b-"] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn partitions_are_read_on_disks_of_both_sector_sizes() {
        for size in [512, 4096] {
            let table = parse(&disk(size, &[("esp", 40, 50), ("größe", 51, 60)]), size).unwrap();
            assert!(!table.from_backup);
            let found: Vec<_> =
                table.partitions.iter().map(|p| (p.number, p.label.as_str(), p.first, p.last)).collect();
            assert_eq!(found, [(1, "esp", 40, 50), (2, "größe", 51, 60)]);
            assert_eq!(table.partitions[0].guid.to_string(), ESP);
            assert_eq!(table.partitions[0].kind.to_string(), DATA_TYPE);
        }
    }

    #[test]
    fn the_backup_is_used_when_the_primary_is_broken() {
        for broken in [512, 512 + 16, 512 + 60, 1024 + 40] {
            let mut disk = disk(512, &[("data", 40, 50)]);
            disk[broken] ^= 0xff;
            let table = parse(&disk, 512).unwrap();
            assert!(table.from_backup, "byte {broken}");
            assert_eq!(table.partitions[0].label, "data");
        }
    }

    #[test]
    fn a_table_broken_twice_is_an_error_that_names_the_first_fault() {
        let mut disk = disk(512, &[("data", 40, 50)]);
        disk[1024 + 40] ^= 1;
        let end = disk.len();
        disk[end - 512 + 20] ^= 1;
        assert_eq!(
            parse(&disk, 512).unwrap_err().to_string(),
            "the partition table is damaged: the checksum of its list of partitions is wrong"
        );
    }

    #[test]
    fn an_empty_disk_has_no_table() {
        assert!(matches!(parse(&[0; 4096], 512), Err(Error::None)));
        assert!(matches!(parse(&[], 512), Err(Error::None)));
    }

    #[test]
    fn a_partition_beyond_the_disk_is_refused() {
        assert!(matches!(parse(&disk(512, &[("data", 40, SECTORS)]), 512), Err(Error::Damaged(_))));
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in prop::collection::vec(any::<u8>(), 512), at in 0_u64..4) {
            let mut disk = disk(512, &[]);
            disk[512..1024].copy_from_slice(&header);
            disk[512..520].copy_from_slice(b"EFI PART");
            // With a right checksum the fields behind it are looked at, too.
            disk[524..528].copy_from_slice(&92_u32.to_le_bytes());
            disk[536..544].copy_from_slice(&at.to_le_bytes());
            disk[528..532].fill(0);
            let crc = crc32(&disk[512..512 + 92]);
            disk[528..532].copy_from_slice(&crc.to_le_bytes());
            let _ = parse(&disk, 512);
        }
    }
}
