//! Keeping the box well: units started again, the journal, the support bundle.

use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    describe::{Body, Gap, Json, Query},
    problem::{Code, Problem},
    system::Restarting,
    types::{Short, Time},
};
use crate::{
    journal::{self, Level, Query as Wanted},
    pages::services,
    shared::House,
    support::gather,
};

type Home = State<Arc<House>>;

/// Lines of one answer, unless it is asked for others.
const LINES: u32 = 100;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct UnitName {
    /// As in the list of units, for example `lnd.service`.
    #[schemars(regex(pattern = r"^[a-z][a-z-]{0,60}\.service$"))]
    unit: String,
}

/// How a unit is to be started again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RestartUnit")]
pub(crate) struct Restart {
    /// Of LND: although payments are on their way.
    #[serde(default)]
    although_payments: bool,
}

/// `POST /system/units/{unit}/restart`.
pub(crate) async fn restart(
    State(house): Home,
    caller: Caller,
    Gap(UnitName { unit }): Gap<UnitName>,
    Body(ask): Body<Restart>,
) -> Result<Json<Restarting, 202>, Problem> {
    let entry = |unit| caller.audit("unit-restarted", unit);
    match services::begin(&house, &unit, ask.although_payments, entry).await {
        Ok(()) => Ok(Json(Restarting::new("It is being started again: see /api/v1/system/units."))),
        Err(services::Refused::Unknown) => Err(Problem::not_found("unit that may be started again")),
        Err(services::Refused::Rule(text)) => Err(Problem::new(Code::Refused, text)),
        Err(services::Refused::Store(error)) => Err(error.into()),
    }
}

/// Which lines of the journal.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lines {
    /// Of this unit alone, or of the `kernel`.
    #[schemars(regex(pattern = r"^([a-z][a-z-]{0,60}\.service|kernel)$"))]
    unit: Option<String>,
    /// Those that matter so much, and all that matter more [default: all].
    level: Option<Level>,
    /// With these letters in them.
    search: Option<Short<100>>,
    /// How many at most [default: 100].
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// The `next` of the page before; none: from the newest on.
    #[schemars(regex(pattern = r"^[a-z0-9=;]{1,200}$"))]
    cursor: Option<String>,
}

/// A line of the journal. Secrets are covered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LogLine")]
pub(crate) struct LogLine {
    at: Time,
    /// Unit or program.
    from: String,
    /// Of syslog: 0 to 7, the less the worse.
    priority: u8,
    text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LogPage")]
pub(crate) struct LogPage {
    /// Newest first.
    items: Vec<LogLine>,
    /// What to give as `cursor` for older ones; null where there are none.
    next: Option<String>,
}

/// `GET /system/logs`.
pub(crate) async fn logs(Query(ask): Query<Lines>) -> Result<Json<LogPage>, Problem> {
    let limit = ask.limit.unwrap_or(LINES);
    if !(1..=500).contains(&limit) {
        return Err(Problem::invalid("the limit is from 1 to 500"));
    }
    if let Some(unit) = ask.unit.as_deref().filter(|unit| !journal::units().any(|known| known == *unit)) {
        let detail = format!("{unit} is no unit of the box: see /api/v1/system/units");
        return Err(Problem::invalid(detail));
    }
    if ask.cursor.as_deref().is_some_and(|cursor| !journal::is_cursor(cursor)) {
        return Err(Problem::invalid("this is no cursor: give the 'next' of the page before, or none"));
    }
    let search = ask.search.unwrap_or_default().0;
    let query = Wanted { unit: ask.unit.unwrap_or_default(), level: ask.level.unwrap_or_default(), search };
    let found = journal::newest(&query, ask.cursor.as_deref(), limit as usize).await;
    let found =
        found.map_err(|error| Problem::new(Code::Refused, crate::pages::words::sentence(&error.to_string())))?;
    let next = found.lines.last().filter(|_| found.more).map(|line| line.cursor.clone());
    let items = found.lines.into_iter().map(|line| LogLine {
        at: Time(line.at),
        from: line.from,
        priority: line.priority,
        text: line.text,
    });
    Ok(Json(LogPage { items: items.collect(), next: next.filter(|cursor| !cursor.is_empty()) }))
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SupportBundle")]
pub(crate) struct Bundle {
    files: Vec<BundleFile>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SupportFile")]
pub(crate) struct BundleFile {
    name: &'static str,
    text: String,
}

/// `POST /system/support`: made anew each time, without secrets. Look at it before you pass it on.
pub(crate) async fn support(State(house): Home, caller: Caller) -> Result<Json<Bundle>, Problem> {
    let files = gather(&house).await?;
    match house.store.audit(caller.audit("support-bundle", "over the API")).await {
        Ok(()) | Err(store::Error::Full) => {}
        Err(error) => return Err(error.into()),
    }
    let files = files.into_iter().map(|file| BundleFile { name: file.name, text: file.text });
    Ok(Json(Bundle { files: files.collect() }))
}
