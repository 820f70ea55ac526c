//! The form of a radio: which network it shall join, the password, and the country whose rules it keeps.

use netconf::{Country, Mac, NoPassphrase, Passphrase, Plan, Ssid, Wifi};
use rust_i18n::t;
use serde::Deserialize;
use twin::{
    State,
    net::{Reach, Security, Station},
};

use super::plan_of;
use crate::secret::Secret;

/// The form as it was sent.
#[derive(Deserialize)]
pub(crate) struct Join {
    /// Hardware address of the radio.
    #[serde(default)]
    pub(crate) card: String,
    /// A network of the list; empty: the one that was typed.
    #[serde(default)]
    pub(crate) ssid: String,
    #[serde(default)]
    pub(crate) typed: String,
    #[serde(default = "nothing")]
    pub(crate) passphrase: Secret<String>,
    /// Two letters; empty: as it is.
    #[serde(default)]
    pub(crate) country: String,
    #[serde(default)]
    pub(crate) what: What,
}

/// What the form is sent for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum What {
    #[default]
    Join,
    /// The radio shall join no network.
    Forget,
    /// Another country, and the network stays.
    Country,
}

/// What is to be tried.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) plan: Plan,
    /// If it is new.
    pub(crate) passphrase: Option<Passphrase>,
    /// If it is another one.
    pub(crate) country: Option<Country>,
}

fn nothing() -> Secret<String> {
    Secret::new(String::new())
}

impl Join {
    /// With nothing filled in.
    pub(crate) fn of(what: What) -> Self {
        let empty = String::new;
        Self { card: empty(), ssid: empty(), typed: empty(), passphrase: nothing(), country: empty(), what }
    }

    /// What it stands for; an error is a sentence. Addresses stay as they are set.
    pub(crate) fn read(&self, state: &State) -> Result<Wish, String> {
        let gone = || t!("network.form.bad_card").into_owned();
        let same = || t!("network.form.same").into_owned();
        let mac: Mac = self.card.parse().map_err(|_| gone())?;
        let station = stations(state).iter().find(|station| station.mac.parse() == Ok(mac)).ok_or_else(gone)?;
        let now = plan_of(state, mac);
        let country = self.other_country(state)?;
        match self.what {
            What::Forget => return Ok(Wish { plan: Plan::automatic(mac), passphrase: None, country: None }),
            What::Country if country.is_none() => return Err(same()),
            What::Country => return Ok(Wish { plan: now, passphrase: None, country }),
            What::Join => {}
        }
        let name = if self.ssid.is_empty() { &self.typed } else { &self.ssid };
        let ssid = Ssid::new(name.as_str()).map_err(|_| t!("wifi.form.bad_name").into_owned())?;
        let seen = seen(station, &ssid);
        if let Some(bad) = seen.map(|reach| reach.security).filter(|security| *security != Security::Personal) {
            return Err(unfit(bad));
        }
        let kept = now.wifi.as_ref().filter(|wifi| wifi.ssid == ssid);
        let passphrase = match (self.passphrase.expose().as_str(), kept) {
            ("", Some(_)) if country.is_some() => return Ok(Wish { plan: now, passphrase: None, country }),
            ("", Some(_)) => return Err(same()),
            (text, _) => Passphrase::new(text).map_err(|fault| match fault {
                NoPassphrase::Length => t!("wifi.form.bad_length").into_owned(),
                NoPassphrase::Letters => t!("wifi.form.bad_letters").into_owned(),
            })?,
        };
        // One that hides stands in the list, too, once the radio has joined it.
        let hidden = kept.map_or(seen.is_none(), |wifi| wifi.hidden);
        Ok(Wish { plan: Plan { wifi: Some(Wifi { hidden, ssid }), ..now }, passphrase: Some(passphrase), country })
    }

    fn other_country(&self, state: &State) -> Result<Option<Country>, String> {
        if self.country.is_empty() {
            return Ok(None);
        }
        let typed = self.country.as_str();
        let country = Country::new(typed).map_err(|_| t!("wifi.form.bad_country", text = typed).into_owned())?;
        Ok(Some(country).filter(|country| state.netconf.country != Some(*country)))
    }
}

/// Why a network cannot be joined.
pub(crate) fn unfit(security: Security) -> String {
    let text = match security {
        Security::Personal | Security::Other => t!("wifi.unfit.other"),
        Security::Open => t!("wifi.unfit.open"),
        Security::Enterprise => t!("wifi.unfit.enterprise"),
        Security::Wep => t!("wifi.unfit.wep"),
    };
    text.into_owned()
}

pub(crate) fn stations(state: &State) -> &[Station] {
    state.wifi.stations.as_deref().unwrap_or_default()
}

