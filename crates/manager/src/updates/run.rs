//! What the box does about updates without being asked: it looks when the timer says so, judges again what it heard, and
//! installs and restarts in the window, if the owner wants that.

use std::{sync::Arc, time::Duration};

use store::Audit;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{self, Instant},
};
use twin::{
    State,
    updates::{Job, News, Stage},
};

use super::{
    checks,
    install::{self, From, Why, Wish, is_busy},
    look,
    preflight::{Verdict, overall},
    receive::Upload,
    seen::Seen,
    settings::{Automatic, Settings},
};
use crate::{error::now, language::of_box, shared::House};

/// So often it looks for what is due.
const GLANCE: Duration = Duration::from_secs(5);
/// So often what was heard is judged again: the turn in a roll-out comes with the time.
const AGAIN: Duration = Duration::from_secs(15 * 60);
/// Left by the timer's unit, below the folder of requests.
const ASKED: &str = "manager/look";

/// Runs for as long as the twin lives.
pub(crate) async fn run(house: Arc<House>) {
    let mut changes = house.shared.twin.changes();
    let mut settings = house.updates.settings.subscribe();
    let mut glance = time::interval(GLANCE);
    let mut judged = Judged::of(&house.shared.twin.state());
    let mut channel = house.updates.channel();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Err(RecvError::Closed) => return,
                // Progress of an installation comes here each second and says nothing new about what may be had.
                _ => {
                    let seen = Judged::of(&house.shared.twin.state());
                    if seen != judged {
                        forget_upload(&house, &seen);
                        judged = seen;
                        due = Instant::now();
                    }
                }
            },
            changed = settings.changed() => {
                if changed.is_err() {
                    return;
                }
                due = Instant::now();
                let chosen = house.updates.channel();
                if chosen != channel && house.updates.settings().automatic != Automatic::Off {
                    of_box(&house.shared, look(&house)).await;
                }
                channel = chosen;
            }
            _ = glance.tick() => {
                if let Ok(true) = tokio::fs::try_exists(house.shared.run_dir.join(ASKED)).await {
                    let _ = tokio::fs::remove_file(house.shared.run_dir.join(ASKED)).await;
                    if may_look(&house.updates.settings(), &house.updates.seen(), now()) {
                        of_box(&house.shared, look(&house)).await;
                    }
                }
                step(&house).await;
            }
        }
        if due <= Instant::now() {
            due = Instant::now() + AGAIN;
            look::again(&house).await;
        }
    }
}

fn may_look(settings: &Settings, seen: &Seen, now: u64) -> bool {
    settings.automatic != Automatic::Off && seen.is_due(now)
}

/// What of root's report and of the clock changes what may be had.
#[derive(Debug, PartialEq, Eq)]
struct Judged {
    failed: Vec<String>,
    fence: Option<String>,
    /// The version that is in its slot, whole.
    written: Option<String>,
    clock_set: Option<bool>,
}

impl Judged {
    fn of(state: &State) -> Self {
        let report = &state.updates;
        let is_written = |job: &&Job| matches!(job.stage, Stage::Installed | Stage::Committed);
        let written = report.job.as_ref().filter(is_written).map(|job| job.version.clone());
        let (failed, fence) = (report.failed.clone(), report.fence.clone());
        Self { failed, fence, written, clock_set: state.resources.clock_set }
    }
}

/// A bundle that is in its slot is not needed any more.
fn forget_upload(house: &House, seen: &Judged) {
    if let Upload::Ready(update) = house.updates.upload()
        && seen.written.as_ref() == Some(&update.release.version)
    {
        house.updates.discard();
    }
}

/// What is to be done by itself.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    Nothing,
    /// Install this version, if the pre-flight finds nothing.
    Install(&'a str),
    /// Into what this job has installed.
    Restart(&'a str),
}

/// `open`: the window is open. `quiet`: no payment is on its way.
fn next<'a>(
    settings: &Settings,
    job: Option<&'a Job>,
    news: &'a News,
    seen: &Seen,
    (open, quiet): (bool, bool),
    now: u64,
) -> Next<'a> {
    if settings.automatic != Automatic::Install || !open {
        return Next::Nothing;
    }
    match (job, &news.offer) {
        (Some(job), _) if job.stage == Stage::Installed && quiet && seen.may_try(&job.id, now) => {
            Next::Restart(&job.id)
        }
        (Some(job), _) if !job.stage.has_ended() => Next::Nothing,
        (_, Some(offer)) if news.refusal.is_empty() && seen.may_try(&offer.version, now) => {
            Next::Install(&offer.version)
        }
        _ => Next::Nothing,
    }
}

