//! Confirmed plans: read from the data partition, laid down for systemd-networkd.

use std::{fs, io, path::Path};

use netconf::{FILE_PREFIX, Mac, Plan, Report, file_name};

use super::{Places, country, radio};
use crate::{
    console::note,
    error::{At, Error},
    files,
};

const REPORT: &str = "network.json";

/// The plans the owner has confirmed. A file that cannot be used is named and passed over: its card asks the router.
pub fn confirmed(places: &Places) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    let Ok(entries) = fs::read_dir(&places.plans) else { return plans };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")) {
        let plan = files::read_json::<Plan>(path).and_then(|plan| {
            let fault = |reason: String| Error::Content { path: path.clone(), reason };
            plan.check(&plans).map(|()| plan).map_err(|error| fault(error.to_string()))
        });
        match plan {
            Ok(plan) => plans.push(plan),
            Err(error) => note(&format!("a network card is set up by the router: {error}")),
        }
    }
    plans
}

/// Keeps the plan for all starts to come; one that says nothing of its own leaves no file. `profile` is iwd's file of its
/// network, if that is new. First the password, then the plan that needs it.
pub(super) fn keep(places: &Places, plan: &Plan, profile: Option<&str>) -> Result<(), Error> {
    let others = confirmed(places).into_iter().filter(|other| other.mac != plan.mac);
    let all: Vec<Plan> = others.chain([plan.clone()]).collect();
    let fresh = plan.wifi.as_ref().map(|wifi| &wifi.ssid).zip(profile);
    radio::add(places, fresh)?;
    let folder = files::folder(&places.plans)?;
    let path = folder.join(format!("{}.json", plan.mac.plain()));
    if !plan.is_automatic() {
        files::write_atomic_json(&path, plan, 0o600)?;
    } else if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).at("remove", path);
    }
    // The folder's own name is to last, too.
    for folder in [Some(folder.as_path()), folder.parent()].into_iter().flatten() {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).at("save the folder", folder)?;
    }
    radio::forget_others(places, &all)
}

/// Lays the confirmed plans down, with `trial` in the place of its card's, and takes away what is not among them.
/// `profile`: iwd's file of the trial's network, if that is not kept yet.
pub(super) fn lay_with(places: &Places, trial: Option<&Plan>, profile: Option<&str>) -> Result<Vec<Plan>, Error> {
    let plans = confirmed(places);
    let folder = files::folder(&places.networkd)?;
    let mut wanted: Vec<(Mac, String)> = plans.iter().map(|plan| (plan.mac, plan.to_networkd())).collect();
    if let Some(trial) = trial {
        wanted.retain(|(mac, _)| *mac != trial.mac);
        wanted.push((trial.mac, trial.to_networkd()));
    }
    for (mac, text) in &wanted {
        let path = folder.join(file_name(*mac));
        // Untouched where nothing changes, so that nobody's card is set up anew for another's sake.
        if files::read_limited(&path, 64 * 1024).ok().as_deref() != Some(text.as_bytes()) {
            files::write_atomic(&path, text.as_bytes(), 0o644)?;
        }
    }
    remove_others(&folder, &wanted.iter().map(|(mac, _)| file_name(*mac)).collect::<Vec<_>>())?;
    radio::lay(places, &plans, trial.map(|plan| (plan, profile)))?;
    country::lay(places)?;
    Ok(plans)
}

fn remove_others(folder: &Path, wanted: &[String]) -> Result<(), Error> {
    for entry in fs::read_dir(folder).at("list", folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(FILE_PREFIX) && !wanted.contains(&name) {
            fs::remove_file(entry.path()).at("remove", entry.path())?;
        }
    }
    Ok(())
}

/// At the start of the machine, before systemd-networkd: the confirmed plans, and the report on them.
pub fn lay(places: &Places) -> Result<(), Error> {
    lay_with(places, None, None)?;
    write_report(places, &standing(places))
}

/// What is confirmed, for everybody to know.
pub(super) fn standing(places: &Places) -> Report {
    Report { plans: confirmed(places), country: country::confirmed(places), ..Report::default() }
}

pub(super) fn report(places: &Places) -> Report {
    files::read_json(&places.run.join(REPORT)).unwrap_or_default()
}

pub(super) fn write_report(places: &Places, report: &Report) -> Result<(), Error> {
    files::write_json(&places.run.join(REPORT), report)
}
