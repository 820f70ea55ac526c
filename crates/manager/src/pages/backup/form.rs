//! One form for each kind of place.

use std::sync::{Arc, PoisonError};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use backup::{
    Secret, Target,
    config::{Mail, MailTls, S3, Sftp, SftpLogin, Webdav},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use store::Audit;

use super::{Kind, START, frame, stick};
use crate::{
    copies::{self, Place, sticks, trial},
    http::{extract::Form, fail::Fail},
    pages::{complaint, csrf, setup::field, words::sentence},
    session::Current,
    setup::audit,
    shared::House,
};

/// A form as it was sent; each kind has some of the fields.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Typed {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) user: String,
    pub(crate) password: Secret,
    /// `key` or `password`.
    pub(crate) login: String,
    pub(crate) folder: String,
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: Secret,
    pub(crate) url: String,
    pub(crate) tls: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) ca: String,
    pub(crate) serial: String,
}

/// `GET /setup/backup/{kind}`.
pub(crate) async fn get(
    State(house): State<Arc<House>>,
    session: Current,
    Path(kind): Path<String>,
) -> Result<Response, Fail> {
    let kind = Kind::from_name(&kind).ok_or(Fail::NotFound)?;
    // What was tried last is nearer to what the owner wants than what was chosen before.
    let typed = known(&house, kind).last().map(Typed::of).unwrap_or_else(|| Typed::fresh(kind));
    Ok(page(&house, &session, kind, &typed, None).await?.into_response())
}

/// The places of this kind that are chosen or tried.
fn known(house: &House, kind: Kind) -> Vec<Place> {
    let choices = house.setup.choices();
    let chosen = copies::place(&choices).cloned();
    let tried = house.copies.trial.look().map(|(place, _)| place);
    chosen.into_iter().chain(tried).filter(|place| Kind::of(place) == kind).collect()
}

async fn page(
    house: &House,
    session: &Current,
    kind: Kind,
    typed: &Typed,
    refusal: Option<&str>,
) -> Result<Markup, Fail> {
    if kind == Kind::Stick {
        return Ok(stick(house, session, refusal));
    }
    let name = kind.name();
    let has_secret = !known(house, kind).is_empty();
    let fields = match kind {
        Kind::Sftp => sftp(typed, &house.copies.ssh_key().await?.1, has_secret),
        Kind::S3 => s3(typed, has_secret),
        Kind::Webdav => webdav(typed, has_secret),
        Kind::Mail => mail(typed, has_secret),
        Kind::Stick => html! {},
    };
    let body = html! {
        h1 { (t!(format!("backup.kind.{name}"))) }
        p.lead { (t!(format!("backup.{name}.lead"))) }
        form method="post" action=(format!("{START}/{name}")) {
            (csrf(session))
            (complaint("backup-complaint", refusal))
            (fields)
            p.row {
                button { (t!("backup.test")) }
                a.button.second href=(START) { (t!("setup.back")) }
            }
        }
        p.hint { (t!("backup.test_hint")) }
    };
    Ok(frame(house, session, None, body))
}

fn secret(id: &str, label: &str, is_kept: bool) -> Markup {
    html! {
        p.field {
            label for=(id) { (label) }
            input #(id) name=(id) type="password" maxlength="512" autocomplete="off" data-secret
                placeholder=[is_kept.then(|| t!("backup.secret_kept"))];
        }
    }
}

/// A certificate authority of the owner's own.
fn authority(typed: &Typed) -> Markup {
    html! {
        details open[!typed.ca.is_empty()] {
            summary { (t!("backup.ca")) }
            p.field {
                label for="ca" { (t!("backup.ca_label")) }
                textarea #ca name="ca" rows="5" autocomplete="off" spellcheck="false" placeholder="-----BEGIN CERTIFICATE-----"
                    aria-describedby="ca-hint" { (typed.ca) }
            }
            p.hint #ca-hint { (t!("backup.ca_hint")) }
        }
    }
}

