//! Radios: which there are, by the kernel, and what they see, by iwd over D-Bus (net.connman.iwd).
//!
//! iwd runs only where there is a radio, so without one nobody is asked. The manager may look and search; joining a
//! network is the root program's, and iwd's policy on the bus says so, too.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::{Instant, timeout};
use twin::{
    Sender, Update,
    net::{Blocked, Radio, Reach, Security, Station, Wifi},
    source::{Backoff, Health, TwinGone, sentence},
};
use zbus::{
    Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant,
    fdo::{ManagedObjects, ObjectManagerProxy},
};

use crate::{
    Error,
    bus::{self, ANSWER_LIMIT},
};

const SERVICE: &str = "net.connman.iwd";
/// How long a burst of signals may gather before it is answered with one read.
const DEBOUNCE: Duration = Duration::from_millis(400);
/// The kernel's list is read this often, and iwd even when it told of no change.
pub const RESYNC: Duration = Duration::from_secs(10);
/// A search goes through all channels: 3 to 6 s.
const SCAN_LIMIT: Duration = Duration::from_secs(12);
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

#[zbus::proxy(interface = "net.connman.iwd.Station", default_service = "net.connman.iwd")]
trait Iwd {
    /// Networks with their signal in hundredths of dBm, the best to join first.
    fn get_ordered_networks(&self) -> zbus::Result<Vec<(OwnedObjectPath, i16)>>;
    fn scan(&self) -> zbus::Result<()>;
}

