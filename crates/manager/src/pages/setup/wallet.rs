//! Wizard: the wallet. A new seed is shown once and asked for; an old one is typed in.

use std::sync::{Arc, PoisonError};

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;
use twin::LndState;

use super::{page, refreshing};
use crate::{
    copies::restore,
    http::{extract::Form, fail::Fail, upload::Upload},
    pages::{complaint, csrf},
    secret::Secret,
    session::Current,
    setup::{
        Step, audit,
        wallet::{ASKED, Seed, Stage, Verdict, typed_words},
    },
    shared::House,
};

/// What the wizard can offer here.
enum Situation {
    /// LND is not up yet, or is busy with its first start.
    NotYet,
    /// It waits for a wallet.
    Empty,
    /// There is a wallet already: made here, or found.
    Exists,
}

fn situation(house: &House) -> Situation {
    match house.shared.twin.state().lnd.state {
        _ if house.setup.choices().wallet.is_some() => Situation::Exists,
        LndState::Unreachable | LndState::WaitingToStart => Situation::NotYet,
        LndState::NonExisting => Situation::Empty,
        LndState::Locked | LndState::Unlocked | LndState::RpcActive | LndState::ServerActive => Situation::Exists,
    }
}

pub(crate) async fn get(State(house): State<Arc<House>>, session: Current) -> Response {
    if house.setup.choices().bitcoin.is_none() {
        return Redirect::to(Step::Bitcoin.path()).into_response();
    }
    match situation(&house) {
        Situation::NotYet => waiting(&house, &session).into_response(),
        Situation::Exists => exists(&house, &session).into_response(),
        Situation::Empty => choose(&house, &session, None).into_response(),
    }
}

fn waiting(house: &House, session: &Current) -> Markup {
    let state = house.shared.twin.state();
    let error = state.sources.get("lnd").and_then(|health| health.error.clone());
    let body = html! {
        h1 { (t!("setup.wallet.title")) }
        p.lead role="status" { (t!("setup.wallet.starting")) }
        progress aria-label=(t!("setup.wallet.starting_label")) {}
        p.hint { (t!("setup.wallet.starting_why")) }
        @if let Some(error) = error { p.small { (crate::pages::words::sentence(&error)) } }
        p { a.button.second href=(Step::Bitcoin.path()) { (t!("setup.back")) } }
    };
    refreshing(house, session, Step::Wallet, 3, body)
}

fn exists(house: &House, session: &Current) -> Markup {
    let body = html! {
        h1 { (t!("setup.wallet.title")) }
        p.notice.good { (t!("setup.wallet.exists")) }
        p { (t!("setup.wallet.exists_why")) }
        p.row { a.button href="/setup" { (t!("setup.next")) } }
    };
    page(house, session, Step::Wallet, body)
}

fn choose(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let ready = house.setup.has_seed();
    let body = html! {
        h1 { (t!("setup.wallet.title")) }
        p.lead { (t!("setup.wallet.lead")) }
        (complaint("wallet-complaint", refusal))
        @if ready {
            p.notice.good { (t!("setup.wallet.ready")) }
            // The owner who restores has seen no page with it.
            @if let Some(password) = with(house, |seed| seed.password.clone()) {
                details {
                    summary { (t!("setup.wallet.password_summary")) }
                    p { (t!("setup.wallet.password_why")) }
                    p { code { (password.expose()) } }
                }
            }
            p.row { a.button href="/setup" { (t!("setup.next")) } }
        }
        section.card {
            h2 { (t!("setup.wallet.new")) }
            p { (t!("setup.wallet.new_why")) }
            form method="post" action="/setup/wallet/new" {
                (csrf(session))
                details {
                    summary { (t!("setup.wallet.passphrase_summary")) }
                    p.hint { (t!("setup.wallet.passphrase_why")) }
                    (secret_field("passphrase", &t!("setup.wallet.passphrase")))
                    (secret_field("again", &t!("setup.wallet.passphrase_again")))
                }
                button { (if ready { t!("setup.wallet.new_anew") } else { t!("setup.wallet.new_button") }) }
            }
        }
        section.card {
            h2 { (t!("setup.wallet.restore")) }
            p { (t!("setup.wallet.restore_why")) }
            p.row { a.button.second href="/setup/wallet/restore" { (t!("setup.wallet.restore_button")) } }
        }
    };
    page(house, session, Step::Wallet, body)
}

