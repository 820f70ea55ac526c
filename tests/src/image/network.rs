//! Part `network`: a change of the address in the booted image, with the real systemd-networkd. QEMU's own network has one
//! door to the address that it gives by itself (10.0.2.15) and another to the one the box is moved to.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::{
    http::Client,
    report::{Outcome, Report, ensure, fails, until},
    visitor,
};

use super::lab::{BOOT, GIB, Lab, Live, Options};

/// The address the box is moved to. QEMU's gateway is .2, its DNS server .3.
pub(crate) const MOVED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
const MAC: &str = "52:54:00:68:62:01";
/// For a change to be live or taken back, beside other work.
const SOON: Duration = Duration::from_secs(40);
/// A trial's minute, and the work around it.
const MINUTE: Duration = Duration::from_secs(110);
const UNIT: &str = "homebolt-network.service";

pub(crate) fn run(report: &mut Report, lab: &Lab) {
    let disk = report.need("the image is unpacked to a disk", || lab.disk("network", 8 * GIB));
    let Some(disk) = disk else { return };
    let options = Options { moved: true, ..Options::default() };
    let started = report.need("the machine starts", || lab.start(&disk, "network", options));
    let Some(mut live) = started else { return };
    let owner = report.test("the box has an owner", || {
        live.wait_for_page(BOOT)?;
        let claim = visitor::claim(&live.client(), &live.code()?)?;
        Ok(live.client().with_session(&visitor::set_password(&live.client(), &claim)?))
    });
    let Some(owner) = owner else { return };
    report.test("the page shows addresses, gateway and DNS server as the router gave them", || facts(&owner));
    let trial = report.test("a change is live at the new address, and kept nowhere", || {
        let code = change(&owner, MOVED)?;
        reached(&live.moved(), SOON)?;
        nothing_kept(&mut live)?;
        ensure!(!code.is_empty(), "the page shows no code");
        ensure!(!answers(&live.client()), "the old address answers, too");
        Ok(Instant::now())
    });
    if let Some(begun) = trial {
        report.test("without a confirmation the old address is back after a minute", || {
            reached(&live.client(), MINUTE)?;
            let time = begun.elapsed();
            ensure!(time > Duration::from_secs(40), "it was back after {} s only", time.as_secs());
            until(SOON, || says(&owner, "nobody confirmed it in time"))?;
            nothing_kept(&mut live)
        });
    }
    report.test("a trial whose program is killed is taken back at once, and the manager is not needed for it", || {
        change(&owner, MOVED)?;
        reached(&live.moved(), SOON)?;
        live.shell("systemctl stop homebolt-https.socket homebolt-http.socket homebolt-manager.service")?;
        live.shell(&format!("systemctl kill --signal=KILL {UNIT}"))?;
        until(SOON, || {
            let seen = live.shell("ip -4 addr show")?;
            ensure!(seen.contains("10.0.2.15/24") && !seen.contains("10.0.2.77"), "the box has\n{seen}");
            Ok(())
        })?;
        live.shell("systemctl start homebolt-https.socket homebolt-http.socket homebolt-manager.service")?;
        reached(&live.client(), SOON)
    });
    report.test("wrong codes do not keep a change, and a power cut in its midst leaves the old address", || {
        change(&owner, MOVED)?;
        reached(&live.moved(), SOON)?;
        let answer = live.moved().post("/network/confirm", &[("code", "WRNG-WRNG")])?;
        ensure!(answer.status == 403, "a wrong code is answered by {}", answer.status);
        nothing_kept(&mut live)
    });
    live.cut_power();

    let started = report.need("the machine starts again", || lab.start(&disk, "network", options));
    let Some(mut live) = started else { return };
    let kept = report.test("the right code, typed at the new address without a session, keeps the change", || {
        live.wait_for_page(BOOT)?;
        let owner = live.client().with_session(&visitor::sign_in(&live.client())?);
        until(SOON, || says(&owner, "10.0.2.15"))?;
        let code = change(&owner, MOVED)?;
        reached(&live.moved(), SOON)?;
        let answer = live.moved().post("/network/confirm", &[("code", &code)])?;
        ensure!(answer.text().contains("The settings are kept"), "{}: {}", answer.status, answer.text());
        let plan = live.shell("stat -c '%U %a' /data/system/network/*; cat /data/system/network/*")?;
        ensure!(plan.starts_with("root 600") && plan.contains("10.0.2.77"), "on the disk there is {plan}");
        until(SOON, || {
            let state = live.ask(&format!("systemctl is-active {UNIT}"))?.text;
            ensure!(state.trim() == "inactive", "the trial is {state}");
            Ok(())
        })
    });
    if kept.is_none() {
        return;
    }
    report.test("the trial's unit is sandboxed to 2.5 or better, and no unit has failed", || {
        let text = live.shell(&format!("systemd-analyze security --no-pager {UNIT}"))?;
        let level = super::checks::exposure(&text);
        ensure!(level.is_some_and(|level| level <= 2.5), "exposure {level:?}");
        let failed = live.shell("systemctl --failed --no-legend --plain")?;
        ensure!(failed.is_empty(), "failed: {failed}");
        Ok(())
    });
    live.cut_power();

    let started = report.need("the machine starts a third time", || lab.start(&disk, "network", options));
    let Some(mut live) = started else { return };
    report.test("after a power cut the confirmed address holds from the start", || {
        reached(&live.moved(), BOOT)?;
        ensure!(!answers(&live.client()), "the old address answers, too");
        let log = live.shell("journalctl -b -u systemd-networkd --no-pager -o cat")?;
        ensure!(!log.contains("DHCPv4 address"), "the router was asked all the same:\n{log}");
        let owner = live.moved().with_session(&visitor::sign_in(&live.moved())?);
        until(SOON, || says(&owner, "10.0.2.77</code>").or_else(|_| says(&owner, "10.0.2.77")))
    });
    report.test("the way back to the router's address is tried and confirmed the same way", || {
        let owner = live.moved().with_session(&visitor::sign_in(&live.moved())?);
        let form = [("card", MAC), ("v4", "dhcp"), ("v6", "auto"), ("dns", "")];
        let code = code_of(&owner.post("/settings/network/try", &form)?.text())?;
        reached(&live.client(), SOON)?;
        let answer = live.client().post("/network/confirm", &[("code", &code)])?;
        ensure!(answer.text().contains("The settings are kept"), "{}: {}", answer.status, answer.text());
        nothing_kept(&mut live)
    });
}

