//! A publisher with keys of its own, its server, and a box that asks it.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SigningKey,
};
use release::{Channel, Image, Listed, Purpose, Release, SIGNED_FORMAT, Signed, Texts, UPDATE_FORMAT};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use twin::{Resources, updates::Report};

use super::*;
use crate::http::tests::Visit;

/// Signs updates and channels.
pub(crate) struct Publisher {
    key: KeyPair,
    chain: Vec<String>,
    /// PEM.
    pub(crate) keyring: String,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut root = params("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_key = key();
        let keyring = root.self_signed(&root_key).unwrap().pem();
        let mut leaf = params("signing");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = key();
        let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        Self { key, chain: vec![BASE64.encode(leaf.der())], keyring }
    }

    /// The file of a signed document.
    pub(crate) fn sign(&self, purpose: Purpose, document: &impl Serialize) -> Vec<u8> {
        let document = serde_json::to_string(document).unwrap();
        let signature = BASE64.encode(self.key.sign(&purpose.message(&document)).unwrap());
        serde_json::to_vec(&Signed { format: SIGNED_FORMAT, document, signature, chain: self.chain.clone() }).unwrap()
    }
}

/// What describes `bundle` as that version.
pub(crate) fn described(version: &str, bundle: &[u8]) -> Update {
    use sha2::Digest;
    described_as(version, bundle.len() as u64, &hex::encode(Sha256::digest(bundle)))
}

pub(crate) fn described_as(version: &str, size: u64, sha256: &str) -> Update {
    let release = Release {
        version: version.into(),
        board: "x86-64".into(),
        base: "debian".into(),
        built: 1,
        lnd_version: "v0.21.2-beta".into(),
        development_keys: false,
        eeprom: None,
    };
    Update {
        format: UPDATE_FORMAT,
        release,
        bundle: Image { name: format!("homebolt-{version}.raucb"), size, sha256: sha256.into() },
        root_hash: "ab".repeat(32),
        one_way: false,
        least_version: None,
        notes: Texts::from([("en".into(), "Faster.".into()), ("de".into(), "Schneller.".into())]),
        made: now() - 60,
        expires: now() + 86_400,
    }
}

/// A list of `updates` that was signed so many seconds ago.
pub(crate) fn list(updates: Vec<Update>, age: u64) -> Channel {
    let mut channel = Channel::new("stable", now() - age, now() + 86_400);
    channel.releases =
        updates.into_iter().map(|update| Listed { update, folder: "files".into(), waves: vec![] }).collect();
    channel
}

/// Files by path, for whoever asks.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Shelf {
    fn put(&self, path: &str, file: Vec<u8>) {
        self.0.lock().unwrap().insert(path.to_owned(), file);
    }

    /// Answers on loopback; gives its address.
    async fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let files = self.0.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 2048];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let file = files.lock().unwrap().get(head.split(' ').nth(1).unwrap_or_default()).cloned();
                let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
                let file = file.unwrap_or_default();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", file.len());
                let _ = stream.write_all(&[head.into_bytes(), file].concat()).await;
            }
        });
        address
    }
}

/// A box whose owner is there, which trusts `publisher` and has room.
pub(crate) async fn trusting(publisher: &Publisher) -> Visit {
    let mut visit = crate::http::tests::visit().await;
    fs::write(visit.folder.path().join("keyring.pem"), &publisher.keyring).unwrap();
    visit.own().await;
    room(&visit, 100_000_000_000).await;
    visit
}

/// So much is free on its data partition.
pub(crate) async fn room(visit: &Visit, free: u64) {
    let (data_total, clock_set) = (200_000_000_000, Some(true));
    let resources = Resources { data_total, data_available: free, clock_set, ..Resources::default() };
    tell(visit, twin::Update::Resources(resources), |state| state.resources.data_available == free).await;
    let report = Report { database: Some(0), ..Report::default() };
    tell(visit, twin::Update::Updates(Arc::new(report)), |state| state.updates.database.is_some()).await;
}

