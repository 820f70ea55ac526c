use std::process::Command;

use release::{Keyring, Purpose, SignatureError, Signed};

use super::*;

const DOCUMENT: &str = "{\"a\": \"ü\"}";

fn now() -> u64 {
    time::OffsetDateTime::now_utc().unix_timestamp() as u64
}

fn keys(name: &str) -> (tempfile::TempDir, Keys) {
    let folder = tempfile::tempdir().unwrap();
    let keys = Keys::new(folder.path(), name).unwrap();
    (folder, keys)
}

fn sign(keys: &Keys) -> Signed {
    keys.signer().unwrap().sign(Purpose::Channel, DOCUMENT.into()).unwrap()
}

fn verify<'a>(signed: &'a Signed, keyring: &Keyring) -> Result<&'a str, SignatureError> {
    signed.verify(Purpose::Channel, now(), keyring)
}

#[test]
fn what_is_signed_is_believed_by_the_keyring_beside_the_key_and_by_no_other() {
    let (ours, theirs) = (keys("one"), keys("one"));
    let signed = sign(&ours.1);
    assert_eq!(verify(&signed, &ours.1.keyring().unwrap().1), Ok(DOCUMENT));
    assert!(matches!(verify(&signed, &theirs.1.keyring().unwrap().1), Err(SignatureError::Untrusted(_))));
}

#[test]
fn a_changed_document_another_purpose_and_another_time_are_refused() {
    let (_folder, keys) = keys("one");
    let keyring = keys.keyring().unwrap().1;
    let signed = sign(&keys);
    let changed = Signed { document: DOCUMENT.replace('a', "b"), ..signed.clone() };
    assert_eq!(verify(&changed, &keyring), Err(SignatureError::Signature));
    assert_eq!(signed.verify(Purpose::Update, now(), &keyring), Err(SignatureError::Signature));
    for made in [0, now() - 7200, now() + 3 * 365 * 86_400] {
        assert!(matches!(signed.verify(Purpose::Channel, made, &keyring), Err(SignatureError::Untrusted(_))), "{made}");
    }
}

#[test]
fn a_root_does_not_sign_documents_and_a_signing_key_certifies_nothing() {
    let (folder, keys) = keys("one");
    let keyring = keys.keyring().unwrap().1;
    let signer = keys.signer().unwrap();
    // The signing key's certificate as an issuer of another one.
    let key = make::key().unwrap();
    let own = std::fs::read_to_string(&signer.key_file).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&signer.chain[0], rcgen::KeyPair::from_pem(&own).unwrap()).unwrap();
    let child = make::signing("child", &key, &issuer).unwrap();
    let path = |end: &str| folder.path().join(format!("signing-2.{end}"));
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("chain.pem"), child.pem() + &signer.chain[0]).unwrap();
    assert!(matches!(verify(&sign(&keys), &keyring), Err(SignatureError::Untrusted(_))));
    // The root itself.
    std::fs::copy(keys.root_key(1), path("key.pem")).unwrap();
    std::fs::copy(folder.path().join("root-1.cert.pem"), path("chain.pem")).unwrap();
    assert!(matches!(verify(&sign(&keys), &keyring), Err(SignatureError::Untrusted(_))));
}

#[test]
fn a_new_signing_key_is_believed_by_boxes_that_know_only_the_root() {
    let (folder, keys) = keys("one");
    let old = keys.keyring().unwrap().1;
    let drawer = tempfile::tempdir().unwrap();
    std::fs::rename(keys.root_key(1), drawer.path().join("root-1.key.pem")).unwrap();
    assert!(matches!(keys.add_signing(None), Err(Error::RootAway(_))), "without the root's key nothing is certified");
    let first = keys.signer().unwrap().key_file;
    keys.add_signing(Some(drawer.path())).unwrap();
    assert_ne!(keys.signer().unwrap().key_file, first);
    assert_eq!(verify(&sign(&keys), &old), Ok(DOCUMENT));
    assert!(!folder.path().join("root-1.key.pem").exists());
}

#[test]
fn a_new_root_is_believed_by_old_boxes_and_the_old_signing_key_by_new_ones() {
    let (_folder, keys) = keys("one");
    let before = sign(&keys);
    let old = keys.keyring().unwrap().1;
    let mut all = vec![old.clone()];
    for _ in 0..2 {
        keys.add_root(None).unwrap();
        all.push(keys.keyring().unwrap().1);
    }
    let after = sign(&keys);
    for keyring in &all {
        assert_eq!(verify(&before, keyring), Ok(DOCUMENT));
        assert_eq!(verify(&after, keyring), Ok(DOCUMENT));
    }
    // Once the first root is taken out of the keyring, what it alone vouches for is refused.
    let text = keys.keyring().unwrap().0;
    let newest = text.rfind("-----BEGIN").unwrap();
    let newest = Keyring::parse(&text.as_bytes()[newest..]).unwrap();
    assert_eq!(verify(&after, &newest), Ok(DOCUMENT));
    assert!(verify(&before, &newest).is_err());
}

#[test]
fn keys_are_for_their_owner_alone_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, keys) = keys("one");
    for key in [keys.root_key(1), keys.signer().unwrap().key_file] {
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(matches!(Keys::new(folder.path(), "two"), Err(Error::Exists(_))));
    assert!(matches!(Keys::open(&folder.path().join("none")), Err(Error::None(_))));
}

#[test]
fn development_keys_are_made_once_and_say_what_they_are() {
    let cache = tempfile::tempdir().unwrap();
    let first = development(cache.path()).unwrap();
    assert!(first.development().unwrap());
    assert_eq!(development(cache.path()).unwrap().keyring().unwrap().0, first.keyring().unwrap().0);
    assert!(!keys("Example").1.development().unwrap());
}

/// RAUC checks with OpenSSL: so do we, over three roots.
#[test]
fn openssl_takes_the_chain_for_signing_code() {
    let (folder, keys) = keys("one");
    let old = folder.path().join("old.pem");
    std::fs::copy(keys.keyring_file(), &old).unwrap();
    keys.add_root(None).unwrap();
    let signer = keys.signer().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (leaf, between) = (file("leaf.pem", &signer.chain[0]), file("between.pem", &signer.chain[1..].concat()));
    let (data, cms) = (file("data", DOCUMENT), folder.path().join("cms"));
    let mut sign = Command::new("openssl");
    sign.args(["cms", "-sign", "-binary", "-outform", "DER", "-certfile"]).arg(&between).arg("-signer").arg(&leaf);
    sign.arg("-inkey").arg(&signer.key_file).arg("-in").arg(&data).arg("-out").arg(&cms);
    let signed = match sign.output() {
        Err(_) => return eprintln!("SKIP: there is no openssl"),
        Ok(signed) => signed,
    };
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    for keyring in [old, keys.keyring_file()] {
        let mut verify = Command::new("openssl");
        verify.args(["cms", "-verify", "-binary", "-inform", "DER", "-purpose", "any", "-content"]).arg(&data);
        let said = verify.arg("-in").arg(&cms).arg("-CAfile").arg(&keyring).output().unwrap();
        assert!(said.status.success(), "{}: {}", keyring.display(), String::from_utf8_lossy(&said.stderr));
    }
}
