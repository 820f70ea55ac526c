use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{ServerName, UnixTime};

use super::*;

pub(crate) const BUILT: u64 = 1_750_000_000;

fn network(addresses: &[&str]) -> twin::Network {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let interface = twin::Interface { name: "eth0".into(), up: true, mac: String::new(), addresses };
    twin::Network { host_name: "attic".into(), interfaces: vec![interface], ..Default::default() }
}

fn keeper(folder: &Path, addresses: &[&str]) -> (Arc<Authority>, Keeper) {
    let authority = Arc::new(Authority::open(folder, "attic", BUILT, false).unwrap());
    let names = Names::of_box(&authority, &network(addresses));
    (authority.clone(), Keeper::open(folder, authority, &names, BUILT).unwrap())
}

/// What a browser that trusts `authority` says to the certificate on disk for `name` at `at`.
fn verdict(authority: &Authority, folder: &Path, name: &str, at: u64) -> Result<(), rustls::Error> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let text = fs::read(folder.join("leaf.pem")).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).map(Result::unwrap).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).map(drop)
}

#[test]
fn the_leaf_is_good_for_every_name_and_address_of_the_box() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, _) = keeper(folder.path(), &["192.168.7.9", "fd00::9", "2001:db8::9", "203.0.113.9"]);
    let at = crate::error::now();
    for name in ["homelab.local", "attic", "attic.local", "localhost", "127.0.0.1", "::1", "192.168.7.9", "fd00::9"] {
        verdict(&authority, folder.path(), name, at).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // Public addresses are left out, or the name constraints would spoil the whole certificate.
    verdict(&authority, folder.path(), "203.0.113.9", at).unwrap_err();
    verdict(&authority, folder.path(), "example.org", at).unwrap_err();
}

#[test]
fn the_authority_cannot_vouch_for_a_foreign_name() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, keeper) = keeper(folder.path(), &[]);
    let mut names = Names::of_box(&authority, &network(&[]));
    names.dns.insert("bank.example".into());
    keeper.renew(&names, crate::error::now()).unwrap();
    let error = verdict(&authority, folder.path(), "bank.example", crate::error::now()).unwrap_err();
    assert!(format!("{error:?}").contains("NameConstraint"), "{error:?}");
}

#[test]
fn a_clock_in_the_past_gives_certificates_that_are_valid_now() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, keeper) = keeper(folder.path(), &[]);
    let names = Names::of_box(&authority, &network(&[]));
    // The battery is empty: the box thinks it is 1970 and the leaf is lost.
    fs::remove_file(folder.path().join("leaf.pem")).unwrap();
    let other = Names { dns: ["localhost".to_owned()].into(), addresses: ["10.9.9.9".parse().unwrap()].into() };
    keeper.renew(&other, 0).unwrap();
    assert!(keeper.renew(&names, 0).unwrap());
    verdict(&authority, folder.path(), "homelab.local", BUILT).unwrap();
    verdict(&authority, folder.path(), "homelab.local", BUILT + 300 * DAY).unwrap();
}

#[test]
fn a_restart_keeps_the_leaf_and_a_new_address_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, first) = keeper(folder.path(), &["192.168.7.9"]);
    let text = fs::read(folder.path().join("leaf.pem")).unwrap();
    let (again, second) = keeper(folder.path(), &["192.168.7.9"]);
    assert_eq!(fs::read(folder.path().join("leaf.pem")).unwrap(), text, "nothing changed, so nothing is issued");
    assert_eq!(again.words(), authority.words());
    drop(keeper(folder.path(), &[]));
    let kept = fs::read(folder.path().join("leaf.pem")).unwrap();
    assert_eq!(kept, text, "a start before the network is up does not give the leaf up");
    drop(first);

    let names = Names::of_box(&authority, &network(&["192.168.7.10"]));
    assert!(second.renew(&names, crate::error::now()).unwrap());
    verdict(&authority, folder.path(), "192.168.7.10", crate::error::now()).unwrap();
    assert!(!second.renew(&names, crate::error::now()).unwrap());
}

#[test]
fn a_leaf_near_its_end_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, keeper) = keeper(folder.path(), &[]);
    let names = Names::of_box(&authority, &network(&[]));
    let now = crate::error::now();
    assert!(!keeper.renew(&names, now + 700 * DAY).unwrap());
    assert!(keeper.renew(&names, now + 790 * DAY).unwrap());
}

#[test]
fn a_damaged_authority_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    keeper(folder.path(), &[]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let half: String = fs::read_to_string(&file).unwrap().chars().take(300).collect();
    fs::write(&file, &half).unwrap();
    assert!(matches!(Authority::open(folder.path(), "attic", BUILT, false), Err(Error::KeyFile { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), half);
}

#[test]
fn a_power_cut_before_the_authority_is_in_place_leaves_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".authority.pem.new"), "half").unwrap();
    Authority::open(folder.path(), "attic", BUILT, false).unwrap();
}