fn sftp(typed: &Typed, public: &str, has_secret: bool) -> Markup {
    let by_password = typed.login == "password";
    html! {
        (field("host", &t!("backup.host"), &typed.host, Some("nas.local, 192.168.1.5")))
        (field("port", &t!("backup.port"), &typed.port, None))
        (field("user", &t!("backup.user"), &typed.user, None))
        fieldset {
            legend { (t!("backup.sftp.login")) }
            p.check {
                input #by-key name="login" type="radio" value="key" checked[!by_password];
                label for="by-key" { strong { (t!("backup.sftp.by_key")) } " " (t!("backup.sftp.by_key_why")) }
            }
            p.hint { (t!("backup.sftp.key_line")) }
            p { code.copy { (public) } }
            p.check {
                input #by-password name="login" type="radio" value="password" checked[by_password];
                label for="by-password" { strong { (t!("backup.sftp.by_password")) } }
            }
            (secret("password", &t!("backup.password"), has_secret && by_password))
        }
        (field("folder", &t!("backup.folder"), &typed.folder, Some(&t!("backup.sftp.folder_hint"))))
    }
}

fn s3(typed: &Typed, has_secret: bool) -> Markup {
    html! {
        (field("endpoint", &t!("backup.s3.endpoint"), &typed.endpoint, Some(&t!("backup.s3.endpoint_hint"))))
        (field("region", &t!("backup.s3.region"), &typed.region, None))
        (field("bucket", &t!("backup.s3.bucket"), &typed.bucket, Some(&t!("backup.s3.bucket_hint"))))
        (field("prefix", &t!("backup.s3.prefix"), &typed.prefix, None))
        (field("access_key", &t!("backup.s3.access_key"), &typed.access_key, None))
        (secret("secret_key", &t!("backup.s3.secret_key"), has_secret))
        (authority(typed))
    }
}

fn webdav(typed: &Typed, has_secret: bool) -> Markup {
    html! {
        (field("url", &t!("backup.webdav.url"), &typed.url, Some(&t!("backup.webdav.url_hint"))))
        (field("user", &t!("backup.user"), &typed.user, None))
        (secret("password", &t!("backup.password"), has_secret))
        (authority(typed))
    }
}

fn mail(typed: &Typed, has_secret: bool) -> Markup {
    html! {
        (field("to", &t!("backup.mail.to"), &typed.to, None))
        (field("from", &t!("backup.mail.from"), &typed.from, None))
        (field("host", &t!("backup.mail.host"), &typed.host, Some("smtp.example.com")))
        p.field {
            label for="tls" { (t!("backup.mail.tls")) }
            select #tls name="tls" {
                option value="implicit" selected[typed.tls != "start-tls"] { (t!("backup.mail.implicit")) }
                option value="start-tls" selected[typed.tls == "start-tls"] { (t!("backup.mail.start_tls")) }
            }
        }
        (field("port", &t!("backup.port"), &typed.port, Some(&t!("backup.mail.port_hint"))))
        (field("user", &t!("backup.user"), &typed.user, None))
        (secret("password", &t!("backup.password"), has_secret))
        (authority(typed))
    }
}