async fn step(house: &Arc<House>) {
    let (settings, seen, state, now) =
        (house.updates.settings(), house.updates.seen(), house.shared.twin.state(), now());
    let open = settings.window.is_open(now, &house.shared.place().time_zone());
    let quiet = state.node.htlcs.is_empty();
    let entry = |action, detail: &str| Audit { at: now, actor: "box".into(), action, detail: detail.into() };
    let outcome = match next(&settings, state.updates.job.as_ref(), &state.news, &seen, (open, quiet), now) {
        Next::Nothing => return,
        Next::Restart(job) => {
            house.updates.note(|seen| seen.begin(job, now)).await;
            install::restart(house, entry("update-restart", "")).await
        }
        Next::Install(version) => {
            // A warning is for the owner to weigh: it may be gone at the next glance.
            let ready = house
                .updates
                .found()
                .is_some_and(|found| overall(&checks(house, &found.update, None)) == Verdict::Good);
            if !ready || is_busy(house) {
                return;
            }
            house.updates.note(|seen| seen.begin(version, now)).await;
            let wish = Wish { from: From::Channel, version: version.to_owned(), older: false, by_hand: false };
            install::install(house, wish, entry("update-begun", version)).await
        }
    };
    match outcome {
        Ok(()) => tracing::info!("an update goes on by itself"),
        Err(Why::Rule(why)) => tracing::warn!(why, "no update by itself"),
        Err(Why::Error(error)) => tracing::warn!(%error, "no update by itself"),
    }
}

#[cfg(test)]
mod tests {
    use twin::updates::Offered;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn news(refusal: &str) -> News {
        let offer = Some(Offered { version: "0.2.0".into(), ..Offered::default() });
        News { offer, refusal: refusal.into(), ..News::default() }
    }

    fn job(stage: Stage) -> Job {
        Job { id: "7".into(), stage, ..Job::default() }
    }

    fn settings(automatic: Automatic) -> Settings {
        Settings { automatic, ..Settings::default() }
    }

    #[test]
    fn nothing_is_installed_but_in_the_window_and_where_the_owner_wants_it() {
        let (seen, news) = (Seen::default(), news(""));
        for (automatic, open, expected) in [
            (Automatic::Install, true, Next::Install("0.2.0")),
            (Automatic::Install, false, Next::Nothing),
            (Automatic::Look, true, Next::Nothing),
            (Automatic::Off, true, Next::Nothing),
        ] {
            assert_eq!(next(&settings(automatic), None, &news, &seen, (open, true), NOW), expected, "{automatic:?}");
        }
    }

    #[test]
    fn what_the_box_does_not_take_by_itself_or_has_just_tried_is_left_alone() {
        let by_itself = settings(Automatic::Install);
        let (kept, open) = (news("You chose to stay."), news(""));
        assert_eq!(next(&by_itself, None, &kept, &Seen::default(), (true, true), NOW), Next::Nothing);
        let mut seen = Seen::default();
        seen.begin("0.2.0", NOW);
        assert_eq!(next(&by_itself, None, &open, &seen, (true, true), NOW + 60), Next::Nothing);
        assert_eq!(next(&by_itself, None, &open, &seen, (true, true), NOW + 86_400), Next::Install("0.2.0"));
        assert_eq!(next(&by_itself, None, &News::default(), &Seen::default(), (true, true), NOW), Next::Nothing);
    }

    #[test]
    fn what_is_installed_is_started_in_the_window_once_no_payment_is_on_its_way() {
        let (by_itself, news) = (settings(Automatic::Install), News::default());
        let with = |stage, quiet, seen: &Seen| {
            let job = job(stage);
            next(&by_itself, Some(&job), &news, seen, (true, quiet), NOW) == Next::Restart("7")
        };
        let (fresh, mut tried) = (Seen::default(), Seen::default());
        tried.begin("7", NOW - 60);
        assert!(with(Stage::Installed, true, &fresh));
        assert!(!with(Stage::Installed, false, &fresh) && !with(Stage::Installed, true, &tried));
        for stage in [Stage::Checking, Stage::Installing, Stage::Restarting, Stage::Trying, Stage::Committed] {
            assert!(!with(stage, true, &fresh), "{stage:?}");
        }
    }

    #[test]
    fn the_timer_is_heard_only_where_the_owner_lets_the_box_look() {
        assert!(may_look(&settings(Automatic::Look), &Seen::default(), NOW));
        assert!(may_look(&settings(Automatic::Install), &Seen::default(), NOW));
        assert!(!may_look(&settings(Automatic::Off), &Seen::default(), NOW));
        let mut fresh = Seen::default();
        (fresh.asked, fresh.answered) = (NOW - 60, NOW - 60);
        assert!(!may_look(&settings(Automatic::Look), &fresh, NOW));
    }
}