pub(crate) async fn tell(visit: &Visit, update: twin::Update, arrived: impl Fn(&twin::State) -> bool) {
    visit.twin.send(update).await.unwrap();
    while !arrived(&visit.house.shared.twin.state()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A root program that agrees to everything; gives what it was asked for.
pub(crate) fn agreeing_root(run_dir: &Path) -> Arc<Mutex<Vec<(String, String)>>> {
    let asked: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let (kept, run_dir) = (asked.clone(), run_dir.to_owned());
    tokio::spawn(async move {
        for number in 1_u64.. {
            for request in fs::read_dir(run_dir.join("manager/request")).into_iter().flatten().flatten() {
                let content = fs::read_to_string(request.path()).unwrap_or_default();
                let _ = fs::remove_file(request.path());
                let name = request.file_name().to_string_lossy().into_owned();
                let answer = serde_json::json!({
                    "name": name, "ok": true, "message": "It has begun.", "at": 0, "done": true, "number": number,
                });
                kept.lock().unwrap().push((name, content));
                fs::write(run_dir.join(".answer"), answer.to_string()).unwrap();
                fs::rename(run_dir.join(".answer"), run_dir.join("request-result.json")).unwrap();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    asked
}

/// Sets the channel of a shelf, and looks.
async fn asking(visit: &mut Visit, address: &str) -> String {
    let form = format!("url={address}&name=stable&home=yes&automatic=look&start=3&hours=2");
    let answer = visit.post("/settings/updates", &form).await;
    assert_eq!(answer.location(), "/settings/updates", "{}", answer.text);
    assert_eq!(visit.post("/settings/updates/look", "").await.location(), "/settings/updates");
    visit.get("/settings/updates").await.text
}

#[tokio::test]
async fn a_new_version_of_the_channel_is_shown_and_installed_by_its_signed_description() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let asked = agreeing_root(visit.folder.path());
    let update = described("0.2.0", b"bundle");
    let shelf = Shelf::default();
    shelf.put("/stable.json", publisher.sign(Purpose::Channel, &list(vec![update.clone()], 60)));
    let description = publisher.sign(Purpose::Update, &update);
    shelf.put("/files/homebolt-0.2.0.update.json", description.clone());
    let address = shelf.open().await;
    let page = asking(&mut visit, &address).await;
    for part in ["Version 0.2.0", "Faster.", "0.21.2-beta", "Install 0.2.0", "Yes, on this page."] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let other = visit.post("/settings/updates/install", "from=channel&version=0.3.0").await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    let begun = visit.post("/settings/updates/install", "from=channel&version=0.2.0").await;
    assert_eq!(begun.location(), "/settings/updates", "{}", begun.text);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].0, "update-install");
    let content: Value = serde_json::from_str(&asked[0].1).unwrap();
    let url = format!("{address}files/homebolt-0.2.0.raucb");
    assert_eq!(content, serde_json::json!({ "source": { "url": url }, "older": false, "by_hand": true }));
    assert_eq!(fs::read(visit.folder.path().join("update/update.json")).unwrap(), description);
}

#[tokio::test]
async fn a_description_that_is_not_the_one_of_the_list_is_never_handed_to_root() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let asked = agreeing_root(visit.folder.path());
    let shelf = Shelf::default();
    shelf.put("/stable.json", publisher.sign(Purpose::Channel, &list(vec![described("0.2.0", b"bundle")], 60)));
    let address = shelf.open().await;
    asking(&mut visit, &address).await;
    for (file, why) in [
        (publisher.sign(Purpose::Update, &described("0.2.0", b"another")), "another one than in"),
        (Publisher::new().sign(Purpose::Update, &described("0.2.0", b"bundle")), "does not trust"),
    ] {
        shelf.put("/files/homebolt-0.2.0.update.json", file);
        let answer = visit.post("/settings/updates/install", "from=channel&version=0.2.0").await;
        assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains(why), "{}", answer.text);
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_blocks_is_said_takes_the_button_away_and_holds_for_who_sends_the_form_all_the_same() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let asked = agreeing_root(visit.folder.path());
    let report = Report { database: Some(90_000_000_000), ..Report::default() };
    tell(&visit, twin::Update::Updates(Arc::new(report)), |state| state.updates.database > Some(1)).await;
    let shelf = Shelf::default();
    let update = described("0.2.0", b"bundle");
    shelf.put("/stable.json", publisher.sign(Purpose::Channel, &list(vec![update.clone()], 60)));
    shelf.put("/files/homebolt-0.2.0.update.json", publisher.sign(Purpose::Update, &update));
    let address = shelf.open().await;
    let page = asking(&mut visit, &address).await;
    assert!(page.contains("180 GB are needed") && !page.contains("Install 0.2.0"), "{page}");
    let answer = visit.post("/settings/updates/install", "from=channel&version=0.2.0").await;
    assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains("180 GB"), "{}", answer.text);
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_list_that_is_played_again_is_refused_and_what_was_heard_outlives_a_restart() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let shelf = Shelf::default();
    let put = |updates: Vec<Update>, age: u64| {
        shelf.put("/stable.json", publisher.sign(Purpose::Channel, &list(updates, age)));
    };
    put(vec![described("0.2.0", b"bundle")], 60);
    let address = shelf.open().await;
    asking(&mut visit, &address).await;
    let seen = visit.house.updates.seen();
    assert_eq!(seen.channel("stable"), now() - 60);
    // Without a server, and without memory: what was kept is judged again.
    *lock(&visit.house.updates.found) = None;
    look::again(&visit.house).await;
    assert_eq!(visit.house.updates.found().unwrap().update.release.version, "0.2.0");
    put(vec![], 3600);
    visit.post("/settings/updates/look", "").await;
    let page = visit.get("/settings/updates").await.text;
    assert!(page.contains("older than the one this box had before") && !page.contains("Install 0.2.0"), "{page}");
    let kept = crate::http::tests::updates(visit.house.store.clone(), visit.folder.path()).await;
    assert_eq!(kept.seen().channel("stable"), seen.channel("stable"), "it only rises");
    assert!(kept.seen().answered < kept.seen().asked || kept.seen().asked == seen.asked);
}

#[tokio::test]
async fn a_server_that_is_away_or_at_home_without_a_word_is_told_and_hides_nothing() {
    let publisher = Publisher::new();
    let mut visit = trusting(&publisher).await;
    let shelf = Shelf::default();
    shelf.put("/stable.json", publisher.sign(Purpose::Channel, &list(vec![described("0.2.0", b"bundle")], 60)));
    let address = shelf.open().await;
    asking(&mut visit, &address).await;
    shelf.0.lock().unwrap().clear();
    visit.post("/settings/updates/look", "").await;
    let page = visit.get("/settings/updates").await.text;
    assert!(page.contains("HTTP status 404") && page.contains("Install 0.2.0"), "{page}");
    let form = format!("url={}&name=stable&automatic=look&start=3&hours=2", address.replace("http", "https"));
    visit.post("/settings/updates", &form).await;
    visit.post("/settings/updates/look", "").await;
    assert!(visit.get("/settings/updates").await.text.contains("say in the settings below that the server is at home"));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_keep_what_was_typed() {
    let mut visit = trusting(&Publisher::new()).await;
    for (form, why) in [
        ("url=http%3A%2F%2Fa.example&name=stable&automatic=look&start=3&hours=2", "Without TLS"),
        ("url=a.example&name=stable&automatic=look&start=3&hours=2", "no address of a folder"),
        ("url=https%3A%2F%2Fa.example&name=Stable&automatic=look&start=3&hours=2", "32 small letters"),
        ("url=&name=stable&automatic=look&start=24&hours=2", "0 to 23"),
        ("url=&name=stable&automatic=look&start=x&hours=2", "0 to 23"),
    ] {
        let answer = visit.post("/settings/updates", form).await;
        assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains(why), "{form}");
    }
    let answer = visit.post("/settings/updates", "url=a.example&name=x&automatic=off&start=7&hours=2").await;
    assert!(answer.text.contains("value=\"a.example\"") && answer.text.contains("value=\"7\""));
    assert_eq!(visit.house.updates.settings(), Settings::default());
    visit.post("/settings/updates", "url=&name=stable&automatic=off&start=7&hours=2&keep=yes").await;
    let kept = crate::http::tests::updates(visit.house.store.clone(), visit.folder.path()).await.settings();
    assert!(kept.keep && kept.window.start == 7, "{kept:?}");
}

#[test]
fn errors_of_all_file_systems_are_counted_and_none_is_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(faults(&folder.path().join("ext4")), 0);
    for (name, count) in [("vda6", "2\n"), ("vdb1", "3\n"), ("features", "")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("errors_count"), count).unwrap();
    }
    assert_eq!(faults(folder.path()), 5);
}
