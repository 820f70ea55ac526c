//! The trial of a plan: live at once, and taken back unless somebody who can reach the box says that it is good.

use std::{
    fs::{self, File, OpenOptions},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use netconf::{Country, Ending, Last, NotJoined, Plan, Report, Trial, Try};
use nix::{
    fcntl::{Flock, FlockArg},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};

use super::{
    Places, UNIT, country, radio,
    store::{confirmed, keep, lay_with, report, standing, write_report},
};
use crate::{
    console::note,
    error::{At, Error},
    files, program,
};

/// So long the page that names the new address has to reach the browser by the old one.
const NOTICE: Duration = Duration::from_secs(4);
/// So long there is to confirm.
const LIMIT: u64 = 60;
/// The trial's state is looked at so often.
const GLANCE: Duration = Duration::from_millis(300);
/// systemd-networkd is asked so often to go back: it may be starting anew itself.
const RETRIES: u32 = 10;

/// What root remembers of the trial: not for others, as it has the code and a password.
#[derive(Serialize, Deserialize)]
struct Kept {
    code: String,
    plan: Plan,
    state: State,
    /// iwd's file of the plan's network, if its password is new.
    #[serde(default)]
    profile: Option<String>,
    /// The country of the radios, if another one is tried.
    #[serde(default)]
    country: Option<Country>,
    /// Why the radio did not join.
    #[serde(default)]
    why: Option<NotJoined>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Nobody holds it yet: a run of the unit that found nothing to try may still be ending.
    Waiting,
    /// The unit has it, and lets the page reach the browser or the radio join.
    Held,
    Live {
        until: u64,
    },
    Failed,
    Confirmed,
    Withdrawn,
}

fn file(places: &Places) -> PathBuf {
    places.run.join("network-trial.json")
}

fn read(places: &Places) -> Option<Kept> {
    files::read_json(&file(places)).ok()
}

fn write(places: &Places, kept: &Kept) -> Result<(), Error> {
    files::write_atomic_json(&file(places), kept, 0o600)
}

/// One decision at a time: a confirmation in the last instant is either in time or too late, never half of each.
fn lock(places: &Places) -> Result<Flock<File>, Error> {
    let path = places.run.join("network.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).at("open", &path)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno).at("lock", path)
}

/// Seconds since the machine's start.
pub(super) fn clock() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| u64::try_from(time.tv_sec()).unwrap_or_default())
}

/// Takes a plan to try and has `start` begin the trial. Returns what to say.
pub fn begin(places: &Places, content: &str, start: impl Fn() -> Result<(), Error>) -> Result<String, Error> {
    let refused = |sentence: &str| Err(Error::Refused(sentence.to_owned()));
    let Ok(Try { code, plan, passphrase, country }) = serde_json::from_str::<Try>(content) else {
        return refused("The network plan cannot be read.");
    };
    if code.len() < 8 || code.len() > 32 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return refused("The code of the network plan does not have the expected form.");
    }
    let _turn = lock(places)?;
    if read(places).is_some() {
        return refused("A change of the network is being tried already. Confirm it, or wait until it is taken back.");
    }
    plan.check(&confirmed(places)).map_err(|fault| Error::Refused(format!("Nothing was changed: {fault}.")))?;
    let profile = match (&plan.wifi, &passphrase) {
        (Some(wifi), Some(passphrase)) => Some(wifi.to_iwd(passphrase)),
        (Some(wifi), None) if !radio::knows(places, &wifi.ssid) => {
            return refused("Nothing was changed: the password of this Wi-Fi network is not known.");
        }
        (None, Some(_)) => return refused("Nothing was changed: the plan has a password and no Wi-Fi network."),
        _ => None,
    };
    // Also the pages of other browsers tell at once that something is under way.
    let before = report(places);
    let until = clock() + NOTICE.as_secs() + LIMIT;
    let trial = Some(Trial { plan: plan.clone(), until, country });
    write(places, &Kept { code, plan, state: State::Waiting, profile, country, why: None })?;
    write_report(places, &Report { trial, ..standing(places) })?;
    if let Err(error) = start() {
        let path = file(places);
        fs::remove_file(&path).at("remove", path)?;
        write_report(places, &before)?;
        return Err(error);
    }
    Ok("The change is being tried.".into())
}

