//! The country of the box's radios: kept beside their passwords. iwd tells the kernel at each start; a trial tells it now
//! ([`super::regulatory`]).

use std::{fs, io};

use netconf::Country;

use super::Places;
use crate::{
    console::note,
    error::{At, Error},
    files,
};

/// On the data partition, among the passwords.
const KEPT: &str = "country";
/// Before the one of `/etc`, see `iwd.service`.
const IWD: &str = "main.conf";

/// The country the owner has confirmed.
pub(super) fn confirmed(places: &Places) -> Option<Country> {
    let text = files::text(places.wifi.join(KEPT))?;
    let country = Country::new(&text);
    if country.is_err() {
        note(&format!("the radios keep to what is allowed everywhere: {text:?} is no country"));
    }
    country.ok()
}

/// Keeps it for all starts to come.
pub(super) fn keep(places: &Places, country: Country) -> Result<(), Error> {
    let folder = files::folder(&places.wifi)?;
    files::write_atomic(&folder.join(KEPT), format!("{country}\n").as_bytes(), 0o600)?;
    folder.parent().map_or(Ok(()), super::radio::sync)
}

/// Lays the confirmed one down for iwd's next start.
pub(super) fn lay(places: &Places) -> Result<(), Error> {
    let path = places.iwd.join(IWD);
    match confirmed(places) {
        Some(country) => {
            files::folder(&places.iwd)?;
            files::write_atomic(&path, country.to_iwd().as_bytes(), 0o600)
        }
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_to_iwd_at_each_start_and_what_is_no_country_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("data")).unwrap();
        let places = Places {
            run: path("run"),
            plans: path("data/network"),
            networkd: path("networkd"),
            wifi: path("data/wifi"),
            iwd: path("iwd"),
        };
        lay(&places).unwrap();
        assert!(confirmed(&places).is_none() && !places.iwd.exists());
        keep(&places, Country::new("DE").unwrap()).unwrap();
        lay(&places).unwrap();
        assert!(fs::read_to_string(path("iwd/main.conf")).unwrap().contains("\nCountry=DE\n"));
        fs::write(path("data/wifi/country"), "Atlantis\n").unwrap();
        lay(&places).unwrap();
        assert!(confirmed(&places).is_none() && !path("iwd/main.conf").exists());
    }
}
