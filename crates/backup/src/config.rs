//! Where copies go, as the owner enters it.

use std::{fmt, path::PathBuf};

use base64::Engine;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Secret;

/// A place for copies of the channel backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    Folder(Folder),
    Sftp(Sftp),
    S3(S3),
    Webdav(Webdav),
    Mail(Mail),
}

/// A folder on a disk that the caller has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Where the disk is mounted.
    pub mount: PathBuf,
    /// The folder on it, made by the test when it is not there.
    #[serde(default = "folder_name")]
    pub folder: PathBuf,
    /// Refuse when no file system is mounted there: else copies for a disk that is gone would land on the box itself.
    #[serde(default = "yes")]
    pub must_be_mounted: bool,
}

fn folder_name() -> PathBuf {
    "homebolt".into()
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sftp {
    pub host: String,
    #[serde(default = "ssh_port")]
    pub port: u16,
    pub user: String,
    pub login: SftpLogin,
    /// Relative to the user's home unless it begins with `/`; made by the test when it is not there.
    pub folder: String,
    /// The one that the owner has confirmed. Without it only [`Target::probe`] connects, and stops before the login.
    #[serde(default)]
    pub host_key: Option<HostKey>,
}

fn ssh_port() -> u16 {
    22
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SftpLogin {
    Password(Secret),
    /// The box's own key, OpenSSH's format, see [`crate::sftp::generate_key`].
    Key(Secret),
}

/// A server's public key in OpenSSH's format without comment: `ssh-ed25519 AAAA...`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostKey(pub String);

impl HostKey {
    /// As `ssh-keygen -l` and `ssh` show it: `SHA256:...`.
    pub fn fingerprint(&self) -> String {
        let blob = self.0.split_whitespace().nth(1).unwrap_or_default();
        let blob = base64::engine::general_purpose::STANDARD.decode(blob).unwrap_or_default();
        format!("SHA256:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(blob)))
    }

    /// `ssh-ed25519` and the like.
    pub fn algorithm(&self) -> &str {
        self.0.split_whitespace().next().unwrap_or_default()
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3 {
    /// `https://host[:port]`; `http://` is allowed, as keys are never sent, only signatures.
    pub endpoint: String,
    #[serde(default = "s3_region")]
    pub region: String,
    pub bucket: String,
    /// A folder in the bucket, or nothing.
    #[serde(default)]
    pub prefix: String,
    pub access_key: String,
    pub secret_key: Secret,
    /// Own CA, PEM, beside those of the system.
    #[serde(default)]
    pub ca: Option<String>,
}

fn s3_region() -> String {
    "us-east-1".into()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webdav {
    /// The folder, `https://` only: the password travels with each request. Made by the test when it is not there.
    pub url: String,
    pub user: String,
    pub password: Secret,
    /// Own CA or the server's own certificate, PEM, beside those of the system.
    #[serde(default)]
    pub ca: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    pub user: String,
    pub password: Secret,
    pub from: String,
    pub to: String,
    /// Own CA or the server's own certificate, PEM, beside those of the system.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Mail never goes without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailTls {
    /// TLS from the first byte, usually port 465.
    Implicit,
    /// `STARTTLS`, usually port 587.
    StartTls,
}

impl Target {
    /// The place in words, without secrets; the same place gives the same words.
    pub fn describe(&self) -> String {
        match self {
            Self::Folder(folder) => format!("the folder {}", folder.mount.join(&folder.folder).display()),
            Self::Sftp(sftp) => format!("sftp://{}@{}:{}/{}", sftp.user, sftp.host, sftp.port, sftp.folder),
            Self::S3(s3) => format!("the bucket {}/{} at {}", s3.bucket, s3.prefix, s3.endpoint),
            Self::Webdav(webdav) => format!("{} as {}", webdav.url, webdav.user),
            Self::Mail(mail) => format!("e-mail to {} by {}", mail.to, mail.host),
        }
    }

    /// Whether copies can be listed and read back from here.
    pub fn is_readable(&self) -> bool {
        !matches!(self, Self::Mail(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_in_debug_output_or_in_the_words() {
        let text =
            r#"{"kind": "sftp", "host": "nas", "user": "ann", "login": {"password": "hunter2"}, "folder": "scb"}"#;
        let sftp: Target = serde_json::from_str(text).unwrap();
        let text =
            r#"{"kind": "s3", "endpoint": "https://s3", "bucket": "b", "access_key": "AK", "secret_key": "hunter2"}"#;
        let s3: Target = serde_json::from_str(text).unwrap();
        let text = r#"{"kind": "webdav", "url": "https://nas/dav/", "user": "ann", "password": "hunter2"}"#;
        let webdav: Target = serde_json::from_str(text).unwrap();
        for target in [sftp, s3, webdav] {
            let words = format!("{target:?} {target:#?} {}", target.describe());
            assert!(!words.contains("hunter2"), "{words}");
            let stored = serde_json::to_string(&target).unwrap();
            assert!(stored.contains("hunter2"));
            assert_eq!(serde_json::from_str::<Target>(&stored).unwrap(), target);
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_openssh() {
        // ssh-keygen -lf on this key
        let key =
            HostKey("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".to_owned());
        assert_eq!(key.fingerprint(), "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!(key.algorithm(), "ssh-ed25519");
    }
}