/// Follows the radios, for as long as the twin lives.
pub async fn run(twin: Sender) {
    let mut health = Health::new("wifi", twin);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let Err(error) = follow(&mut health, &mut backoff).await;
        let told = match health.send(Update::Wifi(Wifi { radios: radios(Path::new("/sys")), stations: None })).await {
            Ok(()) => health.lost(&error).await,
            Err(TwinGone) => return,
        };
        match told {
            Err(TwinGone) => return,
            Ok(true) => tracing::warn!("iwd is not followed: {}", sentence(&error)),
            Ok(false) => {}
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

async fn follow(health: &mut Health, backoff: &mut Backoff) -> Result<std::convert::Infallible, Error> {
    let mut bus: Option<(Connection, MessageStream)> = None;
    loop {
        let radios = radios(Path::new("/sys"));
        if radios.is_empty() {
            bus = None;
            health.send(Update::Wifi(Wifi::default())).await?;
            health.connected().await?;
            tokio::time::sleep(RESYNC).await;
            continue;
        }
        let (connection, signals) = match &mut bus {
            Some(bus) => bus,
            None => {
                let connection = bus::connect().await?;
                let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).sender(SERVICE);
                let rule = rule.build().map_err(Error::Bus)?;
                let signals = MessageStream::for_match_rule(rule, &connection, None).await.map_err(Error::Bus)?;
                bus.insert((connection, signals))
            }
        };
        let stations = Some(stations(connection).await?);
        health.send(Update::Wifi(Wifi { radios, stations })).await?;
        health.connected().await?;
        backoff.reset();
        if let Ok(signal) = timeout(RESYNC, signals.next()).await {
            signal.ok_or(Error::Disconnected)?.map_err(Error::Bus)?;
            // The rest of a burst is answered by the same read.
            let end = Instant::now() + DEBOUNCE;
            while let Ok(Some(_)) = tokio::time::timeout_at(end, signals.next()).await {}
        }
    }
}

/// Has every radio look for networks, and waits until they have.
pub async fn scan() -> Result<(), Error> {
    let connection = bus::connect().await?;
    for (path, _) in objects(&connection).await?.iter().filter(|(_, faces)| faces.contains_key(STATION)) {
        let station = station_at(&connection, path).await?;
        let asked = answered("look for networks", station.scan()).await;
        // One that is looking already will find them, too.
        if let Err(error) = asked
            && !matches!(&error, Error::Iwd { source, .. } if source.to_string().contains("InProgress") || source.to_string().contains("Busy"))
        {
            return Err(error);
        }
    }
    let looked = async {
        loop {
            tokio::time::sleep(DEBOUNCE).await;
            if !stations(&connection).await?.iter().any(|station| station.scanning) {
                return Ok(());
            }
        }
    };
    // One that takes longer is shown as still looking.
    timeout(SCAN_LIMIT, looked).await.unwrap_or(Ok(()))
}

const DEVICE: &str = "net.connman.iwd.Device";
const STATION: &str = "net.connman.iwd.Station";
const NETWORK: &str = "net.connman.iwd.Network";

type Faces = HashMap<String, HashMap<String, OwnedVariant>>;

async fn stations(connection: &Connection) -> Result<Vec<Station>, Error> {
    let objects = objects(connection).await?;
    let mut stations = Vec::new();
    for (path, faces) in &objects {
        let Some(device) = faces.get(DEVICE) else { continue };
        let networks = if faces.contains_key(STATION) {
            let station = station_at(connection, path).await?;
            answered("list the networks in reach", station.get_ordered_networks()).await?
        } else {
            Vec::new()
        };
        stations.push(Station {
            card: text(device, "Name"),
            mac: text(device, "Address"),
            powered: flag(device, "Powered"),
            scanning: faces.get(STATION).is_some_and(|station| flag(station, "Scanning")),
            state: faces.get(STATION).map(|station| text(station, "State")).unwrap_or_default(),
            networks: networks
                .iter()
                .filter_map(|(path, signal)| reach(objects.get(path.as_str())?, *signal))
                .collect(),
        });
    }
    stations.sort_by(|one, other| one.card.cmp(&other.card));
    Ok(stations)
}

/// A network by its properties; `signal` in hundredths of dBm.
fn reach(faces: &Faces, signal: i16) -> Option<Reach> {
    let network = faces.get(NETWORK)?;
    Some(Reach {
        ssid: text(network, "Name"),
        signal: (f64::from(signal) / 500.0).round() as i16 * 5,
        security: match text(network, "Type").as_str() {
            "open" => Security::Open,
            "psk" => Security::Personal,
            "8021x" => Security::Enterprise,
            "wep" => Security::Wep,
            _ => Security::Other,
        },
        connected: flag(network, "Connected"),
        known: network.contains_key("KnownNetwork"),
    })
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    properties.get(name).and_then(|value| <&str>::try_from(value).ok()).unwrap_or_default().to_owned()
}

fn flag(properties: &HashMap<String, OwnedVariant>, name: &str) -> bool {
    properties.get(name).and_then(|value| bool::try_from(value).ok()).unwrap_or_default()
}

async fn objects(connection: &Connection) -> Result<HashMap<String, Faces>, Error> {
    let manager = ObjectManagerProxy::new(connection, SERVICE, "/").await.map_err(Error::Bus)?;
    let told = async { manager.get_managed_objects().await.map_err(zbus::Error::from) };
    let told: ManagedObjects = answered("list its radios", told).await?;
    let faces = |faces: HashMap<zbus::names::OwnedInterfaceName, HashMap<String, OwnedVariant>>| {
        faces.into_iter().map(|(name, properties)| (name.to_string(), properties)).collect()
    };
    Ok(told.into_iter().map(|(path, these)| (path.to_string(), faces(these))).collect())
}

async fn station_at<'a>(connection: &Connection, path: &str) -> Result<IwdProxy<'a>, Error> {
    let builder = IwdProxy::builder(connection).path(path.to_owned());
    // Its properties come with the list of all objects.
    builder.cache_properties(zbus::proxy::CacheProperties::No).build().await.map_err(Error::Bus)
}

async fn answered<T>(action: &'static str, call: impl Future<Output = zbus::Result<T>>) -> Result<T, Error> {
    let told = timeout(ANSWER_LIMIT, call).await;
    let told = told.map_err(|_| Error::IwdTimeout { action, seconds: ANSWER_LIMIT.as_secs() })?;
    told.map_err(|source| Error::Iwd { action, source })
}

/// The kernel's radios, in the order of their names.
fn radios(sys: &Path) -> Vec<Radio> {
    let Ok(entries) = fs::read_dir(sys.join("class/ieee80211")) else { return Vec::new() };
    let mut radios: Vec<Radio> = entries.flatten().map(|entry| radio(&entry.path())).collect();
    radios.sort_by(|one, other| one.name.cmp(&other.name));
    radios
}

fn radio(phy: &Path) -> Radio {
    let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let driver = fs::read_link(phy.join("device/driver")).map(name).unwrap_or_default();
    let switches = fs::read_dir(phy)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rfkill"));
    let is_set = |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.trim() == "1");
    let mut blocked = Blocked::No;
    for switch in switches {
        if is_set(switch.path().join("hard")) {
            blocked = Blocked::Hard;
        } else if blocked == Blocked::No && is_set(switch.path().join("soft")) {
            blocked = Blocked::Soft;
        }
    }
    Radio { name: name(phy.to_owned()), driver, blocked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_radio_has_a_driver_and_perhaps_a_switch_that_silences_it() {
        let sys = tempfile::tempdir().unwrap();
        assert_eq!(radios(sys.path()), []);
        let phy = sys.path().join("class/ieee80211/phy0");
        fs::create_dir_all(phy.join("rfkill3")).unwrap();
        fs::create_dir_all(phy.join("device")).unwrap();
        std::os::unix::fs::symlink("../../drivers/iwlwifi", phy.join("device/driver")).unwrap();
        fs::write(phy.join("rfkill3/soft"), "1\n").unwrap();
        fs::write(phy.join("rfkill3/hard"), "0\n").unwrap();
        let found = radios(sys.path());
        assert_eq!(found, [Radio { name: "phy0".into(), driver: "iwlwifi".into(), blocked: Blocked::Soft }]);
        fs::write(phy.join("rfkill3/hard"), "1\n").unwrap();
        assert_eq!(radios(sys.path())[0].blocked, Blocked::Hard);
    }

    #[test]
    fn a_network_is_read_from_iwds_properties() {
        let value = |text: &str| OwnedVariant::try_from(zbus::Variant::from(text.to_owned())).unwrap();
        let properties = HashMap::from([
            ("Name".to_owned(), value("Home")),
            ("Type".to_owned(), value("psk")),
            ("Connected".to_owned(), OwnedVariant::from(true)),
        ]);
        let faces = HashMap::from([(NETWORK.to_owned(), properties)]);
        let found = reach(&faces, -5730).unwrap();
        assert_eq!((found.ssid.as_str(), found.signal, found.security), ("Home", -55, Security::Personal));
        assert!(found.connected && !found.known);
        assert_eq!(reach(&HashMap::new(), 0), None);
    }
}