/// Has systemd start the unit of the trial. Anew, as the unit may still run after an earlier fault, with nothing to do.
pub(crate) fn start_unit() -> Result<(), Error> {
    program::must("/usr/bin/systemctl", &["--no-block", "restart", UNIT]).map(|_| ())
}

/// Makes the plan live, and waits until it is decided or its time is over.
/// `join` has the radio of a plan join its network, by the rules of another country if there is one.
pub fn hold(
    places: &Places,
    reload: impl Fn() -> Result<(), Error>,
    join: impl Fn(&Plan, Option<Country>) -> Result<(), NotJoined>,
) -> Result<(), Error> {
    // Started again after a fault: what was live for an unknown time is taken back by what follows this unit.
    if !taken(places)? {
        return Ok(());
    }
    let begins = Instant::now() + NOTICE;
    while Instant::now() < begins && read(places).is_some_and(|kept| kept.state == State::Held) {
        thread::sleep(GLANCE);
    }
    let is_radio = read(places).is_some_and(|kept| kept.plan.wifi.is_some() || kept.country.is_some());
    if is_radio && !joined(places, &reload, &join)? {
        return Ok(());
    }
    let Some(until) = live(places, &reload)? else { return Ok(()) };
    if let (false, Some(kept)) = (is_radio, read(places)) {
        // A radio without a network of its own leaves the one it is in; a card with a cable does nothing.
        let _ = join(&kept.plan, None);
    }
    while clock() < until {
        match read(places).map(|kept| kept.state) {
            Some(State::Live { .. }) => thread::sleep(GLANCE),
            _ => break,
        }
    }
    Ok(())
}

/// Takes the trial, if one waits.
fn taken(places: &Places) -> Result<bool, Error> {
    let _turn = lock(places)?;
    let Some(mut kept) = read(places).filter(|kept| kept.state == State::Waiting) else { return Ok(false) };
    kept.state = State::Held;
    write(places, &kept)?;
    Ok(true)
}

/// Makes the plan live; gives when its time is over. `None`: it was decided meanwhile.
fn live(places: &Places, reload: impl Fn() -> Result<(), Error>) -> Result<Option<u64>, Error> {
    let _turn = lock(places)?;
    let Some(mut kept) = read(places).filter(|kept| kept.state == State::Held) else { return Ok(None) };
    let until = clock() + LIMIT;
    // First the note of what is being done, then the doing.
    kept.state = State::Live { until };
    write(places, &kept)?;
    lay_with(places, Some(&kept.plan), kept.profile.as_deref())?;
    let trial = Some(Trial { plan: kept.plan.clone(), until, country: kept.country });
    write_report(places, &Report { trial, ..standing(places) })?;
    note(&format!("network: a plan for {} is tried for {LIMIT} s", kept.plan.mac));
    if let Err(error) = reload() {
        kept.state = State::Failed;
        write(places, &kept)?;
        return Err(error);
    }
    Ok(Some(until))
}

/// Has the radio join before anything can be confirmed; whether it has. Not under the lock: it may take half a minute, and
/// the owner may take it back meanwhile.
fn joined(
    places: &Places,
    reload: impl Fn() -> Result<(), Error>,
    join: impl Fn(&Plan, Option<Country>) -> Result<(), NotJoined>,
) -> Result<bool, Error> {
    let (plan, country) = {
        let _turn = lock(places)?;
        let Some(kept) = read(places).filter(|kept| kept.state == State::Held) else { return Ok(false) };
        lay_with(places, Some(&kept.plan), kept.profile.as_deref())?;
        reload()?;
        (kept.plan, kept.country)
    };
    let result = join(&plan, country);
    let _turn = lock(places)?;
    let Some(mut kept) = read(places).filter(|kept| kept.state == State::Held) else { return Ok(false) };
    if let Err(why) = result {
        // A known network that is out of reach now: what is new are the country's rules.
        let is_known = kept.country.is_some() && kept.profile.is_none();
        let why = match why {
            NotJoined::NotInReach | NotJoined::Passphrase | NotJoined::Other if is_known => NotJoined::Rules,
            why => why,
        };
        (kept.state, kept.why) = (State::Failed, Some(why));
        write(places, &kept)?;
        return Ok(false);
    }
    Ok(true)
}

