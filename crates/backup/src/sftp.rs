//! SFTP with a host key that the owner has confirmed.

use std::sync::{Arc, Mutex, PoisonError};

use fetch::net::{self, ANSWER_LIMIT, CONNECT_LIMIT, within};
use russh::{
    client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{
        Algorithm, EcdsaCurve, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, key::safe_rng,
        ssh_key::LineEnding,
    },
};
use russh_sftp::{
    client::{SftpSession, error::Error as SftpError},
    protocol::{OpenFlags, StatusCode},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    Error, HostKey, Secret,
    config::{Sftp, SftpLogin},
    scb::MAX_BYTES,
    store::{Answer, Store, TestFile, part},
};

/// A key pair for the box: the private half in OpenSSH's format, and the line for the server's `authorized_keys`.
pub fn generate_key() -> Result<(Secret, String), Error> {
    let failed = |error: russh::keys::ssh_key::Error| Error::Setting { what: "the key", why: error.to_string() };
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(failed)?;
    key.set_comment("homebolt");
    let private = Secret::new(key.to_openssh(LineEnding::LF).map_err(failed)?.as_str());
    Ok((private, key.public_key().to_openssh().map_err(failed)?))
}

/// The server's key, without any login.
pub(crate) async fn host_key(config: &Sftp) -> Result<HostKey, Error> {
    match connect(config).await {
        Err(Error::HostKeyUnconfirmed { key, .. }) => Ok(key),
        Err(error) => Err(error),
        // Without a confirmed key there is no connection.
        Ok(_) => Err(answer(config, "show its host key", "there was none".to_owned())),
    }
}

fn answer(config: &Sftp, action: &'static str, what: String) -> Error {
    Error::Answer { host: config.host.clone(), action, what }
}

/// A session up to the host key.
async fn connect(config: &Sftp) -> Result<Handle<Checker>, Error> {
    let tcp = net::connect(&config.host, config.port).await?;
    let seen = Arc::new(Mutex::new(None));
    let checker = Checker { confirmed: config.host_key.clone(), seen: seen.clone() };
    let shake = client::connect_stream(Arc::new(settings(config.host_key.as_ref())), tcp, checker);
    let shaken = within(CONNECT_LIMIT, &config.host, "finish the SSH handshake", shake).await?;
    let seen: Option<HostKey> = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    shaken.map_err(|error| {
        let host = config.host.clone();
        match (seen, config.host_key.clone()) {
            (Some(key), None) => Error::HostKeyUnconfirmed { host, key },
            (Some(seen), Some(confirmed)) if seen != confirmed => Error::HostKeyChanged { host, confirmed, seen },
            _ => match error {
                russh::Error::NoCommonAlgo { kind, theirs, .. } => {
                    let what = format!("it offers only {kind:?} algorithms too old or unknown: {}", theirs.join(", "));
                    answer(config, "finish the SSH handshake", what)
                }
                error => answer(config, "finish the SSH handshake", error.to_string()),
            },
        }
    })
}

fn settings(confirmed: Option<&HostKey>) -> client::Config {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let mut keys = vec![Algorithm::Ed25519];
    keys.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    // A server has several keys: ask for the kind that was confirmed, so that a newer kind does not look like a change.
    if let Some(confirmed) = confirmed {
        keys.sort_by_key(|key| key.as_str() != confirmed.algorithm());
    }
    let preferred = russh::Preferred { key: keys.into(), ..russh::Preferred::DEFAULT };
    client::Config { preferred, nodelay: true, inactivity_timeout: Some(ANSWER_LIMIT), ..client::Config::default() }
}

/// Compares the server's key with the confirmed one, before anything secret is sent.
#[derive(Debug)]
struct Checker {
    confirmed: Option<HostKey>,
    seen: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for Checker {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // Certificates are not asked for.
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let key = HostKey(PublicKey::from(key.key_data().clone()).to_openssh()?.trim().to_owned());
        let is_confirmed = self.confirmed.as_ref() == Some(&key);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(is_confirmed)
    }
}