/// The network in reach; of two with that name, one that can be joined.
fn seen<'a>(station: &'a Station, ssid: &Ssid) -> Option<&'a Reach> {
    let mut named = station.networks.iter().filter(|reach| reach.ssid == ssid.as_str());
    let first = named.clone().next();
    named.find(|reach| reach.security == Security::Personal).or(first)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MAC: &str = "02:00:00:00:00:00";

    fn state() -> State {
        let reach =
            |ssid: &str, security| Reach { ssid: ssid.into(), signal: -50, security, connected: false, known: false };
        let networks = vec![reach("Home", Security::Personal), reach("Café", Security::Open)];
        let station = Station { card: "wlan0".into(), mac: MAC.into(), networks, ..Station::default() };
        State { wifi: Arc::new(twin::net::Wifi { radios: vec![], stations: Some(vec![station]) }), ..State::default() }
    }

    fn form(ssid: &str, typed: &str, passphrase: &str) -> Join {
        let passphrase = Secret::new(passphrase.to_owned());
        Join { card: MAC.into(), ssid: ssid.into(), typed: typed.into(), passphrase, ..Join::of(What::Join) }
    }

    fn join(ssid: &str, typed: &str, passphrase: &str) -> Result<Wish, String> {
        form(ssid, typed, passphrase).read(&state())
    }

    /// With a network and a country that are kept.
    fn settled(wifi: Wifi, country: &str) -> State {
        let plan = Plan { wifi: Some(wifi), ..Plan::automatic(MAC.parse().unwrap()) };
        let netconf =
            netconf::Report { plans: vec![plan], country: Country::new(country).ok(), ..netconf::Report::default() };
        State { netconf, ..state() }
    }

    #[test]
    fn a_network_of_the_list_is_joined_with_its_password() {
        let wish = join("Home", "ignored", "a good password").unwrap();
        let wifi = wish.plan.wifi.unwrap();
        assert_eq!((wifi.ssid.as_str(), wifi.hidden), ("Home", false));
        assert!(wish.passphrase.is_some() && wish.country.is_none());
    }

    #[test]
    fn a_network_that_is_not_in_the_list_is_looked_for_by_name() {
        assert!(join("", "Attic", "a good password").unwrap().plan.wifi.unwrap().hidden);
        assert!(!join("", "Home", "a good password").unwrap().plan.wifi.unwrap().hidden);
    }

    #[test]
    fn a_hidden_network_stays_one_although_the_radio_sees_it_while_it_is_joined() {
        let state = settled(Wifi { ssid: Ssid::new("Home").unwrap(), hidden: true }, "DE");
        assert!(form("Home", "", "another password").read(&state).unwrap().plan.wifi.unwrap().hidden);
    }

    #[test]
    fn a_country_goes_with_a_network_or_alone_and_the_same_one_is_no_change() {
        let country = Country::new("BR").ok();
        let mut asked = Join { country: "br".into(), ..form("Home", "", "a good password") };
        assert_eq!(asked.read(&state()).unwrap().country, country);
        let home = || Wifi { ssid: Ssid::new("Home").unwrap(), hidden: false };
        let de = settled(home(), "DE");
        assert_eq!(asked.read(&de).unwrap().country, country);
        assert_eq!(asked.read(&settled(home(), "BR")).unwrap().country, None, "it is no other one");
        // The password that is kept will do.
        asked.passphrase = nothing();
        let wish = asked.read(&de).unwrap();
        assert_eq!((wish.plan.wifi, wish.passphrase, wish.country), (Some(home()), None, country));
        (asked.ssid, asked.what) = (String::new(), What::Country);
        let wish = asked.read(&de).unwrap();
        assert_eq!((wish.plan.wifi, wish.country), (Some(home()), country), "the network stays");
        let alone = asked.read(&state()).unwrap();
        assert!(alone.plan.is_automatic() && alone.country == country);
        for same in ["", "BR"] {
            asked.country = same.into();
            assert!(asked.read(&settled(home(), "BR")).unwrap_err().contains("nothing to change"));
        }
    }

    #[test]
    fn what_is_no_country_is_named() {
        let asked = Join { country: "Atlantis".into(), ..form("Home", "", "a good password") };
        let sentence = asked.read(&state()).unwrap_err();
        assert!(sentence.contains("Atlantis") && !sentence.contains("wifi."), "{sentence}");
    }

    #[test]
    fn what_cannot_be_is_a_sentence_without_the_password() {
        for (ssid, password) in
            [("Home", "short"), ("Home", "pässwörter"), ("Café", "a good password"), ("", "12345678")]
        {
            let sentence = join(ssid, "", password).unwrap_err();
            assert!(!sentence.contains("wifi.") && !sentence.contains(password), "{sentence}");
        }
    }
}
