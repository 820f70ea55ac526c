//! The radio: the networks it knows, as files for iwd, and joining one.
//!
//! ```text
//!  /data/system/network/MAC.json   the plan, with the network's name
//!  /data/system/wifi/NAME.psk      its password, as iwd reads it ──at each start──► /run/iwd/NAME.psk ◄─ trial: here alone
//! ```
//! iwd joins what it knows by itself, at the start and whenever it loses the network. A trial does not wait for that: it
//! asks iwd to join now, because then iwd says how it went.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netconf::{Country, Mac, NotJoined, Plan, Ssid, Wifi};

use super::{Places, regulatory};
use crate::{
    console::note,
    error::{At, Error},
    files,
    program::{self, Outcome},
};

const SERVICE: &str = "net.connman.iwd";
const BUSCTL: &str = "/usr/bin/busctl";
/// A radio that was just switched on looks for networks first.
const SEEN: Duration = Duration::from_secs(15);
/// A network that hides is asked for in a second search.
const HIDDEN: Duration = Duration::from_secs(30);
/// For a router to give an address.
const ADDRESS: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(500);

/// Keeps the password of a network on the data partition.
pub(super) fn add(places: &Places, profile: Option<(&Ssid, &str)>) -> Result<(), Error> {
    let Some((ssid, text)) = profile else { return Ok(()) };
    let folder = files::folder(&places.wifi)?;
    files::write_atomic(&folder.join(ssid.file_name()), text.as_bytes(), 0o600)?;
    folder.parent().map_or(Ok(()), sync)
}

/// Forgets the passwords of networks that no plan names.
pub(super) fn forget_others(places: &Places, plans: &[Plan]) -> Result<(), Error> {
    if !places.wifi.is_dir() {
        return Ok(());
    }
    remove_others(&places.wifi, &wanted(plans.iter()))?;
    sync(&places.wifi)
}

/// Lays down what iwd shall know: the kept networks of the plans, and the one that is tried.
pub(super) fn lay(places: &Places, plans: &[Plan], trial: Option<(&Plan, Option<&str>)>) -> Result<(), Error> {
    let tried = trial.map(|(plan, _)| plan);
    let kept: Vec<&Plan> = plans.iter().filter(|plan| tried.is_none_or(|tried| tried.mac != plan.mac)).collect();
    let names = wanted(kept.iter().copied().chain(tried));
    if names.is_empty() && !places.iwd.exists() {
        return Ok(());
    }
    let folder = files::folder(&places.iwd)?;
    for name in &names {
        let fresh = trial.and_then(|(plan, text)| (file_of(plan)? == *name).then_some(text).flatten());
        let text = match fresh {
            Some(text) => text.to_owned(),
            None => match files::read_limited(&places.wifi.join(name), 4096) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                // The rest of the network shall work all the same.
                Err(error) => {
                    note(&format!("a Wi-Fi network cannot be joined: its password is not readable: {error}"));
                    continue;
                }
            },
        };
        let path = folder.join(name);
        // iwd adds to the file what it worked out of the password: that is no change.
        let there = files::read_limited(&path, 64 * 1024).unwrap_or_default();
        if secret_of(&String::from_utf8_lossy(&there)) != secret_of(&text) {
            files::write_atomic(&path, text.as_bytes(), 0o600)?;
        }
    }
    remove_others(&folder, &names)
}

fn file_of(plan: &Plan) -> Option<String> {
    plan.wifi.as_ref().map(|wifi| wifi.ssid.file_name())
}

fn wanted<'a>(plans: impl Iterator<Item = &'a Plan>) -> Vec<String> {
    plans.filter_map(file_of).collect()
}

/// What the owner has given: password or key, and whether the network hides.
fn secret_of(text: &str) -> Vec<String> {
    // iwd writes blanks as they are, in an order of its own.
    let line_of = |key: &str| text.lines().find(|line| line.starts_with(key)).map(|line| line.replace("\\s", " "));
    let secret = line_of("Passphrase=").or_else(|| line_of("PreSharedKey="));
    secret.into_iter().chain(line_of("Hidden=")).collect()
}

fn remove_others(folder: &Path, wanted: &[String]) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".psk") && !wanted.contains(&name) {
            fs::remove_file(entry.path()).at("remove", entry.path())?;
        }
    }
    Ok(())
}

/// Whether a password of that network is kept.
pub(super) fn knows(places: &Places, ssid: &Ssid) -> bool {
    places.wifi.join(ssid.file_name()).is_file()
}

