//! The folder of a channel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use release::{Blocked, Channel, Keyring, Listed, Purpose, Texts, Update, Version, Wave};

use super::Error;
use crate::{
    atomic,
    bundle::{json, now},
    image,
    keys::Keys,
};

/// Where bundles are, below the folder.
const FILES: &str = "files";
const LIST: &str = ".json";

/// One channel of a folder, and the keys to sign it with.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    name: String,
    /// Validity of the list, days.
    days: u64,
    keys: Keys,
}

impl Folder {
    pub(super) fn new(path: &Path, name: &str, days: u64, keys: Keys) -> Self {
        Self { path: path.into(), name: name.into(), days, keys }
    }

    pub(super) fn list(&self) -> PathBuf {
        self.path.join(format!("{}{LIST}", self.name))
    }

    /// Makes it, empty.
    pub(super) fn create(&self) -> Result<(), Error> {
        release::channel_name(&self.name)?;
        let files = self.path.join(FILES);
        fs::create_dir_all(&files).map_err(io("create", &files))?;
        if self.list().exists() {
            return Err(Error::Exists(self.list()));
        }
        self.write(Channel::new(&self.name, 0, 1))
    }

    /// The list as it is, if its signature is one of ours: nothing foreign is ever signed anew.
    pub(super) fn read(&self) -> Result<Channel, Error> {
        release::channel_name(&self.name)?;
        let path = self.list();
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::None(path)),
            Err(source) => Err(Error::Io { action: "read", path, source }),
            Ok(file) => Channel::open(&file, &self.keys.keyring()?.1).map_err(|source| Error::File { path, source }),
        }
    }

    /// Changes the list, signs it, and puts it in place of the old one in one step.
    pub(super) fn change(&self, edit: impl FnOnce(&mut Channel) -> Result<(), Error>) -> Result<(), Error> {
        let mut channel = self.read()?;
        edit(&mut channel)?;
        self.write(channel)
    }

    fn write(&self, mut channel: Channel) -> Result<(), Error> {
        // It always rises, whatever the clock of this computer does: a box takes no older one.
        channel.made = now().max(channel.made + 1);
        channel.expires = channel.made + self.days * 86_400;
        let document = json(&channel);
        Channel::parse(document.as_bytes())?;
        let file = json(&self.keys.signer()?.sign(Purpose::Channel, document)?);
        let path = self.list();
        Channel::open(file.as_bytes(), &self.keys.keyring()?.1).map_err(|source| Error::File { path, source })?;
        atomic::write(&self.list(), file.as_bytes()).map_err(io("write", &self.list()))?;
        println!("{}: {} releases, valid for {} days", self.list().display(), channel.releases.len(), self.days);
        Ok(())
    }

    /// Adds an update and its bundle.
    pub(super) fn add(&self, description: &Path, waves: &[Wave]) -> Result<(), Error> {
        let file = fs::read(description).map_err(io("read", description))?;
        let update = Update::open(&file, &self.keys.keyring()?.1)
            .map_err(|source| Error::File { path: description.into(), source })?;
        let version = update.version()?;
        // Before anything is copied.
        let channel = self.read()?;
        let release = &update.release;
        let same = |listed: &&Listed| {
            let there = &listed.update.release;
            (&there.version, &there.board, &there.base) == (&release.version, &release.board, &release.base)
        };
        if channel.releases.iter().any(|listed| same(&listed)) {
            return Err(Error::Twice { version: release.version.clone(), board: release.board.clone() });
        }
        if channel.blocked.iter().any(|blocked| blocked.version == version) {
            return Err(Error::Blocked(version));
        }
        let bundle = description.with_file_name(&update.bundle.name);
        sound(&bundle, &update)?;
        let files = self.path.join(FILES);
        fs::create_dir_all(&files).map_err(io("create", &files))?;
        publish(&bundle, &files.join(&update.bundle.name))?;
        publish(description, &files.join(description.file_name().unwrap_or_default()))?;
        self.change(|channel| {
            channel.releases.push(Listed { update, folder: FILES.into(), waves: waves.to_vec() });
            Ok(())
        })
    }

    /// Says anew who gets a version when, on all boards.
    pub(super) fn set_waves(&self, version: &Version, waves: &[Wave]) -> Result<(), Error> {
        self.change(|channel| {
            let of_version = |listed: &&mut Listed| listed.update.version().as_ref() == Ok(version);
            let found: Vec<&mut Listed> = channel.releases.iter_mut().filter(of_version).collect();
            if found.is_empty() {
                return Err(Error::NoVersion(version.clone()));
            }
            found.into_iter().for_each(|listed| listed.waves = waves.to_vec());
            Ok(())
        })
    }

    /// Withdraws a version. It may be one that was never listed here: boxes have it from elsewhere.
    pub(super) fn block(&self, version: &Version, why: String) -> Result<(), Error> {
        self.change(|channel| {
            channel.blocked.retain(|blocked| blocked.version != *version);
            let why = Texts::from([("en".to_owned(), why)]);
            channel.blocked.push(Blocked { version: version.clone(), why });
            Ok(())
        })
    }

    pub(super) fn set_least(&self, version: Version) -> Result<(), Error> {
        self.change(|channel| {
            channel.least_version = Some(version);
            Ok(())
        })
    }
}

