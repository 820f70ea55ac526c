//! Wizard: the wallet. A new seed is shown once and asked for; an old one is typed in.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use rust_i18n::t;
use serde::Deserialize;

use super::{page, refreshing};
use crate::{
    copies::restore,
    http::{extract::Form, fail::Fail, upload::Upload},
    pages::{complaint, csrf},
    secret::Secret,
    session::Current,
    setup::{
        Step, audit,
        making::{self, Given, Situation, situation, with},
        wallet::{ASKED, Seed, Stage, Verdict},
    },
    shared::House,
};

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
    let entry = audit(&session, "seed-shown", "A new seed was made and shown.");
    match making::begin(&house, form.passphrase, entry).await? {
        Ok(_) => Ok(Redirect::to("/setup/wallet/words").into_response()),
        Err(sentence) => refuse(&sentence),
    }
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
    let entry = audit(&session, "seed-confirmed", "Four words of the seed were right.");
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(match making::answer(&house, &answers, entry).await? {
        Some(Verdict::Right) => Redirect::to(Step::Backup.path()).into_response(),
        Some(Verdict::Wrong { left }) => match with(&house, |seed| seed.stage.clone()) {
            Some(Stage::Asked { positions, .. }) => {
                let text = t!("setup.wallet.check_wrong", left = left);
                (refused, ask(&house, &session, &positions, Some(&text))).into_response()
            }
            _ => Redirect::to(Step::Wallet.path()).into_response(),
        },
        Some(Verdict::Over) => {
            (refused, choose(&house, &session, Some(&t!("setup.wallet.check_over")))).into_response()
        }
        None => Redirect::to(Step::Wallet.path()).into_response(),
    })
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
    let backup = match form.file() {
        Some(bytes) => making::of_size(bytes.to_vec()).map(Some),
        None => making::backup(&form.text("backup")),
    };
    let given = Given {
        words: Secret::new(form.text("words")),
        passphrase: Secret::new(form.text("passphrase")),
        backup: match backup {
            Ok(backup) => backup,
            Err(sentence) => return refuse(&sentence),
        },
        is_off: form.text("off") == "yes",
    };
    let entry = audit(&session, "seed-given", "A seed was given to restore a wallet.");
    match making::give(&house, given, entry).await? {
        Ok(()) => Ok(Redirect::to(Step::Wallet.path()).into_response()),
        Err(sentence) => refuse(&sentence),
    }
}