/// Has iwd join the plan's network, and waits until the radio has an address; with a country, by its rules. What iwd shall
/// know is laid down already.
pub fn join(plan: &Plan, country: Option<Country>) -> Result<(), NotJoined> {
    if let Some(country) = country {
        regulatory::set(country)?;
    }
    let Some(wifi) = &plan.wifi else {
        // Of a card with a cable there is nothing to leave.
        if card_of(plan.mac).is_some() {
            leave(plan.mac);
        }
        return Ok(());
    };
    let card = card_of(plan.mac).ok_or(NotJoined::NoRadio)?;
    let station = until(SEEN, || station_of(plan.mac)).map_err(|last| last.unwrap_or(NotJoined::NoRadio))?;
    if country.is_some() {
        // The kernel would leave a channel that is forbidden now only after a minute: when the trial is over.
        leave(plan.mac);
    }
    if let Err(why) = join_at(&station, wifi) {
        note(&format!("network: the radio {card} does not join: {why:?}"));
        return Err(why);
    }
    until(ADDRESS, || if has_address(&card) { Ok(()) } else { Err(NotJoined::NoAddress) })
        .map_err(|_| NotJoined::NoAddress)
}

fn join_at(station: &str, wifi: &Wifi) -> Result<(), NotJoined> {
    let hex = wifi.ssid.hex();
    if wifi.hidden {
        // Once iwd has read the file that says so, each search asks for the network by its name.
        let path = format!("/net/connman/iwd/{hex}_psk");
        let known = || match call(&["get-property", SERVICE, &path, "net.connman.iwd.KnownNetwork", "Hidden"])? {
            outcome if outcome.code == Some(0) && said(&outcome, "true") => Ok(()),
            _ => Err(NotJoined::Other),
        };
        until(SEEN, known).map_err(|why| why.unwrap_or(NotJoined::Other))?;
    }
    let path = format!("{station}/{hex}_psk");
    let seen = until(if wifi.hidden { HIDDEN } else { SEEN }, || {
        if call(&["get-property", SERVICE, &path, "net.connman.iwd.Network", "Name"])?.code == Some(0) {
            return Ok(());
        }
        // Fails while it is looking already.
        let _ = call(&["call", SERVICE, station, "net.connman.iwd.Station", "Scan"]);
        Err(NotJoined::NotInReach)
    });
    if let Err(why) = seen {
        let is_other = ["open", "8021x", "wep"].iter().any(|kind| {
            let path = format!("{station}/{hex}_{kind}");
            let asked = call(&["get-property", SERVICE, &path, "net.connman.iwd.Network", "Name"]);
            asked.is_ok_and(|outcome| outcome.code == Some(0))
        });
        return Err(if is_other { NotJoined::OtherSecurity } else { why.unwrap_or(NotJoined::NotInReach) });
    }
    // A change of its addresses alone leaves it where it is.
    if is_connected(station, &path)? {
        return Ok(());
    }
    // iwd reads the password's file a moment after it was laid down; before, it would ask somebody for it.
    let is_read = || match call(&["get-property", SERVICE, &path, "net.connman.iwd.Network", "KnownNetwork"])?.code {
        Some(0) => Ok(()),
        _ => Err(NotJoined::Other),
    };
    until(SEEN, is_read).map_err(|why| why.unwrap_or(NotJoined::Other))?;
    let connect = || call(&["call", "--timeout=25", SERVICE, &path, "net.connman.iwd.Network", "Connect"]);
    let outcome = connect()?;
    // After a wrong password iwd once wants to ask somebody for another one, whatever its file says by now.
    verdict(&if said(&outcome, "no agent") { connect()? } else { outcome })?;
    // iwd says yes, too, to one that it is joining already by itself.
    until(SEEN, || if is_connected(station, &path)? { Ok(()) } else { Err(NotJoined::Passphrase) })
        .map_err(|why| why.unwrap_or(NotJoined::Passphrase))
}

fn is_connected(station: &str, path: &str) -> Result<bool, NotJoined> {
    // True of a network that is only being joined, too.
    let network = call(&["get-property", SERVICE, path, "net.connman.iwd.Network", "Connected"])?;
    let state = call(&["get-property", SERVICE, station, "net.connman.iwd.Station", "State"])?;
    Ok(network.code == Some(0) && said(&network, "true") && said(&state, "\"connected\""))
}

fn said(outcome: &Outcome, word: &str) -> bool {
    outcome.output.to_ascii_lowercase().contains(&word.to_ascii_lowercase())
}

/// What iwd's answer to Connect means. It names no wrong password: an access point that breaks off while keys are
/// exchanged is all that can be seen of one.
fn verdict(outcome: &Outcome) -> Result<(), NotJoined> {
    if outcome.code == Some(0) {
        return Ok(());
    }
    Err(match () {
        () if said(outcome, "not found") || said(outcome, "no networks") => NotJoined::NotInReach,
        () if said(outcome, "operation failed") || said(outcome, "invalid format") => NotJoined::Passphrase,
        () if said(outcome, "timed out") || said(outcome, "timeout") => NotJoined::NotInReach,
        () if said(outcome, "not supported") => NotJoined::OtherSecurity,
        () => {
            note(&format!("network: iwd says {}", outcome.summary()));
            NotJoined::Other
        }
    })
}

