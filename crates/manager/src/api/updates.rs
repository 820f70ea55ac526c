//! Updates of the system: what runs, what is new, what goes on, and what became of those before.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::updates::{Attempt, Job};

use super::{
    caller::Caller,
    describe::{Body, Json, Query},
    problem::{Code, Problem},
    system::{self, Restarting},
    types::{Page, Part, Short, Time},
};
use crate::{
    pages::updates::told,
    shared::House,
    updates::{
        self, checks,
        install::{self, From, Why, Wish},
        preflight::Verdict,
        receive::Upload,
        settings::{Automatic, Settings, Source},
        window::Window,
    },
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Updates")]
pub(crate) struct Now {
    version: String,
    /// The LND that comes with it.
    lnd_version: String,
    /// `a` or `b`; null off the box.
    slot: Option<String>,
    /// What is in the other slot; null where it is empty or cannot be read.
    other_version: Option<String>,
    /// The update that goes on, or the last one.
    job: Option<JobOut>,
    /// Versions that were started here and did not pass their check.
    failed_versions: Vec<String>,
    /// The least LND that may run; null before LND ran for the first time.
    least_lnd_version: Option<String>,
    /// The bundle that was uploaded and can be installed.
    uploaded_version: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateJob")]
pub(crate) struct JobOut {
    version: String,
    from_version: String,
    lnd_version: String,
    /// Once it has started LND there is no way back.
    one_way: bool,
    /// `checking`, `installing`, `installed` (waits for a restart), `restarting`, `trying`, and at the end `committed`,
    /// `refused`, `failed`, `cancelled` or `fellback`.
    stage: &'static str,
    /// Of the installation.
    percent: u8,
    /// What is being done.
    detail: String,
    /// Why it ended, or why the last try failed.
    error: String,
    begun_at: Option<Time>,
    at: Time,
}

fn job(job: &Job) -> JobOut {
    JobOut {
        version: job.version.clone(),
        from_version: job.from.clone(),
        lnd_version: job.lnd.clone(),
        one_way: job.one_way,
        stage: job.stage.name(),
        percent: job.percent,
        detail: job.said.clone(),
        error: job.error.clone(),
        begun_at: Time::unless_never(job.begun),
        at: Time(job.at),
    }
}

/// `GET /updates`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Now>, Problem> {
    let (state, release) = (house.shared.twin.state(), &house.shared.release);
    let report = &state.updates;
    Ok(Json(Now {
        version: release.version.clone(),
        lnd_version: release.lnd_version.clone(),
        slot: state.boot.slot.map(system::slot_name),
        other_version: state.boot.slots.iter().find(|slot| !slot.booted).and_then(|slot| slot.version.clone()),
        job: report.job.as_ref().map(job),
        failed_versions: report.failed.clone(),
        least_lnd_version: report.fence.clone(),
        uploaded_version: match house.updates.upload() {
            Upload::Ready(update) => Some(update.release.version),
            _ => None,
        },
    }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateNews")]
pub(crate) struct News {
    /// Empty where no channel is set.
    channel: String,
    asked_at: Option<Time>,
    /// When it last answered with a list that is believed.
    answered_at: Option<Time>,
    /// Why it could not be asked the last time; empty when it answered.
    error: String,
    /// Why nothing can be had, or why the version is not installed by itself.
    refusal: String,
    /// Why the version that runs was withdrawn; null where it was not.
    withdrawn: Option<String>,
    offer: Option<Offer>,
}

/// A version that can be had.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateOffer")]
pub(crate) struct Offer {
    version: String,
    lnd_version: String,
    /// Of the whole bundle. Only what is not there yet is fetched.
    bundle_bytes: u64,
    /// Once it has started LND there is no way back.
    one_way: bool,
    /// The version that runs was withdrawn, or is no longer looked after.
    urgent: bool,
    /// What is new, by language; `en` is always there.
    notes: BTreeMap<String, String>,
    /// What was looked at beforehand.
    checks: Vec<CheckOut>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateCheck")]
pub(crate) struct CheckOut {
    /// A fixed word, such as `space` or `backup`.
    name: &'static str,
    /// With one that is `blocked` nothing is installed.
    verdict: Verdict,
    detail: String,
}

/// `GET /updates/news`.
pub(crate) async fn news(State(house): Home) -> Result<Json<News>, Problem> {
    let state = house.shared.twin.state();
    let news = &state.news;
    let offer = house.updates.found().zip(news.offer.as_ref()).map(|(found, offer)| Offer {
        version: offer.version.clone(),
        lnd_version: offer.lnd.clone(),
        bundle_bytes: offer.size,
        one_way: offer.one_way,
        urgent: offer.urgent,
        notes: offer.notes.clone(),
        checks: checks(&house, &found.update, None)
            .into_iter()
            .map(|check| CheckOut { name: check.name, verdict: check.verdict, detail: check.detail })
            .collect(),
    });
    Ok(Json(News {
        channel: news.channel.clone(),
        asked_at: Time::unless_never(news.asked),
        answered_at: Time::unless_never(news.answered),
        error: news.error.clone(),
        refusal: news.refusal.clone(),
        withdrawn: news.withdrawn.as_ref().map(|why| crate::pages::words::in_own_language(why).1.to_owned()),
        offer,
    }))
}

/// `POST /updates/look`: asks the channel now, and says what it answered.
pub(crate) async fn look(State(house): Home, _caller: Caller) -> Result<Json<News>, Problem> {
    updates::look(&house).await;
    news(State(house)).await
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "UpdateFrom")]
pub(crate) enum Place {
    Channel,
    Upload,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InstallUpdate")]
pub(crate) struct Install {
    from: Place,
    /// As in the news, or as it was uploaded.
    version: Short<64>,
    /// Of an upload: although it is no newer than what runs.
    #[serde(default)]
    older: bool,
}

/// `POST /updates/install`.
pub(crate) async fn install(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Install>,
) -> Result<Json<Restarting, 202>, Problem> {
    let from = match ask.from {
        Place::Channel => From::Channel,
        Place::Upload => From::Upload,
    };
    let entry = caller.audit("update-begun", ask.version.0.as_str());
    let wish = Wish { from, version: ask.version.0, older: ask.older, by_hand: true };
    done(install::install(&house, wish, entry).await, "It has begun: see 'job' of /api/v1/updates.")
}

/// `POST /updates/cancel`.
pub(crate) async fn cancel(State(house): Home, caller: Caller) -> Result<Json<Restarting, 202>, Problem> {
    let outcome = install::cancel(&house, caller.audit("update-cancelled", "")).await;
    done(outcome, "It is being ended: see 'job' of /api/v1/updates.")
}

/// `POST /updates/restart`.
pub(crate) async fn restart(State(house): Home, caller: Caller) -> Result<Json<Restarting, 202>, Problem> {
    let outcome = install::restart(&house, caller.audit("update-restart", "")).await;
    done(outcome, "The box restarts into the new version and is back in a minute or two.")
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SwitchSlot")]
pub(crate) struct Switch {
    /// `other_version` of /api/v1/updates.
    version: Short<64>,
}

/// `POST /updates/switch`.
pub(crate) async fn switch(
    State(house): Home,
    caller: Caller,
    Body(ask): Body<Switch>,
) -> Result<Json<Restarting, 202>, Problem> {
    let entry = caller.audit("slot-switched", ask.version.0.as_str());
    let outcome = install::switch(&house, &ask.version.0, entry).await;
    done(outcome, "It is being checked, and the box restarts into it by itself: see 'job' of /api/v1/updates.")
}

fn done(outcome: Result<(), Why>, well: &str) -> Result<Json<Restarting, 202>, Problem> {
    match outcome {
        Ok(()) => Ok(Json(Restarting::new(well))),
        Err(Why::Rule(text)) => Err(Problem::new(Code::Refused, text)),
        Err(Why::Error(error)) => Err(error.into()),
    }
}

/// What the owner set about updates.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateSettings")]
pub(crate) struct SettingsOut {
    /// The channel that is asked; null: none.
    channel_url: Option<String>,
    channel_name: Option<String>,
    /// It is a server at home: it may have a private address, and do without TLS.
    home_server: bool,
    automatic: Automatic,
    /// In the time zone of the box.
    window_start_hour: u8,
    window_hours: u8,
    keep_version: bool,
}

/// `GET /updates/settings`.
pub(crate) async fn settings(State(house): Home) -> Result<Json<SettingsOut>, Problem> {
    let (settings, source) = (house.updates.settings(), house.updates.channel());
    Ok(Json(SettingsOut {
        home_server: source.as_ref().is_some_and(|source| source.home),
        channel_name: source.as_ref().map(|source| source.name.clone()),
        channel_url: source.map(|source| source.url),
        automatic: settings.automatic,
        window_start_hour: settings.window.start,
        window_hours: settings.window.hours,
        keep_version: settings.keep,
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SetUpdates")]
pub(crate) struct Set {
    /// The folder that the channel is published in; left out: what the image names.
    channel_url: Option<Short<500>>,
    /// `stable`, `beta` or another [default: stable].
    channel_name: Option<Short<32>>,
    #[serde(default)]
    home_server: bool,
    automatic: Automatic,
    #[schemars(range(min = 0, max = 23))]
    window_start_hour: u8,
    #[schemars(range(min = 1, max = 24))]
    window_hours: u8,
    #[serde(default)]
    keep_version: bool,
}

/// `PUT /updates/settings`.
pub(crate) async fn set(state: Home, caller: Caller, Body(ask): Body<Set>) -> Result<Json<SettingsOut>, Problem> {
    let name = ask.channel_name.map_or_else(|| "stable".to_owned(), |name| name.0);
    let channel = ask.channel_url.map(|url| Source::read(&url.0, &name, ask.home_server)).transpose();
    let window = Window::new(ask.window_start_hour, ask.window_hours);
    let window = window.ok_or_else(|| Problem::invalid("the window begins at 0 to 23 and lasts 1 to 24 hours"))?;
    let channel = channel.map_err(Problem::invalid)?;
    let new = Settings { channel, automatic: ask.automatic, window, keep: ask.keep_version };
    let told = told(&new);
    state.updates.set(new, caller.audit("updates-set", told)).await?;
    settings(state).await
}

/// An update that has ended.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UpdateAttempt")]
pub(crate) struct AttemptOut {
    version: String,
    from_version: String,
    at: Time,
    /// `committed`, `refused`, `failed`, `cancelled` or `fellback`.
    stage: &'static str,
    /// Why, in a sentence.
    reason: String,
    /// The page with the logs of its failed starts.
    page: Option<String>,
}

/// `GET /updates/history`.
pub(crate) async fn history(State(house): Home, Query(part): Query<Part>) -> Result<Json<Page<AttemptOut>>, Problem> {
    let state = house.shared.twin.state();
    let page = part.of(&state.updates.history, |attempt: &Attempt| AttemptOut {
        version: attempt.version.clone(),
        from_version: attempt.from.clone(),
        at: Time(attempt.at),
        stage: attempt.stage.name(),
        reason: attempt.reason.clone(),
        page: attempt.evidence.as_ref().map(|folder| format!("/settings/updates/failed/{folder}")),
    });
    page.map(Json).map_err(Problem::invalid)
}