fn facts(owner: &Client) -> Outcome {
    until(SOON, || {
        let page = owner.get("/setup/network")?.text();
        for word in ["10.0.2.15", "by the router (DHCP)", "10.0.2.2", "10.0.2.3", MAC, "is connected"] {
            ensure!(page.contains(word), "the page does not show {word}");
        }
        Ok(())
    })
}

fn says(owner: &Client, text: &str) -> Outcome {
    let page = owner.get("/settings/network")?.text();
    ensure!(page.contains(text), "the page does not say {text:?}");
    Ok(())
}

/// Asks for the address; gives the code of the page.
fn change(owner: &Client, address: Ipv4Addr) -> Outcome<String> {
    let address = address.to_string();
    let form = [
        ("card", MAC),
        ("v4", "static"),
        ("v4_address", address.as_str()),
        ("v4_prefix", "24"),
        ("v4_gateway", "10.0.2.2"),
        ("v6", "off"),
        ("dns", "10.0.2.3"),
    ];
    let answer = owner.post("/settings/network/try", &form)?;
    ensure!(answer.status == 200, "the change is answered by {}: {}", answer.status, visitor::complaint(&answer));
    code_of(&answer.text())
}

pub(super) fn code_of(page: &str) -> Outcome<String> {
    let code = page.split_once("id=\"network-code\">").and_then(|(_, rest)| rest.split_once('<'));
    match code {
        Some((code, _)) => Ok(code.to_owned()),
        None => fails("the page shows no code"),
    }
}

fn answers(client: &Client) -> bool {
    client.within(Duration::from_secs(4)).get("/healthz").is_ok_and(|answer| answer.status == 200)
}

fn reached(client: &Client, limit: Duration) -> Outcome {
    until(limit, || {
        ensure!(answers(client), "the box does not answer there");
        Ok(())
    })
}

fn nothing_kept(live: &mut Live) -> Outcome {
    let kept = live.shell("ls /data/system/network 2>/dev/null | wc -l")?;
    ensure!(kept.trim() == "0", "{kept} plans are on the disk");
    Ok(())
}
