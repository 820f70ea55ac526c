//! A folder of keys.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{Issuer, KeyPair, SigningKey};
use release::{Keyring, Purpose, SIGNED_FORMAT, Signed};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{DEVELOPMENT, Error, make};

/// See the drawing at the top of `keys.rs`.
#[derive(Debug)]
pub struct Keys {
    folder: PathBuf,
}

/// A signing key and the certificates that lead from it to a root.
#[derive(Debug)]
pub struct Signer {
    key: KeyPair,
    /// The private key, for RAUC.
    pub key_file: PathBuf,
    /// PEM; the signing key's own first.
    pub chain: Vec<String>,
    der: Vec<CertificateDer<'static>>,
}

fn at<T>(action: &'static str, path: &Path, result: std::io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Io { action, path: path.into(), source })
}

impl Keys {
    /// Makes a root and a signing key in a folder without any.
    pub fn new(folder: &Path, name: &str) -> Result<Self, Error> {
        let keys = Self { folder: folder.into() };
        if keys.newest("root", "cert.pem") > 0 {
            return Err(Error::Exists(folder.into()));
        }
        at("create", folder, folder_for_owner(folder))?;
        let key = make::key()?;
        let root = make::root(&format!("{name} root 1"), &key)?;
        // The keyring stands for the whole: it comes last.
        private(&keys.root_key(1), &key.serialize_pem())?;
        public(&keys.path("root", 1, "cert.pem"), &root.pem())?;
        keys.add_signing(None)?;
        keys.write_keyring()?;
        Ok(keys)
    }

    /// An existing folder.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let keys = Self { folder: folder.into() };
        if keys.keyring_file().is_file() { Ok(keys) } else { Err(Error::None(folder.into())) }
    }

    /// Makes the next signing key, certified by the newest root, whose key is in `root`.
    pub fn add_signing(&self, root: Option<&Path>) -> Result<(), Error> {
        let number = self.newest("root", "cert.pem");
        let issuer = self.issuer(number, root)?;
        let next = self.newest("signing", "key.pem") + 1;
        let key = make::key()?;
        let name = self.root_name(number)?;
        let name = name.rsplit_once(" root ").map_or(name.as_str(), |(name, _)| name).to_owned();
        let mut chain = make::signing(&format!("{name} signing {next}"), &key, &issuer)?.pem();
        for cross in (2..=number).rev() {
            let path = self.path("cross", cross, "cert.pem");
            chain.push_str(&at("read", &path, fs::read_to_string(&path))?);
        }
        private(&self.path("signing", next, "key.pem"), &key.serialize_pem())?;
        public(&self.path("signing", next, "chain.pem"), &chain)
    }

    /// Makes the next root. Its key goes to where the old one's is.
    pub fn add_root(&self, root: Option<&Path>) -> Result<(), Error> {
        let old = self.newest("root", "cert.pem");
        let before = self.issuer(old, root)?;
        let old_name = self.root_name(old)?;
        let name = old_name.rsplit_once(' ').map_or(old_name.as_str(), |(name, _)| name);
        let next = old + 1;
        let name = format!("{name} {next}");
        let key = make::key()?;
        let own = make::root(&name, &key)?;
        let cross = make::cross(&name, &key, &before)?;
        private(&root.unwrap_or(&self.folder).join(format!("root-{next}.key.pem")), &key.serialize_pem())?;
        public(&self.path("cross", next, "cert.pem"), &cross.pem())?;
        public(&self.path("root", next, "cert.pem"), &own.pem())?;
        self.add_signing(root)?;
        self.write_keyring()
    }

    /// All roots in one file: goes into an image.
    pub fn keyring_file(&self) -> PathBuf {
        self.folder.join("keyring.pem")
    }

    /// What is in it, as PEM and as the box sees it.
    pub fn keyring(&self) -> Result<(String, Keyring), Error> {
        let path = self.keyring_file();
        let text = at("read", &path, fs::read_to_string(&path))?;
        let keyring = Keyring::parse(text.as_bytes()).map_err(|error| Error::File { path, why: error.to_string() })?;
        Ok((text, keyring))
    }

    /// Whether a machine made them by itself, for trying.
    pub fn development(&self) -> Result<bool, Error> {
        Ok(self.root_name(1)?.starts_with(DEVELOPMENT))
    }

    /// Where a root's key is when it is not in its drawer.
    pub fn root_key(&self, number: u32) -> PathBuf {
        self.path("root", number, "key.pem")
    }

    /// The newest signing key.
    pub fn signer(&self) -> Result<Signer, Error> {
        let number = self.newest("signing", "chain.pem");
        let (key_file, path) = (self.path("signing", number, "key.pem"), self.path("signing", number, "chain.pem"));
        let key = read_key(&key_file)?;
        let text = at("read", &path, fs::read_to_string(&path))?;
        let der = certificates(&path, &text)?;
        let until = self.times(&der[0], &path)?.not_after;
        if until.timestamp() < time::OffsetDateTime::now_utc().unix_timestamp() {
            return Err(Error::Over { path, until: until.to_string() });
        }
        const END: &str = "-----END CERTIFICATE-----";
        let chain =
            text.split_inclusive(END).filter(|part| part.contains(END)).map(|part| format!("{}\n", part.trim()));
        Ok(Signer { key, key_file, chain: chain.collect(), der })
    }

    /// One line a certificate.
    pub fn describe(&self) -> Result<String, Error> {
        let mut lines = vec![format!("keys in {}", self.folder.display())];
        for (kind, end) in [("root", "cert.pem"), ("signing", "chain.pem")] {
            for number in 1..=self.newest(kind, end) {
                let path = self.path(kind, number, end);
                let text = at("read", &path, fs::read_to_string(&path))?;
                let der = certificates(&path, &text)?;
                let until = self.times(&der[0], &path)?.not_after;
                let key = match self.path(kind, number, "key.pem").is_file() {
                    true if kind == "root" => "its key is HERE: keep it offline",
                    true => "its key is here",
                    false => "its key is elsewhere",
                };
                lines.push(format!("  {:<34} valid until {until}; {key}", subject(&der[0], &path)?));
            }
        }
        Ok(lines.join("\n"))
    }

    fn path(&self, kind: &str, number: u32, end: &str) -> PathBuf {
        self.folder.join(format!("{kind}-{number}.{end}"))
    }

    /// The highest number of that kind; 0: there is none.
    fn newest(&self, kind: &str, end: &str) -> u32 {
        (1..).take_while(|number| self.path(kind, *number, end).is_file()).last().unwrap_or(0)
    }

    fn root_name(&self, number: u32) -> Result<String, Error> {
        let path = self.path("root", number, "cert.pem");
        let text = at("read", &path, fs::read_to_string(&path))?;
        subject(&certificates(&path, &text)?[0], &path)
    }

    fn issuer(&self, number: u32, folder: Option<&Path>) -> Result<Issuer<'static, KeyPair>, Error> {
        let path = folder.unwrap_or(&self.folder).join(format!("root-{number}.key.pem"));
        if !path.is_file() {
            return Err(Error::RootAway(path));
        }
        let key = read_key(&path)?;
        let certificate = self.path("root", number, "cert.pem");
        let text = at("read", &certificate, fs::read_to_string(&certificate))?;
        Ok(Issuer::from_ca_cert_pem(&text, key)?)
    }

    /// Whole or as it was: a box would not start to trust half a keyring, but it would refuse the new half.
    fn write_keyring(&self) -> Result<(), Error> {
        let mut text = String::new();
        for number in 1..=self.newest("root", "cert.pem") {
            let path = self.path("root", number, "cert.pem");
            text.push_str(&at("read", &path, fs::read_to_string(&path))?);
        }
        let path = self.keyring_file();
        crate::atomic::write(&path, text.as_bytes()).map_err(|source| Error::Io { action: "write", path, source })
    }

    fn times(&self, der: &CertificateDer<'_>, path: &Path) -> Result<x509_parser::certificate::Validity, Error> {
        Ok(parse(der, path)?.validity().clone())
    }
}

