//! The box gets a name and a time zone from its owner: at once, and still after a restart.

use std::time::Duration;

use super::lab::{BOOT, Live};
use crate::{
    http::Client,
    report::{Outcome, Report, ensure, fails, until},
    visitor,
    wire::Record,
};

const NAME: &str = "attic";
const ZONE: &str = "America/Sao_Paulo";

pub(crate) fn run(report: &mut Report, live: &mut Live) -> Option<()> {
    report.test("a new name and time zone are the system's at once, with a certificate for the name", || {
        let words = live.screen()?.words();
        let form = [("language", "en"), ("zone", ZONE), ("name", NAME)];
        let answer = owner(live)?.post("/settings/place", &form)?;
        ensure!(answer.status == 200, "the form is answered by {}: {}", answer.status, visitor::complaint(&answer));
        ensure!(answer.text().contains(&format!("https://{NAME}.local")), "the page does not name the new address");
        // The manager begins anew with another authority: that of the old name may not sign the new one.
        until(Duration::from_secs(90), || {
            let now = live.screen()?.words();
            ensure!(now != words && now.len() == 6, "the console still shows {now:?}");
            Ok(())
        })?;
        named(live)?;
        let screen = live.screen()?.0;
        ensure!(screen.contains(&format!("{NAME}.local")), "the console does not show the name:\n{screen}");
        let audit = owner(live)?.get("/audit")?.text();
        ensure!(audit.contains(" -03"), "the audit log does not show the zone's time");
        Ok(())
    })?;
    report.test("what root is asked for is checked anew, and nothing of it is taken", || {
        for bad in ["--help\\nUTC", "two words\\nUTC", "cellar\\n../../etc/passwd", "cellar"] {
            live.shell(&format!(
                "printf '{bad}' > /run/homebolt/manager/.place.new && \
                 mv /run/homebolt/manager/.place.new /run/homebolt/manager/request/place"
            ))?;
            until(Duration::from_secs(60), || {
                let result = live.shell("cat /run/homebolt/request-result.json")?;
                ensure!(
                    result.contains("\"place\"") && result.contains("\"ok\":false"),
                    "for {bad} root says {result}"
                );
                Ok(())
            })?;
        }
        named(live)
    })?;
    report.test("name and time zone are still there after a restart", || {
        let boot = live.shell("cat /proc/sys/kernel/random/boot_id")?;
        let words = live.screen()?.words();
        owner(live)?.post("/restart", &[])?;
        until(BOOT, || {
            let now = live.shell("cat /proc/sys/kernel/random/boot_id")?;
            ensure!(now != boot, "the box has not restarted");
            Ok(())
        })?;
        live.wait_for_page(BOOT)?;
        named(live)?;
        let now = live.screen()?.words();
        ensure!(now == words, "the certificate is another one: {now:?}");
        Ok(())
    })
}

fn owner(live: &Live) -> Outcome<Client> {
    Ok(live.client().with_session(&visitor::sign_in(&live.client())?))
}

/// What the system, the network and the certificate say.
fn named(live: &mut Live) -> Outcome {
    let name = live.shell("cat /proc/sys/kernel/hostname /etc/hostname /data/system/hostname")?;
    ensure!(name.lines().all(|line| line == NAME), "the system is called {name:?}");
    let zone = live.shell("readlink /etc/localtime; date +%z")?;
    ensure!(zone.contains(ZONE) && zone.contains("-0300"), "the system's time zone is {zone:?}");
    let Some(tap) = &live.tap else { return fails("there is no second card") };
    let found = tap.ask(&format!("{NAME}.local"), Record::Aaaa, true, Duration::from_secs(60))?;
    ensure!(!found.is_empty(), "nobody answers to {NAME}.local");
    until(Duration::from_secs(60), || {
        let pem = live.client().get("/ca.crt")?.body;
        let answer = Client::trusting(live.https(), &pem, &format!("{NAME}.local")).get("/healthz")?;
        ensure!(answer.status == 200, "as {NAME}.local, /healthz answers {}", answer.status);
        Ok(())
    })
}
