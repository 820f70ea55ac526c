//! Part `boot`: what needs systemd, the journal and the serial console: logs, restart of a unit, a forgotten password.

use std::time::Duration;

use crate::{
    browser::Browser,
    http::Client,
    report::{Fault, Outcome, Report, ensure, until},
    visitor::{self, PASSWORD},
};

use super::lab::Live;

/// For what systemd does by itself in an emulated box.
const SOON: Duration = Duration::from_secs(90);

pub(super) fn run(report: &mut Report, live: &mut Live, browser: &Browser) {
    report.test("the journal is filtered, searched, downloaded, and its new lines come by themselves", || {
        journal(live, browser)
    });
    report.test("a unit is started again from its page, and no other than those of the list", || restart(live));
    report.test("the support bundle holds the journal of the box and no claim code", || bundle(live));
    report.test("a forgotten password is reset with the code on the serial console", || forgotten(live));
}

fn owner(live: &Live) -> Outcome<Client> {
    Ok(live.client().with_session(&until(SOON, || visitor::sign_in(&live.client()))?))
}

fn journal(live: &mut Live, browser: &Browser) -> Outcome {
    let owner = owner(live)?;
    let lines = |query: &str| Ok::<_, Fault>(owner.get(&format!("/logs?{query}"))?.text());
    let own = lines("unit=homebolt-manager.service")?;
    ensure!(own.contains("ready"), "the manager's own lines are not there:\n{own}");
    ensure!(lines("unit=kernel&search=Linux%20version")?.contains("Linux version"), "the kernel's lines are not there");
    let searched = lines("search=Linux%20version")?;
    ensure!(searched.matches("<li").count() < 12 && searched.contains("Linux version"), "the search finds\n{searched}");
    let none = lines("search=no-such-words-in-any-line")?;
    ensure!(none.contains("No line fits"), "a search without a find shows\n{none}");
    let file = owner.get("/logs/download?unit=homebolt-manager.service")?;
    ensure!(file.status == 200 && file.text().contains("ready"), "the download is {}", file.status);
    ensure!(file.header("content-disposition").is_some_and(|value| value.contains("attachment")), "it is no file");

    browser.open(&format!("{}/logs", live.client().origin()))?;
    if browser.path()? == "/sign-in" {
        browser.fill("#password", PASSWORD)?;
        browser.click("main form button")?;
    }
    browser.wait_for("/logs")?;
    live.shell("systemd-cat -t homebolt-test echo a line from the test with rpcpass=hunter2")?;
    browser.wait_for_text("ol.journal", "a line from the test with rpcpass=[covered]")
}

fn restart(live: &mut Live) -> Outcome {
    let owner = owner(live)?;
    let begun = "systemctl show --value -p ActiveEnterTimestampMonotonic avahi-daemon.service";
    let before = live.shell(begun)?;
    let answer = owner.post("/settings/services", &[("unit", "avahi-daemon.service")])?;
    ensure!(answer.status == 303, "it answers {}: {}", answer.status, visitor::complaint(&answer));
    until(SOON, || {
        ensure!(live.shell(begun)? != before, "it was not started again");
        ensure!(live.shell("systemctl is-active avahi-daemon.service")? == "active", "it does not run");
        Ok(())
    })?;
    let answer = owner.post("/settings/services", &[("unit", "nftables.service")])?;
    ensure!(answer.status == 404, "another unit is answered by {}", answer.status);
    // The root program does not trust the manager.
    live.shell("echo -n nftables.service > /run/homebolt/manager/request/unit-restart")?;
    until(SOON, || {
        let said = live.shell("cat /run/homebolt/request-result.json")?;
        ensure!(said.contains("no unit that is started again"), "the root program says {said}");
        Ok(())
    })
}

fn bundle(live: &mut Live) -> Outcome {
    let owner = owner(live)?;
    ensure!(owner.post("/settings/support", &[])?.status == 303, "it is not made");
    let all: Vec<String> = (0..8).map(|index| format!("f{index}")).collect();
    let form: Vec<(&str, &str)> = all.iter().map(|name| (name.as_str(), "yes")).collect();
    let text = owner.post("/settings/support/download", &form)?.text();
    for needle in ["===== log-manager.txt =====", "homebolt-manager.service <6>", "lnd.service: ", "Homebolt "] {
        ensure!(text.contains(needle), "the bundle does not hold {needle:?}");
    }
    let code = live.shell("cat /run/homebolt/manager/claim.json")?;
    let code = code.split("\"code\":\"").nth(1).and_then(|rest| rest.get(..8));
    let code = code.ok_or_else(|| Fault::Fails("there is no claim code".into()))?;
    ensure!(!text.contains(code) && !text.contains(PASSWORD), "the bundle holds a secret");
    Ok(())
}

fn forgotten(live: &mut Live) -> Outcome {
    let client = live.client();
    let before = owner(live)?;
    ensure!(client.post("/forgot", &[])?.status == 303, "the code cannot be asked for");
    let code = until(SOON, || {
        let screen = live.screen()?;
        let code = screen.reset_code().map(str::to_owned);
        code.ok_or_else(|| Fault::Fails(format!("there is no code on the console:\n{}", screen.0)))
    })?;
    let form = [("code", code.as_str()), ("password", PASSWORD), ("again", PASSWORD)];
    let answer = until(SOON, || {
        let answer = client.post("/forgot/reset", &form)?;
        ensure!(answer.status != 429, "too many tries");
        Ok(answer)
    })?;
    ensure!(
        answer.location() == "/sign-in?done=reset",
        "it answers {}: {}",
        answer.status,
        visitor::complaint(&answer)
    );
    ensure!(before.get("/home")?.status == 303, "an old session still works");
    until(SOON, || {
        ensure!(live.screen()?.reset_code().is_none(), "the code is still on the console");
        Ok(())
    })
}