async fn log_in(config: &Sftp, session: &mut Handle<Checker>) -> Result<(), Error> {
    let failed = |error: russh::Error| answer(config, "check the login", error.to_string());
    let user = config.user.clone();
    let (accepted, what) = match &config.login {
        SftpLogin::Key(key) => {
            let key = PrivateKey::from_openssh(key.expose());
            let key = key.map_err(|error| Error::Setting { what: "the key", why: error.to_string() })?;
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
            (session.authenticate_publickey(user, key).await.map_err(failed)?.success(), "key")
        }
        SftpLogin::Password(password) => {
            let answer = session.authenticate_password(user.clone(), password.expose()).await.map_err(failed)?;
            let accepted = match answer {
                AuthResult::Success => true,
                // Some servers take a password only as the answer to a question.
                AuthResult::Failure { remaining_methods, .. } => {
                    remaining_methods.contains(&russh::MethodKind::KeyboardInteractive)
                        && !remaining_methods.contains(&russh::MethodKind::Password)
                        && answer_questions(session, user, password).await.map_err(failed)?
                }
            };
            (accepted, "password")
        }
    };
    if accepted {
        return Ok(());
    }
    Err(Error::Login { host: config.host.clone(), user: config.user.clone(), what })
}

/// Keyboard-interactive login: the password for each question that hides its answer.
async fn answer_questions(
    session: &mut Handle<Checker>,
    user: String,
    password: &Secret,
) -> Result<bool, russh::Error> {
    let mut reply = session.authenticate_keyboard_interactive_start(user, None::<String>).await?;
    for _ in 0..3 {
        let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = reply else { break };
        let answer = |prompt: &client::Prompt| if prompt.echo { String::new() } else { password.expose().to_owned() };
        let answers = prompts.iter().map(answer).collect();
        reply = session.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(matches!(reply, KeyboardInteractiveAuthResponse::Success))
}

/// A folder on an SFTP server.
pub(crate) struct SftpStore {
    config: Sftp,
    folder: String,
    sftp: SftpSession,
    /// Ends the connection when dropped.
    _session: Handle<Checker>,
}

impl SftpStore {
    pub(crate) async fn open(config: &Sftp) -> Result<Self, Error> {
        let trimmed = config.folder.trim().trim_end_matches('/');
        let folder = if trimmed.is_empty() { ".".to_owned() } else { trimmed.to_owned() };
        let mut session = connect(config).await?;
        within(ANSWER_LIMIT, &config.host, "check the login", log_in(config, &mut session)).await??;
        let begin = async {
            let failed = |error: russh::Error| match error {
                russh::Error::RequestDenied | russh::Error::ChannelOpenFailure(_) => {
                    answer(config, "begin SFTP", "this user may not use SFTP there".to_owned())
                }
                error => answer(config, "begin SFTP", error.to_string()),
            };
            let channel = session.channel_open_session().await.map_err(failed)?;
            channel.request_subsystem(true, "sftp").await.map_err(failed)?;
            let sftp = SftpSession::new(channel.into_stream()).await;
            sftp.map_err(|error| answer(config, "begin SFTP", error.to_string()))
        };
        let sftp = within(ANSWER_LIMIT, &config.host, "begin SFTP", begin).await??;
        Ok(Self { config: config.clone(), folder, sftp, _session: session })
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn place(&self) -> String {
        format!("the folder {} on {}", self.folder, self.config.host)
    }

    fn fault(&self, action: &'static str, error: &SftpError) -> Error {
        let host = self.config.host.clone();
        match error {
            SftpError::Timeout => fetch::Error::Timeout { host, action, seconds: 10 }.into(),
            SftpError::Status(status) => match status.status_code {
                StatusCode::NoSuchFile => Error::NoPlace { host, place: format!("folder {}", self.folder) },
                StatusCode::PermissionDenied => Error::Denied { action, place: self.place() },
                _ => answer(&self.config, action, status.error_message.chars().take(120).collect()),
            },
            error => answer(&self.config, action, error.to_string()),
        }
    }

    /// The fault behind a failed write: the protocol has no word for a full or read-only disk, OpenSSH tells on request.
    async fn write_fault(&self, action: &'static str, error: SftpError) -> Error {
        let fault = self.fault(action, &error);
        if !matches!(fault, Error::Answer { .. }) {
            return fault;
        }
        const READ_ONLY: u64 = 1;
        match self.sftp.fs_info(self.folder.clone()).await {
            Ok(Some(about)) if about.flags & READ_ONLY != 0 => Error::ReadOnly { place: self.place() },
            Ok(Some(about)) if about.blocks_avail == 0 || about.inodes_avail == 0 && about.inodes > 0 => {
                Error::Full { place: self.place() }
            }
            _ => fault,
        }
    }

    async fn make_folder(&mut self) -> Result<(), Error> {
        match self.sftp.metadata(self.folder.clone()).await {
            Ok(_) => return Ok(()),
            Err(SftpError::Status(status)) if status.status_code == StatusCode::NoSuchFile => {}
            Err(error) => return Err(self.fault("look at the folder", &error)),
        }
        let ends: Vec<usize> = self.folder.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        for end in ends {
            // What exists already fails; whether it was enough shows at the last one.
            let _ = self.sftp.create_dir(&self.folder[..end]).await;
        }
        match self.sftp.create_dir(self.folder.clone()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.write_fault("make a folder", error).await),
        }
    }

    async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), SftpError> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut file = self.sftp.open_with_flags(path, flags).await?;
        file.write_all(bytes).await?;
        file.flush().await?;
        file.sync_all().await?;
        Ok(file.close().await?)
    }

    async fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let (temporary, path) = (self.path(&part(name)?), self.path(name));
        if let Err(error) = self.write(&temporary, bytes).await {
            let fault = self.write_fault("write", error).await;
            // Our own part of a file, of use to nobody; the first error is the one to tell.
            let _ = self.sftp.remove_file(temporary).await;
            return Err(fault);
        }
        // SFTP's rename does not replace.
        let Err(error) = self.sftp.rename(temporary.clone(), path.clone()).await else { return Ok(()) };
        let _ = self.sftp.remove_file(temporary).await;
        if self.sftp.try_exists(path).await.is_ok_and(|exists| exists) {
            return Err(Error::Exists { name: name.to_owned(), place: self.place() });
        }
        Err(self.write_fault("put a file in place", error).await)
    }

    async fn get(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let read = async {
            let mut bytes = Vec::new();
            let mut file = self.sftp.open(self.path(name)).await?;
            (&mut file).take(MAX_BYTES as u64).read_to_end(&mut bytes).await?;
            file.close().await?;
            Ok(bytes)
        };
        read.await.map_err(|error: SftpError| self.fault("read", &error))
    }
}

