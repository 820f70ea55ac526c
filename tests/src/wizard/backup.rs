//! The channel backup through the pages: no channel without a place for it, copies within seconds, a place that goes away.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use super::{SOON, Stage};
use crate::{
    backup::servers::{self, Server, USER, fingerprint, sshd},
    browser::Browser,
    gallery::Gallery,
    http::Client,
    report::{Outcome, ensure, fails, until},
    visitor,
};

/// From a new channel to a copy of its backup at the place.
const PUSHED: Duration = Duration::from_secs(10);

/// The step of the wizard: looked at, and put off.
pub(super) fn put_off(browser: &Browser, gallery: &mut Gallery) -> Outcome {
    browser.wait_for("/setup/backup")?;
    gallery.look(browser, "backup-step")?;
    browser.click("form[action='/setup/backup/later'] button")?;
    browser.wait_for("/setup/summary")
}

/// The owner as a program.
pub(super) fn owner(stage: &Stage) -> Outcome<Client> {
    let client = stage.manager.tls();
    Ok(client.with_session(&visitor::sign_in(&client)?))
}

/// Neither the page nor who goes around it opens a channel; `why` says why not.
pub(super) fn no_channel(stage: &Stage, browser: &Browser, why: &str) -> Outcome {
    browser.open(&stage.url("/channels"))?;
    browser.wait_for_text("#door", why)?;
    ensure!(browser.has("form[action='/channels/open'] button[disabled]"), "the button can be pressed");
    ensure!(browser.has("#door a[href='/settings/backup']"), "there is no way to mend it");
    let form = [("peer", stage.bob.address.as_str()), ("amount", "100000"), ("fee", "6")];
    let answer = owner(stage)?.post("/channels/open", &form)?;
    ensure!(answer.status == 422 && answer.text().contains(why), "{}: {}", answer.status, visitor::complaint(&answer));
    Ok(())
}

/// An SFTP server with a new home.
pub(super) fn server(logs: &Path) -> Outcome<Server> {
    sshd(&logs.join("sshd.log"), "")
}

/// Through the form: wrong password, right key.
pub(super) fn choose_sftp(stage: &Stage, browser: &Browser, server: &Server, gallery: &mut Gallery) -> Outcome {
    browser.open(&stage.url("/settings/backup"))?;
    browser.wait_for("/settings/backup")?;
    gallery.look(browser, "backup-kinds")?;
    browser.click("a[href='/setup/backup/sftp']")?;
    browser.wait_for("/setup/backup/sftp")?;
    let line = browser.text("code.copy")?;
    ensure!(line.starts_with("ssh-ed25519 "), "the box's key is shown as {line:?}");
    fs::write(server.path().join("authorized_keys"), line + "\n")?;
    browser.fill("#host", "127.0.0.1")?;
    browser.fill("#port", &server.port.to_string())?;
    browser.fill("#user", USER)?;
    browser.click("#by-password")?;
    browser.fill("#password", "wrong")?;
    gallery.look(browser, "backup-sftp")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/backup/test")?;
    browser.wait_for_text("main", "Is it the right one?")?;
    let expected = fingerprint(server.path(), "ed25519")?;
    let seen = browser.text("main")?;
    ensure!(seen.contains(&expected), "the page shows {seen:?}, ssh-keygen {expected}");
    gallery.look(browser, "backup-host-key")?;
    browser.click("form[action='/setup/backup/host-key'] button")?;
    browser.wait_for_text("main", "does not accept the user ann with this password")?;
    gallery.look(browser, "backup-failed")?;
    browser.click("main a.button")?;
    browser.wait_for("/setup/backup/sftp")?;
    ensure!(
        !browser.run("return document.documentElement.outerHTML")?.to_string().contains("wrong"),
        "it shows the password"
    );
    browser.click("#by-key")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/backup/test")?;
    browser.wait_for_text("main", "read back and found the same")?;
    gallery.look(browser, "backup-good")?;
    browser.click("form[action='/setup/backup/use'] button")?;
    browser.wait_for("/backups")?;
    until(SOON, || {
        ensure!(!copies(server)?.is_empty(), "there is no first copy");
        Ok(())
    })
}

/// The copies at the server, oldest first.
pub(super) fn copies(server: &Server) -> Outcome<Vec<PathBuf>> {
    listed(&server.path().join("home/homebolt"))
}

fn listed(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let is_copy = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("scb-"));
    let mut copies: Vec<PathBuf> = entries.filter(is_copy).collect();
    copies.sort();
    Ok(copies)
}

/// How many channels a copy says it holds.
fn channels(copy: &Path) -> Option<u32> {
    copy.file_name()?.to_string_lossy().split('-').nth(2)?.parse().ok()
}

/// A copy with one channel was there within [`PUSHED`] of `since`, the moment before the click that opened it.
pub(super) fn pushed(server: &Server, since: SystemTime) -> Outcome<Duration> {
    let first = copies(server)?.into_iter().find(|copy| {
        channels(copy) == Some(1) && fs::metadata(copy).and_then(|about| about.modified()).is_ok_and(|at| at > since)
    });
    let Some(first) = first else { return fails(format!("no copy with a channel among {:?}", copies(server)?)) };
    let took = fs::metadata(&first)?.modified()?.duration_since(since)?;
    ensure!(took < PUSHED, "it took {took:?}");
    Ok(took)
}