fn secret_field(id: &str, label: &str) -> Markup {
    html! {
        p.field {
            label for=(id) { (label) }
            input #(id) name=(id) type="password" maxlength="512" autocomplete="off" data-secret;
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct New {
    #[serde(default = "empty")]
    passphrase: Secret<String>,
    #[serde(default = "empty")]
    again: Secret<String>,
}

fn empty() -> Secret<String> {
    Secret::new(String::new())
}

/// `POST /setup/wallet/new`: a seed of LND's.
pub(crate) async fn new(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<New>,
) -> Result<Response, Fail> {
    if !matches!(situation(&house), Situation::Empty) {
        return Ok(Redirect::to(Step::Wallet.path()).into_response());
    }
    let refuse =
        |text: &str| Ok((StatusCode::UNPROCESSABLE_ENTITY, choose(&house, &session, Some(text))).into_response());
    if form.passphrase.expose() != form.again.expose() {
        return refuse(&t!("setup.wallet.passphrase_differs"));
    }
    let passphrase = form.passphrase.expose();
    let passphrase = (!passphrase.is_empty()).then(|| lnd::Secret::new(passphrase.as_bytes()));
    let words = match house.node.bare.new_seed(passphrase.as_ref()).await {
        Ok(seed) => seed.expose().to_vec(),
        Err(error) => return refuse(&crate::pages::words::sentence(&twin::source::sentence(&error))),
    };
    let seed = Seed::new(words, form.passphrase)?;
    put(&house, Some(seed));
    house.store.audit(audit(&session, "seed-shown", "A new seed was made and shown.")).await?;
    Ok(Redirect::to("/setup/wallet/words").into_response())
}

fn put(house: &House, seed: Option<Seed>) {
    *house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner) = seed;
}

/// Reads or changes the seed that is on its way.
fn with<T>(house: &House, work: impl FnOnce(&mut Seed) -> T) -> Option<T> {
    house.setup.seed.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work)
}

/// `GET /setup/wallet/words`: the seed, until the owner says that it is written down; then the questions.
pub(crate) async fn words(State(house): State<Arc<House>>, session: Current) -> Response {
    let shown = with(&house, |seed| (seed.stage.clone(), seed.words.clone(), seed.password.clone()));
    match shown {
        Some((Stage::Shown, words, password)) => {
            show(&house, &session, words.expose(), password.expose()).into_response()
        }
        Some((Stage::Asked { positions, .. }, ..)) => ask(&house, &session, &positions, None).into_response(),
        Some((Stage::Ready, ..)) | None => Redirect::to(Step::Wallet.path()).into_response(),
    }
}

fn show(house: &House, session: &Current, words: &[String], password: &str) -> Markup {
    let body = html! {
        h1 { (t!("setup.wallet.words_title")) }
        p.lead { (t!("setup.wallet.words_lead")) }
        div.notice.bad { p { (t!("setup.wallet.words_warning")) } }
        ol.words.seed { @for word in words { li { (word) } } }
        details {
            summary { (t!("setup.wallet.password_summary")) }
            p { (t!("setup.wallet.password_why")) }
            p { code { (password) } }
        }
        form method="post" action="/setup/wallet/written" {
            (csrf(session))
            button { (t!("setup.wallet.words_button")) }
        }
        p.hint { (t!("setup.wallet.words_hint")) }
    };
    page(house, session, Step::Wallet, body)
}

/// `POST /setup/wallet/written`.
pub(crate) async fn written(State(house): State<Arc<House>>) -> Result<Redirect, Fail> {
    with(&house, Seed::written_down).transpose()?;
    Ok(Redirect::to("/setup/wallet/words"))
}

fn ask(house: &House, session: &Current, positions: &[usize; ASKED], refusal: Option<&str>) -> Markup {
    let body = html! {
        h1 { (t!("setup.wallet.check_title")) }
        p.lead { (t!("setup.wallet.check_lead")) }
        form method="post" action="/setup/wallet/check" {
            (csrf(session))
            (complaint("check-complaint", refusal))
            @for (index, at) in positions.iter().enumerate() {
                @let id = format!("word{index}");
                p.field {
                    label for=(id) { (t!("setup.wallet.word_number", number = at + 1)) }
                    input #(id) name=(id) type="text" required maxlength="32" autocomplete="off" autocapitalize="none"
                        autocorrect="off" spellcheck="false" aria-describedby=[refusal.map(|_| "check-complaint")];
                }
            }
            button { (t!("setup.wallet.check_button")) }
        }
        p.hint { (t!("setup.wallet.check_hint")) }
    };
    page(house, session, Step::Wallet, body)
}

#[derive(Deserialize)]
pub(crate) struct Answers {
    word0: Secret<String>,
    word1: Secret<String>,
    word2: Secret<String>,
    word3: Secret<String>,
}

/// `POST /setup/wallet/check`.
pub(crate) async fn check(
    State(house): State<Arc<House>>,
    session: Current,
    Form(form): Form<Answers>,
) -> Result<Response, Fail> {
    let answers = [form.word0, form.word1, form.word2, form.word3].map(|word| word.expose().clone());
    let verdict = with(&house, |seed| (seed.answer(&answers), seed.stage.clone()));
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    match verdict {
        Some((Verdict::Right, _)) => {
            house.store.audit(audit(&session, "seed-confirmed", "Four words of the seed were right.")).await?;
            Ok(Redirect::to(Step::Backup.path()).into_response())
        }
        Some((Verdict::Wrong { left }, Stage::Asked { positions, .. })) => {
            let text = t!("setup.wallet.check_wrong", left = left);
            Ok((refused, ask(&house, &session, &positions, Some(&text))).into_response())
        }
        Some(_) => {
            put(&house, None);
            Ok((refused, choose(&house, &session, Some(&t!("setup.wallet.check_over")))).into_response())
        }
        None => Ok(Redirect::to(Step::Wallet.path()).into_response()),
    }
}

/// `GET /setup/wallet/restore`.
pub(crate) async fn restore(State(house): State<Arc<House>>, session: Current) -> Response {
    match situation(&house) {
        Situation::Empty => restoring(&house, &session, None).into_response(),
        _ => Redirect::to(Step::Wallet.path()).into_response(),
    }
}

fn restoring(house: &House, session: &Current, refusal: Option<&str>) -> Markup {
    let body = html! {
        h1 { (t!("setup.wallet.restore")) }
        div.notice.bad {
            h2 { (t!("setup.wallet.restore_warning_title")) }
            ul {
                li { (t!("setup.wallet.restore_warning_close")) }
                li { (t!("setup.wallet.restore_warning_htlc")) }
                li { (t!("setup.wallet.restore_warning_old")) }
                li { (t!("setup.wallet.restore_warning_after")) }
            }
        }
        form method="post" action="/setup/wallet/restore" enctype="multipart/form-data" {
            (csrf(session))
            (complaint("restore-complaint", refusal))
            p.field {
                label for="words" { (t!("setup.wallet.restore_words")) }
                textarea #words name="words" rows="6" required autocomplete="off" autocapitalize="none" autocorrect="off"
                    spellcheck="false" aria-describedby="words-hint" {}
            }
            p.hint #words-hint { (t!("setup.wallet.restore_words_hint")) }
            (secret_field("passphrase", &t!("setup.wallet.restore_passphrase")))
            p.field {
                label for="file" { (t!("backup.restore_file")) }
                input #file name="file" type="file" aria-describedby="file-hint";
            }
            p.hint #file-hint { (t!("backup.restore_file_hint")) }
            p.field {
                label for="backup" { (t!("setup.wallet.restore_backup")) }
                textarea #backup name="backup" rows="4" autocomplete="off" spellcheck="false" aria-describedby="backup-hint" {}
            }
            p.hint #backup-hint { (t!("setup.wallet.restore_backup_hint")) }
            p.check {
                input #off name="off" type="checkbox" value="yes" required;
                label for="off" { (t!("setup.wallet.restore_confirm")) }
            }
            button { (t!("setup.wallet.restore_go")) }
            a.button.second href=(Step::Wallet.path()) { (t!("setup.back")) }
        }
    };
    page(house, session, Step::Wallet, body)
}

/// `POST /setup/wallet/restore`: only kept in memory; the summary is where it becomes real.
pub(crate) async fn restore_given(
    State(house): State<Arc<House>>,
    session: Current,
    form: Upload<{ restore::LONGEST }>,
) -> Result<Response, Fail> {
    if !matches!(situation(&house), Situation::Empty) {
        return Ok(Redirect::to(Step::Wallet.path()).into_response());
    }
    let refuse =
        |text: &str| Ok((StatusCode::UNPROCESSABLE_ENTITY, restoring(&house, &session, Some(text))).into_response());
    let words = match typed_words(Secret::new(form.text("words")).expose()) {
        Ok(words) => words,
        Err(sentence) => return refuse(&sentence),
    };
    if form.text("off") != "yes" {
        return refuse(&t!("setup.wallet.restore_confirm_missing"));
    }
    let backup = match form.file().map_or_else(|| backup(&form.text("backup")), of_size) {
        Ok(backup) => backup,
        Err(sentence) => return refuse(&sentence),
    };
    put(&house, Some(Seed::restored(words, Secret::new(form.text("passphrase")), backup)?));
    house.store.audit(audit(&session, "seed-given", "A seed was given to restore a wallet.")).await?;
    Ok(Redirect::to(Step::Wallet.path()).into_response())
}

/// What LND can make sense of at least. Whether it is this seed's only LND can tell, once it has the seed.
fn of_size(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if (restore::SHORTEST..=restore::LONGEST).contains(&bytes.len()) {
        Ok(Some(bytes.to_vec()))
    } else {
        Err(t!("setup.wallet.restore_backup_bad").into_owned())
    }
}

/// A channel backup as text: base64 or hexadecimal, as LND's tools print it. An error is a sentence.
fn backup(text: &str) -> Result<Option<Vec<u8>>, String> {
    let plain: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    if plain.is_empty() {
        return Ok(None);
    }
    let bytes = hex::decode(&plain).ok().or_else(|| STANDARD.decode(&plain).ok());
    of_size(&bytes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_backup_is_read_as_base64_and_as_hexadecimal() {
        let bytes = vec![7_u8; 100];
        assert_eq!(backup(&STANDARD.encode(&bytes)).unwrap(), Some(bytes.clone()));
        assert_eq!(
            backup(&format!(" {}\n{} ", &hex::encode(&bytes)[..50], &hex::encode(&bytes)[50..])).unwrap(),
            Some(bytes)
        );
        assert_eq!(backup(" \n").unwrap(), None);
        assert!(backup("not a backup!").is_err() && backup("abcd").is_err());
    }
}
