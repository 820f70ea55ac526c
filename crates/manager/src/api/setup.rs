//! The setup step by step, and applying it. What the steps are about has addresses of its own.
//!
//! ```text
//!  settings/place ─► network ─► disks ─► bitcoin/test, bitcoin/use ─► setup/wallet ─► backups/place ─► setup/apply
//!                       └─────────┴── steps/{step}: as it is ──────────────────────────────┘
//! ```

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use twin::Progress;

use super::{
    caller::Caller,
    describe::{Gap, Json},
    problem::{Code, Problem},
    types::Time,
};
use crate::{
    pages::words::sentence,
    setup::{
        Step,
        apply::{self, NAME, Phase},
    },
    shared::House,
};

type Home = State<Arc<House>>;

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Setup")]
pub(crate) struct Setup {
    steps: Vec<SetupStep>,
    /// How far it is applied; none before that is asked for.
    phases: Vec<SetupPhase>,
    /// When everything was applied; null while it was not.
    finished_at: Option<Time>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SetupStep {
    name: &'static str,
    done: bool,
    /// The page of the step.
    page: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SetupPhase {
    /// `config`, `seal`, `wallet`, `start`, `macaroon` or `finish`, one after the other.
    name: &'static str,
    /// `waiting`, `running`, `done` or `failed`.
    state: &'static str,
    /// When it came to be so; null while it waits.
    since: Option<Time>,
    /// Why it failed. Mend that, then apply again: what is done is not done twice.
    detail: Option<String>,
}

/// `GET /setup`.
pub(crate) async fn get(State(house): Home) -> Result<Json<Setup>, Problem> {
    let step = |step: Step| SetupStep { name: step.name(), done: house.setup.is_done(step), page: step.path() };
    let state = house.shared.twin.state();
    let job = state.jobs.get(NAME);
    let phases = Phase::ALL.iter().zip(job.into_iter().flat_map(|job| &job.steps)).map(|(phase, step)| SetupPhase {
        name: phase.name(),
        state: step.progress.name(),
        since: Time::unless_never(step.since),
        detail: (step.progress == Progress::Failed).then(|| sentence(&step.detail)),
    });
    Ok(Json(Setup {
        steps: Step::ALL.into_iter().map(step).collect(),
        phases: phases.collect(),
        finished_at: house.setup.choices().finished.map(Time),
    }))
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct StepName {
    /// `place`, `network` and `disk` stay as they are; `backup` is put off, and no channel is opened without one.
    #[schemars(regex(pattern = r"^(place|network|disk|backup)$"))]
    step: String,
}

/// `POST /setup/steps/{step}`: goes past a step with what there is. One that is done stays as it is.
pub(crate) async fn pass(
    state: Home,
    caller: Caller,
    Gap(StepName { step }): Gap<StepName>,
) -> Result<Json<Setup>, Problem> {
    let unknown = || Problem::not_found("step that could be left as it is");
    let step = Step::ALL.into_iter().find(|one| one.name() == step).ok_or_else(unknown)?;
    if !state.setup.pass(step, caller.actor()).await? {
        return Err(unknown());
    }
    get(state).await
}

/// `POST /setup/apply`: begins, or begins again where it failed.
pub(crate) async fn apply(state: Home, caller: Caller) -> Result<Json<Setup, 202>, Problem> {
    match apply::begin(&state, caller.audit("setup-applied", "")).await? {
        Ok(()) => {
            let Json(setup) = get(state).await?;
            Ok(Json(setup))
        }
        Err(step) => {
            let detail = format!("The step '{}' of the setup is not done: see /api/v1/setup.", step.name());
            Err(Problem::new(Code::Refused, detail))
        }
    }
}