/// The page of the copies: read back and shown to LND; a rotten one is told; the file can be taken away.
pub(super) fn verified(stage: &Stage, browser: &Browser, server: &Server, gallery: &mut Gallery) -> Outcome {
    let verify = |expected: &str| -> Outcome {
        browser.open(&stage.url("/backups"))?;
        browser.click("form[action='/backups/verify'] button")?;
        until(SOON, || {
            let seen = browser.text("#drill-result")?;
            ensure!(seen.starts_with(expected), "it says {seen:?}");
            Ok(())
        })
    };
    verify("Good")?;
    gallery.look(browser, "backups")?;
    let Some(newest) = copies(server)?.pop() else { return fails("there is no copy") };
    let bytes = fs::read(&newest)?;
    fs::write(&newest, "rot")?;
    verify("Not good")?;
    stage.until_text(browser, "/home", "#problems", "The copy of the channel backup is not good")?;
    fs::write(&newest, &bytes)?;
    verify("Good")?;
    let answer = owner(stage)?.get("/backups/current")?;
    ensure!(answer.body.len() > 100 && answer.status == 200, "{}: {} bytes", answer.status, answer.body.len());
    let name = answer.header("content-disposition").unwrap_or_default().to_owned();
    ensure!(name.contains("channel.backup") && answer.header("cache-control") == Some("no-store"), "{name}");
    Ok(())
}

/// The server is off while a channel closes: told, no further channel, and made good when it is back.
pub(super) fn late(
    stage: &Stage,
    browser: &Browser,
    server: &mut Server,
    close: impl FnOnce() -> Outcome,
    gallery: &mut Gallery,
) -> Outcome {
    server.kill();
    close()?;
    stage.until_text(browser, "/home", "#problems", "The channel backup is not saved")?;
    stage.until_text(browser, "/home", "#problems", "refuses connections")?;
    gallery.look(browser, "home-backup-late")?;
    no_channel(stage, browser, "is not saved at its place yet")?;
    browser.open(&stage.url("/backups"))?;
    gallery.look(browser, "backups-late")?;
    // On the page as it stands: the box tries again by itself, too, and then there is nothing left to click.
    server.start()?;
    browser.click("form[action='/backups/retry'] button")?;
    until(SOON, || {
        let newest = copies(server)?.pop();
        ensure!(newest.as_deref().and_then(channels) == Some(0), "the newest copy is {newest:?}");
        Ok(())
    })?;
    browser.open(&stage.url("/home"))?;
    until(SOON, || {
        let seen = browser.text("main")?;
        ensure!(!seen.contains("backup is not saved"), "it is still told");
        // The channel was closed by LND: nothing is missing.
        ensure!(!seen.contains("Channels are missing"), "a channel that was closed counts as lost");
        Ok(())
    })
}

/// The SFTP server once more, whose key is known by now.
pub(super) fn choose_again(stage: &Stage, browser: &Browser, server: &Server) -> Outcome {
    browser.open(&stage.url("/setup/backup/sftp"))?;
    browser.fill("#host", "127.0.0.1")?;
    browser.fill("#port", &server.port.to_string())?;
    browser.fill("#user", USER)?;
    browser.click("#by-key")?;
    browser.click("main form button")?;
    browser.wait_for("/setup/backup/test")?;
    browser.wait_for_text("main", "Is it the right one?")?;
    browser.click("form[action='/setup/backup/host-key'] button")?;
    browser.wait_for_text("main", "read back and found the same")?;
    browser.click("form[action='/setup/backup/use'] button")?;
    browser.wait_for("/backups")
}

/// The newest copy, once it holds a channel.
pub(super) fn with_channel(server: &Server) -> Outcome<PathBuf> {
    let newest = copies(server)?.pop();
    match newest {
        Some(newest) if channels(&newest) == Some(1) => Ok(newest),
        newest => fails(format!("the newest copy is {newest:?}")),
    }
}

/// A stick that the fake root program mounts; pulled and put back.
pub(super) fn stick(stage: &Stage, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    if !servers::is_root() {
        return crate::report::skip("only root can mount the file system that stands for a stick");
    }
    browser.open(&stage.url("/setup/backup/stick"))?;
    browser.click("form[action='/setup/backup/sticks'] button")?;
    browser.wait_for_text("main", crate::root::STICK)?;
    gallery.look(browser, "backup-stick")?;
    browser.click("form[action='/setup/backup/stick'] button")?;
    browser.wait_for("/setup/backup/test")?;
    browser.wait_for_text("main", "read back and found the same")?;
    browser.click("form[action='/setup/backup/use'] button")?;
    browser.wait_for("/backups")?;
    let mount = stage.manager.run_file("stick");
    let folder = mount.join("homebolt").join(crate::root::STICK);
    let count = until(SOON, || {
        let copies = listed(&folder)?;
        ensure!(!copies.is_empty(), "no copy is on the stick");
        Ok(copies.len())
    })?;
    // Pulled: nothing is written to the box in its place.
    ensure!(Command::new("umount").arg(&mount).status()?.success(), "the stick cannot be pulled");
    ensure!(fs::read_dir(&mount)?.count() == 0, "there is something under the stick");
    // Put back by the manager itself, which asks root again.
    until(SOON, || {
        ensure!(listed(&folder).is_ok_and(|copies| copies.len() >= count), "it is not mounted again");
        Ok(())
    })
}