/// `POST /setup/backup/{kind}`: reads the form and begins the test.
pub(crate) async fn post(
    State(house): State<Arc<House>>,
    session: Current,
    Path(kind): Path<String>,
    Form(typed): Form<Typed>,
) -> Result<Response, Fail> {
    let kind = Kind::from_name(&kind).ok_or(Fail::NotFound)?;
    match begin(&house, kind, &typed, |detail| audit(&session, "backup-tested", detail)).await? {
        Ok(()) => Ok(Redirect::to("/setup/backup/test").into_response()),
        Err(why) => {
            let page = page(&house, &session, kind, &typed, Some(&why)).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// Begins the test of a place; an inner error is a sentence.
pub(crate) async fn begin(
    house: &Arc<House>,
    kind: Kind,
    typed: &Typed,
    entry: impl FnOnce(String) -> Audit,
) -> Result<Result<(), String>, Fail> {
    let place = match kind {
        Kind::Stick => stick_place(house, &typed.serial).await,
        _ => {
            let key = house.copies.ssh_key().await?.0;
            typed.read(kind, &known(house, kind), key).map(|target| Place { target, stick: None })
        }
    };
    Ok(match place {
        Ok(place) => {
            house.store.audit(entry(place.words())).await?;
            trial::begin(house, place);
            Ok(())
        }
        Err(why) => Err(sentence(&why)),
    })
}

async fn stick_place(house: &House, serial: &str) -> Result<Place, String> {
    let found = house.copies.sticks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let stick = found.into_iter().flatten().find(|stick| stick.serial == serial && stick.fault.is_empty());
    let stick = stick.ok_or_else(|| t!("backup.stick.choose").into_owned())?;
    sticks::use_it(house, &stick).await
}

impl Typed {
    /// What stands in a form before anything is known.
    fn fresh(kind: Kind) -> Self {
        let port = match kind {
            Kind::Sftp => "22",
            Kind::Mail => "465",
            _ => "",
        };
        let folder = if kind == Kind::Sftp { "homebolt" } else { "" };
        Self { port: port.into(), folder: folder.into(), region: "us-east-1".into(), ..Self::default() }
    }

    /// A place without its secrets.
    fn of(place: &Place) -> Self {
        let ca = |ca: &Option<String>| ca.clone().unwrap_or_default();
        match place.target.clone() {
            Target::Folder(_) => Self::default(),
            Target::Sftp(sftp) => Self {
                host: sftp.host,
                port: sftp.port.to_string(),
                user: sftp.user,
                login: if matches!(sftp.login, SftpLogin::Password(_)) { "password" } else { "key" }.into(),
                folder: sftp.folder,
                ..Self::default()
            },
            Target::S3(s3) => Self {
                ca: ca(&s3.ca),
                endpoint: s3.endpoint,
                region: s3.region,
                bucket: s3.bucket,
                prefix: s3.prefix,
                access_key: s3.access_key,
                ..Self::default()
            },
            Target::Webdav(webdav) => {
                Self { ca: ca(&webdav.ca), url: webdav.url, user: webdav.user, ..Self::default() }
            }
            Target::Mail(mail) => Self {
                ca: ca(&mail.ca),
                host: mail.host,
                port: mail.port.to_string(),
                tls: if mail.tls == MailTls::StartTls { "start-tls" } else { "implicit" }.into(),
                user: mail.user,
                from: mail.from,
                to: mail.to,
                ..Self::default()
            },
        }
    }

    /// The place it stands for; an error is a sentence. A secret that was not typed again comes from a known place, if it
    /// was for the same server and user: it is never sent anywhere else.
    fn read(&self, kind: Kind, known: &[Place], key: Secret) -> Result<Target, String> {
        let needed = |text: &str, what: &str| match text.trim() {
            "" => Err(t!("backup.needed", what = what).into_owned()),
            text => Ok(text.to_owned()),
        };
        let ca = Some(self.ca.trim().to_owned()).filter(|ca| !ca.is_empty());
        let user = || needed(&self.user, &t!("backup.user"));
        let kept = |typed: &Secret, what: &str, of: &dyn Fn(&Target) -> Option<Secret>| {
            let kept = known.iter().rev().find_map(|place| of(&place.target));
            let kept = if typed.expose().is_empty() { kept } else { Some(typed.clone()) };
            kept.filter(|secret| !secret.expose().is_empty())
                .ok_or_else(|| t!("backup.needed", what = what).into_owned())
        };
        let password = t!("backup.password");
        Ok(match kind {
            Kind::Stick => return Err(t!("backup.stick.choose").into_owned()),
            Kind::Sftp => {
                let (host, port, user) = (needed(&self.host, &t!("backup.host"))?, self.port()?, user()?);
                let is_same = |old: &Sftp| old.host == host && old.port == port;
                let pinned = known.iter().rev().find_map(|place| match &place.target {
                    Target::Sftp(old) if is_same(old) => old.host_key.clone(),
                    _ => None,
                });
                let login = if self.login == "password" {
                    SftpLogin::Password(kept(&self.password, &password, &|old| match old {
                        Target::Sftp(Sftp { login: SftpLogin::Password(secret), .. }) => {
                            matches!(old, Target::Sftp(old) if is_same(old) && old.user == user).then(|| secret.clone())
                        }
                        _ => None,
                    })?)
                } else {
                    SftpLogin::Key(key)
                };
                Target::Sftp(Sftp { host, port, user, login, folder: self.folder.trim().into(), host_key: pinned })
            }
            Kind::S3 => {
                let endpoint = needed(&self.endpoint, &t!("backup.s3.endpoint"))?;
                let access_key = needed(&self.access_key, &t!("backup.s3.access_key"))?;
                let secret_key = kept(&self.secret_key, &t!("backup.s3.secret_key"), &|old| match old {
                    Target::S3(old) => {
                        (old.endpoint == endpoint && old.access_key == access_key).then(|| old.secret_key.clone())
                    }
                    _ => None,
                })?;
                let bucket = needed(&self.bucket, &t!("backup.s3.bucket"))?;
                let region = needed(&self.region, &t!("backup.s3.region"))?;
                let prefix = self.prefix.trim().to_owned();
                Target::S3(S3 { endpoint, region, bucket, prefix, access_key, secret_key, ca })
            }
            Kind::Webdav => {
                let (url, user) = (needed(&self.url, &t!("backup.webdav.url"))?, user()?);
                let password = kept(&self.password, &password, &|old| match old {
                    Target::Webdav(old) => (old.url == url && old.user == user).then(|| old.password.clone()),
                    _ => None,
                })?;
                Target::Webdav(Webdav { url, user, password, ca })
            }
            Kind::Mail => {
                let (host, port, user) = (needed(&self.host, &t!("backup.mail.host"))?, self.port()?, user()?);
                let password = kept(&self.password, &password, &|old| match old {
                    Target::Mail(old) => (old.host == host && old.user == user).then(|| old.password.clone()),
                    _ => None,
                })?;
                let (from, to) =
                    (needed(&self.from, &t!("backup.mail.from"))?, needed(&self.to, &t!("backup.mail.to"))?);
                let tls = if self.tls == "start-tls" { MailTls::StartTls } else { MailTls::Implicit };
                Target::Mail(Mail { host, port, tls, user, password, from, to, ca })
            }
        })
    }

    fn port(&self) -> Result<u16, String> {
        let port = self.port.trim().parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| t!("backup.bad_port").into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webdav(url: &str, password: &str) -> Typed {
        Typed { url: url.into(), user: "ann".into(), password: Secret::new(password), ..Typed::default() }
    }

    fn place(target: Target) -> Place {
        Place { target, stick: None }
    }

    #[test]
    fn a_kept_password_goes_to_the_same_server_and_to_no_other() {
        let read = |typed: &Typed, known: &[Place]| typed.read(Kind::Webdav, known, Secret::default());
        let first = read(&webdav("https://nas/dav", "hunter2"), &[]).unwrap();
        let known = [place(first.clone())];
        assert_eq!(read(&webdav("https://nas/dav", ""), &known).unwrap(), first);
        assert!(read(&webdav("https://evil/dav", ""), &known).is_err());
        assert!(read(&webdav("https://nas/dav", ""), &[]).is_err());
    }

    #[test]
    fn a_confirmed_host_key_stays_with_its_host() {
        let typed = |host: &str| Typed {
            host: host.into(),
            port: "22".into(),
            user: "ann".into(),
            login: "key".into(),
            ..Typed::default()
        };
        let read = |host: &str, known: &[Place]| match typed(host).read(Kind::Sftp, known, Secret::new("key")) {
            Ok(Target::Sftp(sftp)) => sftp,
            other => panic!("{other:?}"),
        };
        let mut first = read("nas", &[]);
        assert_eq!(first.host_key, None);
        first.host_key = Some(backup::HostKey("ssh-ed25519 AAAA".into()));
        let known = [place(Target::Sftp(first.clone()))];
        assert_eq!(read("nas", &known).host_key, first.host_key);
        assert_eq!(read("other", &known).host_key, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Typed::default().read(Kind::S3, &[], Secret::default()).unwrap_err();
        assert!(error.contains(&*t!("backup.s3.endpoint")), "{error}");
        assert!(Typed { port: "0".into(), ..Typed::default() }.port().is_err());
    }

    #[test]
    fn what_is_shown_again_has_no_secret() {
        let target = webdav("https://nas/dav", "hunter2").read(Kind::Webdav, &[], Secret::default()).unwrap();
        assert!(Typed::of(&place(target)).password.expose().is_empty());
    }
}