/// The trial is over: what was confirmed stays, everything else is taken back. Can be repeated, does nothing twice.
/// `back` has a radio go back to the network of the plan it is given, by the rules that were in force.
pub fn settle(
    places: &Places,
    reload: impl Fn() -> Result<(), Error>,
    back: impl Fn(&Plan, Option<Country>),
) -> Result<(), Error> {
    let _turn = lock(places)?;
    let Some(kept) = read(places) else { return Ok(()) };
    let ending = match kept.state {
        State::Confirmed => Ending::Confirmed,
        State::Withdrawn => Ending::Withdrawn,
        State::Failed => Ending::Failed,
        State::Held | State::Live { .. } => Ending::Expired,
        // Asked for while a run that found nothing was ending: it has a start of its own.
        State::Waiting => return Ok(()),
    };
    let plans = lay_with(places, None, None)?;
    if ending != Ending::Confirmed {
        insist(reload)?;
        let before = plans.iter().find(|plan| plan.mac == kept.plan.mac).cloned();
        let before = before.unwrap_or_else(|| Plan::automatic(kept.plan.mac));
        let rules = kept.country.map(|_| country::confirmed(places).unwrap_or(Country::WORLD));
        if kept.plan.wifi != before.wifi || rules.is_some() {
            back(&before, rules);
        }
    }
    note(&format!("network: the trial for {} ended: {ending:?}", kept.plan.mac));
    let last = Some(Last { plan: kept.plan, ending, at: clock(), why: kept.why });
    write_report(places, &Report { last, ..standing(places) })?;
    let path = file(places);
    fs::remove_file(&path).at("remove", path)
}

fn insist(reload: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    for _ in 1..RETRIES {
        match reload() {
            Ok(()) => return Ok(()),
            Err(error) => note(&format!("network: not yet taken back: {error}")),
        }
        thread::sleep(GLANCE * 3);
    }
    reload()
}

/// Keeps the plan that is live for good. Who asks must know the code of this trial.
pub fn confirm(places: &Places, code: &str) -> Result<String, Error> {
    let refused = |sentence: &str| Err(Error::Refused(sentence.to_owned()));
    let _turn = lock(places)?;
    let Some(mut kept) = read(places) else {
        return refused("There is no change of the network to confirm: it was taken back, or confirmed already.");
    };
    if kept.code != code.trim() {
        return refused("This is not the code of the change that is being tried.");
    }
    match kept.state {
        State::Live { until } if clock() < until => {}
        State::Waiting | State::Held => return refused("The change is not live yet. Try again in a few seconds."),
        State::Confirmed => return Ok("The change is kept.".into()),
        State::Live { .. } | State::Failed | State::Withdrawn => {
            return refused("It is too late: the change is being taken back.");
        }
    }
    // On the disk before anything says that it is.
    if let Some(country) = kept.country {
        country::keep(places, country)?;
    }
    keep(places, &kept.plan, kept.profile.as_deref())?;
    kept.state = State::Confirmed;
    write(places, &kept)?;
    write_report(places, &Report { last: report(places).last, ..standing(places) })?;
    Ok("The change is kept.".into())
}

