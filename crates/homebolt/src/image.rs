//! An image file on this computer: what stands beside it, and its disk as a stream.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use release::Manifest;
use sha2::{Digest, Sha256};

/// How much is read, hashed and written at once.
pub const CHUNK: usize = 1 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to open the image {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to read the image {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to read {}: it belongs beside the image; copy it there or name it with --manifest", path.display())]
    NoManifest { path: PathBuf, source: io::Error },
    #[error("{} cannot be used", path.display())]
    Manifest { path: PathBuf, source: release::Error },
    #[error("failed to read {}", path.display())]
    Beside { path: PathBuf, source: io::Error },
}

/// `beside(".../homebolt-0.1.0-x86-64.img.zst", "bmap")` is `.../homebolt-0.1.0-x86-64.bmap`.
pub fn beside(image: &Path, extension: &str) -> PathBuf {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".zst").unwrap_or(&name);
    let stem = stem.strip_suffix(".img").unwrap_or(stem);
    image.with_file_name(format!("{stem}.{extension}"))
}

/// The block map beside an image, where there is one: both names that bmaptool looks for.
pub fn bmap_beside(image: &Path) -> Option<PathBuf> {
    [beside(image, "bmap"), beside(image, "img.bmap")].into_iter().find(|path| path.exists())
}

/// Reads the manifest at `path`, or the one beside the image.
pub fn manifest(image: &Path, path: Option<&Path>) -> Result<Manifest, Error> {
    let path = path.map_or_else(|| beside(image, "manifest.json"), Path::to_owned);
    let json = std::fs::read(&path).map_err(|source| Error::NoManifest { path: path.clone(), source })?;
    Manifest::parse(&json).map_err(|source| Error::Manifest { path, source })
}

/// Size in bytes and SHA-256 of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    pub size: u64,
    pub sha256: String,
}

/// Passes on what it reads, and sums it up.
#[derive(Debug)]
pub struct Summing<R> {
    inner: R,
    size: u64,
    hash: Sha256,
}

impl<R: Read> Summing<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, size: 0, hash: Sha256::new() }
    }

    /// Reads what is left and gives the sum of all.
    pub fn finish(mut self) -> io::Result<Sum> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Sum { size: self.size, sha256: hex::encode(self.hash.finalize()) })
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.size += read as u64;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// The sum of a file.
pub fn sum(path: &Path) -> io::Result<Sum> {
    Summing::new(BufReader::with_capacity(CHUNK, File::open(path)?)).finish()
}

/// The disk inside an image file, decompressed while it is read. What the file is, its first bytes say, not its name.
pub struct Disk {
    kind: Kind,
}

enum Kind {
    Raw(Summing<File>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Summing<File>>>>),
}

impl Disk {
    /// Opens an image, .img.zst or .img.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let open = || -> io::Result<Self> {
            let mut magic = Vec::new();
            File::open(path)?.take(4).read_to_end(&mut magic)?;
            let file = Summing::new(File::open(path)?);
            let kind = match magic == ZSTD_MAGIC {
                true => Kind::Zstd(Box::new(zstd::Decoder::new(file)?)),
                false => Kind::Raw(file),
            };
            Ok(Self { kind })
        };
        open().map_err(|source| Error::Open { path: path.into(), source })
    }

    /// Whether the file is compressed.
    pub fn compressed(&self) -> bool {
        matches!(self.kind, Kind::Zstd(_))
    }

    /// Reads the rest of the file, without decompressing it, and gives the file's sum.
    pub fn finish(self) -> io::Result<Sum> {
        match self.kind {
            Kind::Raw(file) => file.finish(),
            Kind::Zstd(decoder) => decoder.finish().into_inner().finish(),
        }
    }
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Raw(file) => file.read(buffer),
            Kind::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Fills `buffer` as far as the stream goes; fewer bytes than its length only at the end.
pub fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_an_image_is_named_after_it() {
        let image = Path::new("/out/homebolt-0.1.0-x86-64.img.zst");
        assert_eq!(beside(image, "manifest.json"), Path::new("/out/homebolt-0.1.0-x86-64.manifest.json"));
        assert_eq!(beside(Path::new("a.img"), "bmap"), Path::new("a.bmap"));
        assert_eq!(beside(Path::new("odd"), "bmap"), Path::new("odd.bmap"));
    }

    #[test]
    fn a_compressed_and_a_raw_image_give_the_same_disk_and_the_sum_of_their_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Vec<u8> = (0..3_000_000u32).map(|n| (n / 5000) as u8).collect();
        let packed = zstd::encode_all(&disk[..], 3).unwrap();
        for (name, file) in [("a.img", &disk), ("a.img.zst", &packed)] {
            let path = folder.path().join(name);
            std::fs::write(&path, file).unwrap();
            let mut stream = Disk::open(&path).unwrap();
            assert_eq!(stream.compressed(), name.ends_with("zst"));
            let mut found = vec![0; disk.len() + 1];
            assert_eq!(fill(&mut stream, &mut found).unwrap(), disk.len());
            assert_eq!(found[..disk.len()], disk);
            let expected = Sum { size: file.len() as u64, sha256: hex::encode(Sha256::digest(file)) };
            assert_eq!(stream.finish().unwrap(), expected);
            assert_eq!(sum(&path).unwrap(), expected);
        }
    }

    #[test]
    fn a_cut_off_image_fails_to_read_but_still_has_a_sum() {
        let folder = tempfile::tempdir().unwrap();
        let noise: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let packed = zstd::encode_all(&noise[..], 1).unwrap();
        let path = folder.path().join("a.img.zst");
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let mut stream = Disk::open(&path).unwrap();
        assert!(io::copy(&mut stream, &mut io::sink()).is_err());
        assert_eq!(stream.finish().unwrap().size, packed.len() as u64 / 2);
    }
}
