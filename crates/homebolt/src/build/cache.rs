//! The cache: downloads by their hash, finished steps by the hash of all that went into them.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Instant,
};

use sha2::{Digest, Sha256};

use super::error::{At, Error};

/// How many results of one step are kept: a branch or two back costs nothing, a year of builds does not fill the disk.
const KEPT: usize = 3;

/// The folder of everything that can be made again.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    // Held for the life of the program: two builds would pull the ground from under each other.
    _lock: File,
}

impl Cache {
    /// Opens `$HOMEBOLT_CACHE`, or `homebolt` in the user's cache folder, and waits for any other build to end.
    pub fn open() -> Result<Self, Error> {
        let root = Self::folder();
        fs::create_dir_all(&root).at("create the cache folder", &root)?;
        let path = root.join("lock");
        let lock = File::create(&path).at("create", &path)?;
        if lock.try_lock().is_err() {
            eprintln!("another build is running; waiting for it to end");
            lock.lock().at("lock", &path)?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// Where the cache is, whether it exists or not.
    pub fn folder() -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        variable("HOMEBOLT_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("homebolt")))
            .or_else(|| variable("HOME").map(|folder| folder.join(".cache/homebolt")))
            .unwrap_or_else(|| PathBuf::from("/var/cache/homebolt"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder of that name, made when missing.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).at("create", &path)?;
        Ok(path)
    }

    /// The folder of a step's result. When no earlier run finished it with this `key`, `make` fills a new one; it
    /// takes its name only when complete, so an interrupted run leaves nothing that looks finished.
    pub fn step(&self, name: &str, key: &Key, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
        let steps = self.subfolder("steps")?;
        let done = steps.join(format!("{name}-{}", key.short()));
        if done.is_dir() {
            // The time of use, by which old results are chosen for deletion.
            File::open(&done)
                .and_then(|folder| folder.set_modified(std::time::SystemTime::now()))
                .at("touch", &done)?;
            return Ok(done);
        }
        let part = steps.join(format!("{name}.part"));
        remove(&part)?;
        fs::create_dir_all(&part).at("create", &part)?;
        let start = Instant::now();
        make(&part)?;
        fs::rename(&part, &done).at("rename", &part)?;
        eprintln!("{name:>14}  {:.1} s", start.elapsed().as_secs_f32());
        self.forget_old(&steps, name)?;
        Ok(done)
    }

    fn forget_old(&self, steps: &Path, name: &str) -> Result<(), Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(steps).at("list", steps)?.flatten() {
            let file_name = entry.file_name().to_string_lossy().into_owned();
            let ours = file_name.rsplit_once('-').is_some_and(|(step, _)| step == name);
            if let (true, Ok(Ok(time))) = (ours, entry.metadata().map(|data| data.modified())) {
                found.push((time, entry.path()));
            }
        }
        found.sort();
        let surplus = found.len().saturating_sub(KEPT);
        found.iter().take(surplus).try_for_each(|(_, path)| remove(path))
    }
}

/// Removes a folder with all in it; that it is not there is no fault.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// SHA-256 of a file, lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String, Error> {
    let mut hash = Sha256::new();
    feed(path, &mut hash)?;
    Ok(hex::encode(hash.finalize()))
}

fn feed(path: &Path, hash: &mut Sha256) -> Result<(), Error> {
    let mut file = File::open(path).at("open", path)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).at("read", path)? {
            0 => return Ok(()),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// The hash of everything a step depends on. Parts are framed by their length, so none can run into the next.
#[derive(Debug, Clone)]
pub struct Key(Sha256);

impl Key {
    /// Begins with the step's own version: raise it when the step's code changes what comes out.
    pub fn new(version: &str) -> Self {
        Self(Sha256::new()).text(version)
    }

    pub fn text(mut self, part: &str) -> Self {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
        self
    }

    /// The content of a file, or of all files below a folder with their names, modes and link targets.
    pub fn path(mut self, path: &Path) -> Result<Self, Error> {
        let mut entries = vec![path.to_path_buf()];
        while let Some(entry) = entries.pop() {
            let data = fs::symlink_metadata(&entry).at("read", &entry)?;
            self = self.text(&entry.strip_prefix(path).unwrap_or(&entry).to_string_lossy());
            if data.is_symlink() {
                self = self.text(&fs::read_link(&entry).at("read", &entry)?.to_string_lossy());
            } else if data.is_dir() {
                let mut children = Vec::new();
                for child in fs::read_dir(&entry).at("list", &entry)? {
                    children.push(child.at("list", &entry)?.path());
                }
                children.sort();
                entries.extend(children);
            } else {
                use std::os::unix::fs::PermissionsExt;
                self = self.text(if data.permissions().mode() & 0o111 == 0 { "file" } else { "program" });
                self.0.update(data.len().to_le_bytes());
                feed(&entry, &mut self.0)?;
            }
        }
        Ok(self)
    }

    pub(super) fn short(&self) -> String {
        let mut digest = hex::encode(self.0.clone().finalize());
        digest.truncate(20);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_one_part_ends_and_the_next_begins() {
        assert_ne!(Key::new("1").text("ab").text("c").short(), Key::new("1").text("a").text("bc").short());
    }

    #[test]
    fn a_key_sees_a_changed_file_and_a_changed_mode() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "one").unwrap();
        let first = Key::new("1").path(folder.path()).unwrap().short();
        fs::write(&file, "two").unwrap();
        let second = Key::new("1").path(folder.path()).unwrap().short();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let third = Key::new("1").path(folder.path()).unwrap().short();
        assert_ne!(first, second);
        assert_ne!(second, third);
    }
}