/// After a trial that was not confirmed: back to the network of the plan before it, or to none; and to the rules before.
pub fn back(plan: &Plan, country: Option<Country>) {
    if let Err(why) = join(plan, country) {
        // iwd goes on trying by itself.
        note(&format!("network: the radio is not back in its network yet: {why:?}"));
    }
}

/// Leaves whatever network the radio is in. iwd joins none by itself then, until it is asked to or starts anew.
fn leave(mac: Mac) {
    if let Ok(station) = station_of(mac) {
        let _ = call(&["call", SERVICE, &station, "net.connman.iwd.Station", "Disconnect"]);
    }
}

/// iwd's object of the radio with that address, such as `/net/connman/iwd/0/3`.
fn station_of(mac: Mac) -> Result<String, NotJoined> {
    let tree = call(&["tree", "--list", SERVICE])?;
    let paths = tree.output.lines().map(str::trim).filter(|path| path.matches('/').count() == 5);
    for path in paths.filter(|path| path.starts_with("/net/connman/iwd/")) {
        let address = call(&["get-property", SERVICE, path, "net.connman.iwd.Device", "Address"])?;
        if said(&address, &mac.to_string()) {
            let station = call(&["get-property", SERVICE, path, "net.connman.iwd.Station", "State"])?;
            return if station.code == Some(0) { Ok(path.to_owned()) } else { Err(NotJoined::NoRadio) };
        }
    }
    Err(NotJoined::NoRadio)
}

fn call(arguments: &[&str]) -> Result<Outcome, NotJoined> {
    let all = [&["--system", "--no-pager"], arguments].concat();
    let outcome = program::run(BUSCTL, &all).map_err(|_| NotJoined::NoService)?;
    let is_away = ["was not provided", "not activatable", "name has no owner", "could not activate", "no such unit"];
    let is_away = outcome.code != Some(0) && is_away.iter().any(|word| said(&outcome, word));
    if is_away { Err(NotJoined::NoService) } else { Ok(outcome) }
}

/// The kernel's name of the card with that address.
fn card_of(mac: Mac) -> Option<String> {
    let entries = fs::read_dir("/sys/class/net").ok()?.flatten();
    let is_it = |path: &Path| files::text(path.join("address")).is_some_and(|text| text.parse() == Ok(mac));
    let mut found = entries.filter(|entry| is_it(&entry.path()) && entry.path().join("phy80211").exists());
    found.next().map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// An address that more than this one network's neighbours can reach.
fn has_address(card: &str) -> bool {
    let Ok(entries) = nix::ifaddrs::getifaddrs() else { return false };
    entries.filter(|entry| entry.interface_name == card).filter_map(|entry| entry.address).any(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| !v4.ip().is_link_local());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| !v6.ip().is_unicast_link_local())).unwrap_or(false)
    })
}

/// Tries until it works or the time is over; gives the last error then.
fn until<T>(limit: Duration, attempt: impl Fn() -> Result<T, NotJoined>) -> Result<T, Option<NotJoined>> {
    let end = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(why) if Instant::now() > end => return Err(Some(why)),
            Err(_) => thread::sleep(GLANCE),
        }
    }
}

pub(super) fn sync(folder: &Path) -> Result<(), Error> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("save the folder", folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, output: &str) -> Outcome {
        Outcome { code: Some(code), output: output.into() }
    }

    #[test]
    fn what_iwd_says_becomes_a_reason() {
        assert_eq!(verdict(&outcome(0, "")), Ok(()));
        assert_eq!(verdict(&outcome(1, "Call failed: Operation failed\n")), Err(NotJoined::Passphrase));
        assert_eq!(verdict(&outcome(1, "Call failed: Connection timed out\n")), Err(NotJoined::NotInReach));
        assert_eq!(verdict(&outcome(1, "Call failed: Operation not supported\n")), Err(NotJoined::OtherSecurity));
    }

    #[test]
    fn what_iwd_adds_to_a_file_is_no_change() {
        let ours = "[Security]\nPassphrase=a\\sb\n\n[Settings]\nAutoConnect=true\n";
        let theirs = "[Settings]\nAutoConnect=true\n[Security]\nPreSharedKey=00\nPassphrase=a b\nSAE-PT-Group19=11\n";
        assert_eq!(secret_of(ours), secret_of(theirs));
        assert_ne!(secret_of(ours), secret_of(&theirs.replace("a b", "other")));
        assert_ne!(secret_of("PreSharedKey=00"), secret_of("PreSharedKey=11"));
    }
}