/// Whether the bundle is the one that is meant.
fn sound(bundle: &Path, update: &Update) -> Result<(), Error> {
    let sum = image::sum(bundle).map_err(io("read", bundle))?;
    let why = match () {
        () if sum.size != update.bundle.size => format!("{} bytes instead of {}", sum.size, update.bundle.size),
        () if sum.sha256 != update.bundle.sha256 => format!("its sha256 is {}", sum.sha256),
        () => return Ok(()),
    };
    Err(Error::Bundle { path: bundle.into(), why })
}

/// Copies a file that never changes again.
fn publish(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        let sum = |path: &Path| image::sum(path).map_err(io("read", path));
        return if sum(from)? == sum(to)? { Ok(()) } else { Err(Error::Changed(to.into())) };
    }
    let copied = atomic::with(to, |file| std::io::copy(&mut fs::File::open(from)?, file).map(drop));
    copied.map_err(io("write", to))
}

/// Checks a whole folder. One line for each check: `Err` says what is wrong and what to do.
pub(super) fn verify(folder: &Path, keyring: &Keyring, now: u64) -> Result<Vec<Result<String, String>>, Error> {
    let mut lists = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list", folder))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(LIST) {
            lists.push((name.to_owned(), entry.path()));
        }
    }
    lists.sort();
    if lists.is_empty() {
        return Err(Error::None(folder.join(format!("stable{LIST}"))));
    }
    let mut lines = Vec::new();
    for (name, path) in lists {
        let file = fs::read(&path).map_err(io("read", &path))?;
        let channel = match Channel::open(&file, keyring) {
            Ok(channel) => channel,
            Err(error) => {
                lines.push(Err(format!("{name}: {error}")));
                continue;
            }
        };
        lines.push(match () {
            () if channel.name != name => Err(format!("{name}: it is the list of {}: rename it", channel.name)),
            () if channel.expires <= now => Err(format!("{name}: it has expired: run `homebolt channel renew`")),
            () => {
                let days = (channel.expires - now) / 86_400;
                Ok(format!("{name}: {} releases, valid for {days} days more", channel.releases.len()))
            }
        });
        lines.extend(channel.releases.iter().map(|listed| release(folder, &channel, listed, now)));
    }
    Ok(lines)
}

fn release(folder: &Path, channel: &Channel, listed: &Listed, now: u64) -> Result<String, String> {
    let (update, bundle) = (&listed.update, folder.join(&listed.folder).join(&listed.update.bundle.name));
    let title = format!("{}: {} for {}", channel.name, update.release.version, update.release.board);
    sound(&bundle, update).map_err(|error| format!("{title}: {}", crate::error::sentence(&error)))?;
    if update.expires <= now {
        return Err(format!("{title}: it has expired, so no box takes it any more: publish a newer one"));
    }
    if channel.blocked.iter().any(|blocked| Ok(&blocked.version) == update.version().as_ref()) {
        return Ok(format!("{title}: withdrawn"));
    }
    let (share, _) = listed.share(now);
    Ok(format!("{title}: for {share} of 100 boxes, LND {}", update.release.lnd_version))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
