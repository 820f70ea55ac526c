//! Finds a file in a FAT32 file system: where its first sector is, so that it can be read and written in place without the
//! file system being mounted. A mount writes by itself (that it is mounted, dates of files); a write in place does not.

use std::io::{self, Read, Seek, SeekFrom};

/// Why the file is not found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no FAT32 file system")]
    None,
    #[error("the FAT file system is damaged: {0}")]
    Damaged(&'static str),
    #[error("there is no {0} in the FAT file system")]
    NoFile(String),
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// A folder with more clusters than this is none of ours, or goes in circles.
const LONGEST: usize = 256;

/// An entry of a folder, bytes.
const ENTRY: usize = 32;

struct Fat<'a, R> {
    disk: &'a mut R,
    /// Where it begins, bytes.
    start: u64,
    sector: u64,
    cluster: u64,
    /// First sector of the table.
    table: u64,
    /// First sector of the clusters.
    data: u64,
}

/// Where the content of a file begins, bytes from the beginning of `disk`, and how long it is. The file system begins at
/// `start`. `path` has short names without their ending, in capitals.
pub fn find(disk: &mut (impl Read + Seek), start: u64, path: &[&str]) -> Result<(u64, u64), Error> {
    let mut head = [0; 512];
    disk.seek(SeekFrom::Start(start))?;
    disk.read_exact(&mut head)?;
    if head[510..] != [0x55, 0xaa] || &head[82..87] != b"FAT32" {
        return Err(Error::None);
    }
    let (sector, per_cluster) = (u64::from(small(&head, 11)), u64::from(head[13]));
    let (reserved, tables, length) = (u64::from(small(&head, 14)), u64::from(head[16]), u64::from(large(&head, 36)));
    if ![512, 1024, 2048, 4096].contains(&sector) || !per_cluster.is_power_of_two() || reserved == 0 {
        return Err(Error::Damaged("its sectors have impossible sizes"));
    }
    let cluster = sector * per_cluster;
    let mut fat = Fat { disk, start, sector, cluster, table: reserved, data: reserved + tables * length };
    let mut at = (large(&head, 44), 0);
    for name in path {
        at = fat.entry(at.0, name)?.ok_or_else(|| Error::NoFile(path.join("/")))?;
    }
    Ok((fat.place(at.0)?, at.1.into()))
}

impl<R: Read + Seek> Fat<'_, R> {
    /// First cluster and length of the entry with that name.
    fn entry(&mut self, folder: u32, name: &str) -> Result<Option<(u32, u32)>, Error> {
        let mut wanted = [b' '; 11];
        for (place, byte) in wanted.iter_mut().zip(name.bytes()) {
            *place = byte;
        }
        let mut cluster = folder;
        let mut content = vec![0; usize::try_from(self.cluster).unwrap_or(512)];
        for _ in 0..LONGEST {
            let place = self.place(cluster)?;
            self.read(place, &mut content)?;
            for entry in content.chunks_exact(ENTRY) {
                match entry[0] {
                    0 => return Ok(None),
                    // 0x08 marks labels and parts of long names.
                    _ if entry[..11] == wanted && entry[11] & 0x08 == 0 => {
                        let first = u32::from(small(entry, 20)) << 16 | u32::from(small(entry, 26));
                        return Ok(Some((first, large(entry, 28))));
                    }
                    _ => {}
                }
            }
            let mut next = [0; 4];
            self.read(self.start + self.table * self.sector + u64::from(cluster) * 4, &mut next)?;
            cluster = u32::from_le_bytes(next) & 0x0fff_ffff;
            if cluster >= 0x0fff_fff8 {
                return Ok(None);
            }
        }
        Err(Error::Damaged("a folder has no end"))
    }

    fn place(&self, cluster: u32) -> Result<u64, Error> {
        let number = u64::from(cluster).checked_sub(2).ok_or(Error::Damaged("an entry leads nowhere"))?;
        Ok(self.start + self.data * self.sector + number * self.cluster)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Error> {
        self.disk.seek(SeekFrom::Start(at))?;
        Ok(self.disk.read_exact(into)?)
    }
}

fn small(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn large(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Cursor, path::Path, process::Command};

    use proptest::prelude::*;

    use super::*;

    fn run(program: &str, arguments: &[&str], disk: &Path) {
        let mut command = Command::new(program);
        command.args(arguments).arg(disk).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MTOOLSRC", "/dev/null");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A file system with 40 folders, and in the last but one of them the file `BOOTENV`.
    fn made(folder: &Path) -> Vec<u8> {
        let disk = folder.join("fat.img");
        File::create(&disk).unwrap().set_len(40 << 20).unwrap();
        run("mkfs.vfat", &["-F32"], &disk);
        let content = folder.join("content");
        std::fs::write(&content, b"unmistakable").unwrap();
        let disk = disk.to_str().unwrap();
        for number in 0..40 {
            run("mmd", &["-i", disk], Path::new(&format!("::/f{number}")));
        }
        run("mcopy", &["-i", disk, content.to_str().unwrap()], Path::new("::/f38/bootenv"));
        std::fs::read(disk).unwrap()
    }

    #[test]
    fn a_file_is_found_in_a_real_file_system_wherever_that_begins() {
        let folder = tempfile::tempdir().unwrap();
        let disk = made(folder.path());
        let (at, length) = find(&mut Cursor::new(&disk), 0, &["F38", "BOOTENV"]).unwrap();
        let at = usize::try_from(at).unwrap();
        assert_eq!((&disk[at..at + 12], length), (&b"unmistakable"[..], 12));
        let moved = [vec![7; 1 << 20], disk].concat();
        let (later, _) = find(&mut Cursor::new(&moved), 1 << 20, &["F38", "BOOTENV"]).unwrap();
        assert_eq!(later, at as u64 + (1 << 20));
        assert!(matches!(find(&mut Cursor::new(&moved), 1 << 20, &["F38", "BOOT"]), Err(Error::NoFile(_))));
        assert!(matches!(find(&mut Cursor::new(&moved), 1 << 20, &["F40"]), Err(Error::NoFile(_))));
        assert!(matches!(find(&mut Cursor::new(&moved), 0, &["F38"]), Err(Error::None)));
        assert!(matches!(find(&mut Cursor::new(b""), 0, &["F38"]), Err(Error::Read(_))));
    }

    proptest! {
        #[test]
        fn no_head_makes_the_search_panic(mut head in prop::collection::vec(any::<u8>(), 4096), sizes: bool) {
            head[510..512].copy_from_slice(&[0x55, 0xaa]);
            head[82..87].copy_from_slice(b"FAT32");
            if sizes {
                head[11..14].copy_from_slice(&[0, 2, 1]);
            }
            let _ = find(&mut Cursor::new(&head), 0, &["FIRST", "BOOTENV"]);
        }
    }
}
