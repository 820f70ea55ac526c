//! The box's name in the local network and its time zone.
//!
//! Both are kept on the data partition, from where the initrd puts them into the `/etc` of whatever system starts; the
//! running one is told through systemd's own daemons, so that nothing has to be restarted but the responder for `.local`.

use std::{fs, io::Read, os::unix::fs::symlink, path::Path};

use crate::{
    console::alarm,
    error::{At, Error},
    files, program,
};

/// Where the data partition keeps the two, below its mount.
const HOST_NAME: &str = "system/hostname";
const ZONE: &str = "system/timezone";
/// The time zone database, below a root.
const ZONES: &str = "usr/share/zoneinfo";

const HOSTNAMECTL: &str = "/usr/bin/hostnamectl";
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Takes name and zone, a line each, for now and for every later start. Returns what to say.
pub fn take(content: &str) -> Result<String, Error> {
    let Some((name, zone)) = read(content, Path::new("/")) else {
        return Err(Error::Refused("The name or the time zone is not one that this system knows.".into()));
    };
    let data = Path::new("/data");
    // On the disk first: a power cut from here on leaves the box with what was chosen.
    files::folder(data.join("system"))?;
    files::write_atomic(&data.join(HOST_NAME), format!("{name}\n").as_bytes(), 0o644)?;
    files::write_atomic(&data.join(ZONE), format!("{zone}\n").as_bytes(), 0o644)?;
    let was = files::text("/etc/hostname").unwrap_or_default();
    program::must(TIMEDATECTL, &["set-timezone", zone])?;
    program::must(HOSTNAMECTL, &["hostname", name])?;
    if was != name {
        // It asks for the name at its start only.
        program::must(SYSTEMCTL, &["--no-block", "try-restart", "avahi-daemon.service"])?;
    }
    Ok(format!("The box is called {name}, its time zone is {zone}."))
}

/// Puts what the data partition keeps into the `/etc` of the system at `root`. What is not valid, or what this system
/// does not know, stays as the system has it: a name must never stop a start.
pub fn restore(data: &Path, root: &Path) {
    let etc = root.join("etc");
    if let Some(name) = host_name(data) {
        tell(files::write_atomic(&etc.join("hostname"), format!("{name}\n").as_bytes(), 0o644));
    }
    if let Some(zone) = files::text(data.join(ZONE)).filter(|zone| is_zone(zone, root)) {
        tell(link(&etc.join("localtime"), &zone));
    }
}

/// The name that the data partition keeps.
pub fn host_name(data: &Path) -> Option<String> {
    files::text(data.join(HOST_NAME)).filter(|name| is_host_name(name))
}

fn tell(outcome: Result<(), Error>) {
    if let Err(error) = outcome {
        alarm(&format!("the box starts without its name or time zone: {error}"));
    }
}

/// As systemd's own daemon writes it, relative, so that it holds below any root.
fn link(path: &Path, zone: &str) -> Result<(), Error> {
    let _ = fs::remove_file(path);
    symlink(format!("../{ZONES}/{zone}"), path).at("link", path)
}

fn read<'a>(content: &'a str, root: &Path) -> Option<(&'a str, &'a str)> {
    let (name, zone) = content.trim_end_matches('\n').split_once('\n')?;
    (is_host_name(name) && is_zone(zone, root)).then_some((name, zone))
}

/// One label as of RFC 1123: it becomes `<name>.local`.
fn is_host_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text != "localhost"
}

/// A file of the database, named without a way out of its folder.
fn is_zone(text: &str, root: &Path) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    (1..=64).contains(&text.len()) && text.split('/').all(is_part) && is_zone_file(&root.join(ZONES).join(text))
}

fn is_zone_file(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file() && fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"TZif"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let zones = root.path().join(ZONES);
        fs::create_dir_all(zones.join("Europe")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("data/system")).unwrap();
        fs::write(zones.join("Europe/Berlin"), "TZif2").unwrap();
        fs::write(zones.join("zone.tab"), "a table").unwrap();
        root
    }

    #[test]
    fn only_one_plain_label_is_a_host_name() {
        assert!(is_host_name("homelab") && is_host_name("box-2"));
        for bad in ["", "-a", "a-", "a.b", "A", "a b", "\u{e4}", "localhost", &"a".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn only_a_file_of_the_database_is_a_zone() {
        let root = root();
        assert!(is_zone("Europe/Berlin", root.path()));
        for bad in ["", "Europe", "Europe/Paris", "zone.tab", "../zoneinfo/Europe/Berlin", "/Europe/Berlin", "a//b"] {
            assert!(!is_zone(bad, root.path()), "{bad}");
        }
    }

    #[test]
    fn a_request_is_a_name_and_a_zone_and_nothing_else() {
        let root = root();
        assert_eq!(read("attic\nEurope/Berlin", root.path()), Some(("attic", "Europe/Berlin")));
        for bad in ["attic", "attic\n", "attic\nEurope/Berlin\nmore", "--help\nEurope/Berlin", "attic\n--help"] {
            assert_eq!(read(bad, root.path()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_start_takes_what_is_kept_and_leaves_what_is_not_valid() {
        let root = root();
        let (data, etc) = (root.path().join("data"), root.path().join("etc"));
        fs::write(etc.join("hostname"), "homelab\n").unwrap();
        restore(&data, root.path());
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "homelab\n");
        fs::write(data.join(HOST_NAME), "attic\n").unwrap();
        fs::write(data.join(ZONE), "Europe/Berlin\n").unwrap();
        restore(&data, root.path());
        restore(&data, root.path());
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "attic\n");
        assert_eq!(fs::read_link(etc.join("localtime")).unwrap(), Path::new("../usr/share/zoneinfo/Europe/Berlin"));
        fs::write(data.join(HOST_NAME), "not a name\n").unwrap();
        fs::write(data.join(ZONE), "Moon/Crater\n").unwrap();
        restore(&data, root.path());
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "attic\n");
        assert_eq!(fs::read_link(etc.join("localtime")).unwrap(), Path::new("../usr/share/zoneinfo/Europe/Berlin"));
    }
}
