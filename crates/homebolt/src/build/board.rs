//! Boards and the disk layout, as `image/` describes them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::error::{At, Error, in_toml};

/// `image/boards/<name>/board.toml`.
#[derive(Debug, Deserialize)]
pub struct Board {
    pub name: String,
    pub rust: Rust,
    pub go: Go,
    pub debian: Debian,
    pub grub: Grub,
    pub kernel: Kernel,
    /// What the board's own firmware wants to find on the EFI partition, by its name there. Nothing on a box ever writes to
    /// it.
    #[serde(default)]
    pub loader: BTreeMap<String, LoaderFile>,
    #[serde(default)]
    pub imager: Imager,
    /// The oldest EEPROM that images are tried with, by the day it was built.
    #[serde(default, with = "day::option")]
    pub eeprom: Option<time::Date>,
}

time::serde::format_description!(day, Date, "[year]-[month]-[day]");

/// What Raspberry Pi Imager is told of the board.
#[derive(Debug, Default, Deserialize)]
pub struct Imager {
    /// For people; otherwise the board's name.
    pub title: Option<String>,
    /// Imager's own names of the devices that the image is for; none: it is offered for all.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// Where a file of the loader comes from.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum LoaderFile {
    /// The board's folder.
    Here { here: String },
    /// A path in one of the packages of `debian.loader` or beside the kernel's device trees, and below Buildroot's
    /// `images`.
    Made { debian: String, buildroot: String },
}

#[derive(Debug, Deserialize)]
pub struct Rust {
    /// Target triple of the programs on the box.
    pub target: String,
    /// What links them, where it is not the host's own compiler.
    #[serde(default)]
    pub linker: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Go {
    /// `GOARCH`.
    pub arch: String,
}

#[derive(Debug, Deserialize)]
pub struct Debian {
    pub arch: String,
    /// Name of the kernel's meta package; behind a slash the suite, where it is another.
    pub kernel: String,
    /// The package with GRUB's modules, where the tools have none for the board.
    #[serde(default)]
    pub grub: Option<String>,
    /// Packages with what the board's firmware starts, and with the firmware itself.
    #[serde(default)]
    pub loader: Vec<String>,
    /// Runs the board's programs, where the host cannot.
    #[serde(default)]
    pub emulator: Option<Emulator>,
}

#[derive(Debug, Deserialize)]
pub struct Emulator {
    pub package: String,
    /// Its name in there, below `/usr/bin`.
    pub program: String,
}

#[derive(Debug, Deserialize)]
pub struct Grub {
    /// GRUB's platform, for example `x86_64-efi`.
    pub format: String,
    /// File name below `EFI/BOOT`.
    pub file: String,
}

#[derive(Debug, Deserialize)]
pub struct Kernel {
    /// The board's own part of the kernel command line.
    pub command_line: String,
    /// Terminals, by device name, on which the box shows itself.
    pub consoles: Vec<String>,
    /// What Buildroot calls its image.
    #[serde(default = "bz_image")]
    pub file: String,
    /// Modules of the initrd besides those of every board.
    #[serde(default)]
    pub modules: Vec<String>,
}

fn bz_image() -> String {
    "bzImage".into()
}

/// `image/layout.toml`.
#[derive(Debug, Deserialize)]
pub struct Layout {
    pub disk_uuid: String,
    #[serde(rename = "partition")]
    pub partitions: Vec<Partition>,
}

#[derive(Debug, Deserialize)]
pub struct Partition {
    pub name: String,
    /// MiB.
    pub size: u64,
    /// Partition type GUID.
    #[serde(rename = "type")]
    pub kind: String,
    pub uuid: String,
}

impl Partition {
    pub fn bytes(&self) -> u64 {
        self.size << 20
    }
}

impl Board {
    pub fn read(source: &Path, name: &str) -> Result<Self, Error> {
        let folder = source.join("image/boards");
        let mut known = Vec::new();
        for entry in fs::read_dir(&folder).at("list", &folder)?.flatten() {
            known.push(entry.file_name().to_string_lossy().into_owned());
        }
        known.sort();
        // Chosen from what is there: a name is never a path.
        if !known.iter().any(|board| board == name) {
            return Err(Error::NoBoard(name.to_owned(), known.join(", ")));
        }
        read(&Self::folder(source, name).join("board.toml"))
    }

    /// All that there is of a board, in a checkout.
    pub fn folder(source: &Path, name: &str) -> PathBuf {
        source.join("image/boards").join(name)
    }
}

impl Layout {
    pub fn read(source: &Path) -> Result<Self, Error> {
        read(&source.join("image/layout.toml"))
    }

    pub fn partition(&self, name: &'static str) -> Result<&Partition, Error> {
        let why = || format!("it has no partition {name}");
        let missing = || Error::File { path: "image/layout.toml".into(), why: why() };
        self.partitions.iter().find(|partition| partition.name == name).ok_or_else(missing)
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).at("read", path)?;
    toml::from_str(&text).map_err(|error| in_toml(path, &text, &error))
}
