//! Back to the first start: everything on the data partition is deleted, but the partition's own marker.
//!
//! The wish is a file on the data partition. The next start's initrd deletes all else before anything else runs, the wallet
//! first, and the wish last: a lost power in between leaves the wish, and the start after that goes on. As long as it is there,
//! LND does not start. What was deleted is given back to the disk (`fstrim`), which an SSD then forgets; a disk that
//! knows no such thing keeps the bytes until they are written over.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use twin::Data;

use crate::{
    console::note,
    error::{At, Error},
    files, marker, program, relocate, update,
};

/// The wish, below the root of the data partition.
pub const WISH: &str = "system/reset.json";
/// Deleted before everything else, so that no start finds one without the other.
const FIRST: [&str; 2] = ["lnd", "config"];
/// Of the file system itself.
const LOST: &str = "lost+found";
const FSTRIM: &str = "/usr/bin/fstrim";

/// What the manager asks for.
#[derive(Debug, Deserialize)]
struct Typed {
    /// The serial number of the disk with the data, or ERASE where it has none.
    serial: String,
}

#[derive(Debug, Serialize)]
struct Wish {
    /// Seconds since 1970.
    at: u64,
}

/// Whether what was typed is what stands on the disk. That no money is lost by it is the manager's to ask.
pub fn allow(content: &str, data: &Data) -> Result<(), String> {
    let typed: Typed =
        serde_json::from_str(content).map_err(|_| "The request does not say what was typed.".to_owned())?;
    let (expected, what) = match data.serial.as_str() {
        "" => ("ERASE", "the word ERASE"),
        serial => (serial, "the serial number of the disk"),
    };
    if typed.serial.trim() == expected {
        Ok(())
    } else {
        Err(format!("Nothing was erased: what was typed is not {what}."))
    }
}

/// Writes the wish down. The restart that follows fulfils it. Returns what to say.
pub fn begin() -> Result<String, Error> {
    if relocate::is_pending() {
        return Err(Error::Refused("The data is being moved to another disk. Wait until that has ended.".into()));
    }
    if update::is_busy() {
        return Err(Error::Refused("An update is being installed. Cancel it first.".into()));
    }
    files::write_json(&Path::new("/data").join(WISH), &Wish { at: files::now() })?;
    Ok("The box restarts and erases its data.".into())
}

/// Whether there is a wish, or what is left of one.
pub fn is_pending(data: &Path) -> bool {
    data.join(WISH).symlink_metadata().is_ok()
}

/// Deletes everything below `data` but the marker, and last the wish.
pub fn carry_out(data: &Path) -> Result<(), Error> {
    for name in FIRST {
        delete(&data.join(name))?;
    }
    sync(data)?;
    let kept = [data.join(marker::PATH), data.join(WISH)];
    for path in entries(data)? {
        if path.ends_with(LOST) || path.ends_with("system") {
            continue;
        }
        delete(&path)?;
    }
    for path in entries(&data.join("system"))?.iter().filter(|path| !kept.contains(path)) {
        delete(path)?;
    }
    sync(data)?;
    delete(&data.join(WISH))?;
    sync(&data.join("system"))?;
    sync(data)
}

/// Gives what was deleted back to the disk.
pub fn trim(data: &Path) {
    if let Err(error) = program::must(FSTRIM, &[data]) {
        note(&format!("the disk keeps what was deleted until it is written over: {error}"));
    }
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    Ok(entries.at("list", folder)?.into_iter().map(|entry| entry.path()).collect())
}

fn delete(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).at("look at", path),
        // A link is deleted as a link.
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path).at("delete", path),
        Ok(_) => fs::remove_file(path).at("delete", path),
    }
}

fn sync(folder: &Path) -> Result<(), Error> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("save the folder", folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::Marker;

    fn full() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        for (path, text) in [
            ("lnd/data/chain/wallet.db", "wallet"),
            ("config/lnd.conf", "conf"),
            ("homebolt/tls/authority.pem", "key"),
            ("system/credential.secret", "secret"),
            ("system/fence.json", "{}"),
            ("system/network/plan", "plan"),
            ("lost+found/1", "kept"),
            ("MOVED.txt", "text"),
        ] {
            let path = data.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Marker::Live.write(data).unwrap();
        fs::write(data.join(WISH), "{}").unwrap();
        folder
    }

    /// Every file below `data`.
    fn files(data: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![data.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder).unwrap() {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(data).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn everything_goes_but_the_partition_s_own_marker() {
        let folder = full();
        assert!(is_pending(folder.path()));
        carry_out(folder.path()).unwrap();
        assert_eq!(files(folder.path()), ["lost+found/1", "system/format.json"]);
        assert_eq!(Marker::read(folder.path()), Ok(Marker::Live));
        assert!(!is_pending(folder.path()));
    }

    #[test]
    fn what_a_lost_power_left_is_erased_by_the_next_start_and_no_wallet_is_left_with_half_of_its_data() {
        let folder = full();
        let data = folder.path();
        // As far as it came: the wallet and half of the rest.
        fs::remove_dir_all(data.join("lnd")).unwrap();
        fs::remove_file(data.join("system/credential.secret")).unwrap();
        assert!(is_pending(data), "the wish goes last");
        carry_out(data).unwrap();
        assert_eq!(files(data), ["lost+found/1", "system/format.json"]);
    }

    #[test]
    fn a_link_is_deleted_and_what_it_leads_to_is_not() {
        let (folder, elsewhere) = (full(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("homebolt/link")).unwrap();
        carry_out(folder.path()).unwrap();
        assert!(elsewhere.path().join("kept").exists());
    }

    #[test]
    fn only_the_disk_s_own_number_erases_it() {
        let data = |serial: &str| Data { serial: serial.into(), ..Data::default() };
        assert_eq!(allow(r#"{"serial":"S1","sure":"0"}"#, &data("S1")), Ok(()));
        assert_eq!(allow(r#"{"serial":" ERASE "}"#, &data("")), Ok(()));
        for (content, serial) in
            [(r#"{"serial":"S2"}"#, "S1"), (r#"{"serial":"ERASE"}"#, "S1"), ("{}", ""), ("S1", "S1")]
        {
            assert!(allow(content, &data(serial)).is_err(), "{content}");
        }
    }
}