/// Takes the trial back before its time is over.
pub fn withdraw(places: &Places) -> Result<String, Error> {
    let _turn = lock(places)?;
    match read(places) {
        Some(mut kept) if matches!(kept.state, State::Waiting | State::Held | State::Live { .. }) => {
            kept.state = State::Withdrawn;
            write(places, &kept)?;
            Ok("The change is being taken back.".into())
        }
        _ => Err(Error::Refused("There is no change of the network to take back.".into())),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use netconf::V4;

    use super::*;

    const CODE: &str = "ABCDEFGH";

    fn places() -> (tempfile::TempDir, Places) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("run")).unwrap();
        let places = Places {
            run: path("run"),
            plans: path("data/network"),
            networkd: path("networkd"),
            wifi: path("data/wifi"),
            iwd: path("iwd"),
        };
        fs::create_dir(path("data")).unwrap();
        (folder, places)
    }

    fn plan(last: u8) -> Plan {
        let v4 = V4::Static { address: [10, 0, 2, last].into(), prefix: 24, gateway: None };
        Plan { v4, ..Plan::automatic("52:54:00:68:62:01".parse().unwrap()) }
    }

    fn asked(plan: Plan) -> Try {
        Try { code: CODE.into(), plan, passphrase: None, country: None }
    }

    fn ask(places: &Places, last: u8) -> Result<String, Error> {
        begin(places, &serde_json::to_string(&asked(plan(last))).unwrap(), || Ok(()))
    }

    /// As [`hold`] leaves it once the plan is live.
    fn live(places: &Places, until: u64) {
        let mut kept = read(places).unwrap();
        lay_with(places, Some(&kept.plan), kept.profile.as_deref()).unwrap();
        kept.state = State::Live { until };
        write(places, &kept).unwrap();
    }

    /// A card with a cable leaves no network.
    fn stay(_: &Plan, _: Option<Country>) {
        panic!("this plan is for no radio");
    }

    fn laid(places: &Places) -> Option<String> {
        fs::read_to_string(places.networkd.join("50-homebolt-525400686201.network")).ok()
    }

    fn has(places: &Places, address: &str) -> bool {
        laid(places).is_some_and(|text| text.contains(address))
    }

    #[test]
    fn a_confirmed_plan_is_on_the_disk_and_laid_at_the_next_start() {
        let (_folder, places) = places();
        ask(&places, 77).unwrap();
        live(&places, clock() + 60);
        assert!(has(&places, "10.0.2.77/24"));
        confirm(&places, CODE).unwrap();
        settle(&places, || panic!("what is kept needs no second setup"), stay).unwrap();
        assert!(has(&places, "10.0.2.77/24"));
        assert_eq!(report(&places).last.unwrap().ending, Ending::Confirmed);
        // A start anew: /run is empty.
        fs::remove_dir_all(&places.networkd).unwrap();
        lay(&places).unwrap();
        assert!(has(&places, "10.0.2.77/24"));
        assert_eq!(report(&places).plans, [plan(77)]);
    }

    use super::super::lay;

    #[test]
    fn what_nobody_confirms_is_taken_back() {
        let (_folder, places) = places();
        ask(&places, 77).unwrap();
        live(&places, clock() + 60);
        let reloads = Cell::new(0);
        let reload = || {
            reloads.set(reloads.get() + 1);
            if reloads.get() == 1 { Err(Error::Refused("networkd is starting".into())) } else { Ok(()) }
        };
        settle(&places, reload, stay).unwrap();
        assert_eq!((laid(&places), reloads.get()), (None, 2), "it is asked until it answers");
        assert_eq!(report(&places).last.unwrap().ending, Ending::Expired);
        assert!(matches!(confirm(&places, CODE), Err(Error::Refused(_))), "too late");
        assert!(!places.plans.exists());
        settle(&places, || panic!("twice does nothing twice"), stay).unwrap();
    }

    #[test]
    fn a_run_that_ends_does_not_end_the_trial_that_was_asked_for_meanwhile() {
        let (_folder, places) = places();
        hold(&places, || panic!("nothing is tried"), |_, _| panic!("nothing is tried")).unwrap();
        ask(&places, 77).unwrap();
        settle(&places, || panic!("nothing was live"), stay).unwrap();
        assert!(taken(&places).unwrap() && !taken(&places).unwrap(), "its own run finds it");
        settle(&places, || Ok(()), stay).unwrap();
        assert_eq!(report(&places).last.unwrap().ending, Ending::Expired);
    }

    #[test]
    fn a_trial_goes_back_to_the_plan_confirmed_before_it() {
        let (_folder, places) = places();
        keep(&places, &plan(50), None).unwrap();
        ask(&places, 77).unwrap();
        live(&places, clock() + 60);
        withdraw(&places).unwrap();
        assert!(confirm(&places, CODE).is_err());
        settle(&places, || Ok(()), stay).unwrap();
        assert!(has(&places, "10.0.2.50/24"));
        assert_eq!(report(&places).last.unwrap().ending, Ending::Withdrawn);
    }

    #[test]
    fn a_power_cut_in_a_trial_leaves_the_old_plan() {
        let (_folder, places) = places();
        keep(&places, &plan(50), None).unwrap();
        ask(&places, 77).unwrap();
        live(&places, clock() + 60);
        fs::remove_dir_all(&places.run).unwrap();
        fs::remove_dir_all(&places.networkd).unwrap();
        fs::create_dir(&places.run).unwrap();
        lay(&places).unwrap();
        assert!(has(&places, "10.0.2.50/24"));
    }

    #[test]
    fn only_the_code_of_this_trial_confirms_it_and_only_in_time() {
        let (_folder, places) = places();
        assert!(confirm(&places, CODE).is_err(), "nothing is tried");
        ask(&places, 77).unwrap();
        assert!(confirm(&places, CODE).is_err(), "not live yet");
        live(&places, clock() + 60);
        assert!(confirm(&places, "ABCDEFGX").is_err() && confirm(&places, "").is_err());
        live(&places, clock());
        assert!(confirm(&places, CODE).is_err(), "the time is over");
        assert!(!places.plans.exists());
    }

    #[test]
    fn one_trial_at_a_time_and_only_of_what_can_work() {
        let (_folder, places) = places();
        assert!(ask(&places, 255).is_err(), "the broadcast address");
        assert!(begin(&places, "{", || Ok(())).is_err());
        let odd = serde_json::to_string(&Try { code: "../../etc".into(), ..asked(plan(77)) }).unwrap();
        assert!(begin(&places, &odd, || Ok(())).is_err());
        ask(&places, 77).unwrap();
        assert!(ask(&places, 78).is_err());
    }

    #[test]
    fn a_trial_that_cannot_start_is_none() {
        let (_folder, places) = places();
        let content = serde_json::to_string(&asked(plan(77))).unwrap();
        assert!(begin(&places, &content, || Err(Error::Refused("no unit".into()))).is_err());
        ask(&places, 77).unwrap();
    }

    #[test]
    fn the_code_is_for_root_alone_and_in_no_report() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, places) = places();
        ask(&places, 77).unwrap();
        live(&places, clock() + 60);
        assert_eq!(fs::metadata(file(&places)).unwrap().permissions().mode() & 0o777, 0o600);
        confirm(&places, CODE).unwrap();
        assert!(!fs::read_to_string(places.run.join("network.json")).unwrap().contains(CODE));
    }

    #[test]
    fn everything_by_the_router_again_leaves_no_file_and_a_broken_one_is_passed_over() {
        let (_folder, places) = places();
        keep(&places, &plan(50), None).unwrap();
        assert_eq!(confirmed(&places), [plan(50)]);
        keep(&places, &Plan::automatic(plan(50).mac), None).unwrap();
        assert_eq!(confirmed(&places), []);
        fs::write(places.plans.join("x.json"), "{").unwrap();
        fs::write(places.plans.join("y.json"), serde_json::to_string(&plan(255)).unwrap()).unwrap();
        assert_eq!(confirmed(&places), []);
        lay(&places).unwrap();
        assert_eq!(laid(&places), None);
    }
}