impl Store for SftpStore {
    fn prepare(&mut self) -> Answer<'_, ()> {
        Box::pin(self.make_folder())
    }

    fn names(&mut self) -> Answer<'_, Vec<String>> {
        Box::pin(async {
            let entries = self.sftp.read_dir(self.folder.clone()).await;
            let entries = entries.map_err(|error| self.fault("list the files", &error))?;
            Ok(entries.map(|entry| entry.file_name()).collect())
        })
    }

    fn read<'a>(&'a mut self, name: &'a str) -> Answer<'a, Vec<u8>> {
        Box::pin(self.get(name))
    }

    fn create<'a>(&'a mut self, name: &'a str, bytes: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(self.put(name, bytes))
    }

    fn remove<'a>(&'a mut self, test: &'a TestFile) -> Answer<'a, ()> {
        Box::pin(async move {
            let removed = self.sftp.remove_file(self.path(test.name())).await;
            removed.map_err(|error| self.fault("remove", &error))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_box_is_one_that_openssh_knows() {
        let (private, public) = generate_key().unwrap();
        assert!(private.expose().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        assert!(public.starts_with("ssh-ed25519 AAAA") && public.ends_with(" homebolt"), "{public}");
        assert_eq!(PrivateKey::from_openssh(private.expose()).unwrap().public_key().to_openssh().unwrap(), public);
    }

    #[test]
    fn the_kind_of_key_that_was_confirmed_is_asked_for_first() {
        let first = |kind: &str| settings(Some(&HostKey(format!("{kind} AAAA")))).preferred.key[0].to_string();
        assert_eq!(first("ecdsa-sha2-nistp256"), "ecdsa-sha2-nistp256");
        assert_eq!(first("ssh-ed25519"), "ssh-ed25519");
    }
}