impl Signer {
    /// Signs a document.
    pub fn sign(&self, purpose: Purpose, document: String) -> Result<Signed, Error> {
        let signature = BASE64.encode(self.key.sign(&purpose.message(&document))?);
        let chain = self.der.iter().map(|der| BASE64.encode(der)).collect();
        Ok(Signed { format: SIGNED_FORMAT, document, signature, chain })
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>, path: &Path) -> Result<X509Certificate<'a>, Error> {
    let wrong = |error: x509_parser::asn1_rs::Err<_>| {
        let error: x509_parser::asn1_rs::Err<x509_parser::error::X509Error> = error;
        Error::File { path: path.into(), why: error.to_string() }
    };
    Ok(X509Certificate::from_der(der).map_err(wrong)?.1)
}

fn subject(der: &CertificateDer<'_>, path: &Path) -> Result<String, Error> {
    let certificate = parse(der, path)?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
    name.ok_or_else(|| Error::File { path: path.into(), why: "its certificate has no name".into() })
}

/// At least one.
fn certificates(path: &Path, text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |why: String| Error::File { path: path.into(), why };
    let found = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(found) }
}

fn read_key(path: &Path) -> Result<KeyPair, Error> {
    let text = at("read", path, fs::read_to_string(path))?;
    // Why it is not one is not said: the reason may quote it.
    KeyPair::from_pem(&text).map_err(|_| Error::File { path: path.into(), why: "it is no private key".into() })
}

/// For nobody else's eyes, and never over another one.
fn private(path: &Path, text: &str) -> Result<(), Error> {
    create(path, text, 0o600)
}

fn public(path: &Path, text: &str) -> Result<(), Error> {
    create(path, text, 0o644)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    at("create", path, file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())))
}

/// A folder for its owner alone; one that is there stays as it is.
fn folder_for_owner(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
