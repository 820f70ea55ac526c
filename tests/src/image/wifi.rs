//! Part `wifi`: a radio in the booted image, with the real iwd and systemd-networkd. The radios are the kernel's own for tests
//! (mac80211_hwsim): two of them hear each other, one is an access point run by the same iwd, with systemd-networkd's DHCP
//! server behind it.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    axe::Axe,
    browser::Driver,
    gallery::Gallery,
    http::Client,
    report::{Outcome, Report, ensure, until},
    visitor,
};

use super::{
    hidden,
    lab::{BOOT, GIB, Lab, Live, Options},
    network::code_of,
};

const SSID: &str = "Attic Café";
const FILE: &str = "=417474696320436166c3a9.psk";
pub(super) const PASSWORD: &str = "correct horse 9";
/// The kernel gives its test radios these.
pub(super) const MAC: &str = "02:00:00:00:00:00";
pub(super) const POINT: &str = "02:00:00:00:01:00";
pub(super) const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// For a radio to look, join and get an address, emulated beside other work.
pub(super) const SOON: Duration = Duration::from_secs(90);

/// What root and the radio's service said.
const JOURNAL: &str = "journalctl -b --no-pager -o cat -u homebolt-network -u homebolt-request -u iwd | tail -n 25";

pub(crate) fn run(report: &mut Report, lab: &Lab) {
    let disk = report.need("the image is unpacked to a disk", || lab.disk("wifi", 8 * GIB));
    let Some(disk) = disk else { return };
    let Some((mut live, owner)) = start(report, lab, &disk, "the box has an owner", |live| {
        let claim = visitor::claim(&live.client(), &live.code()?)?;
        visitor::set_password(&live.client(), &claim)
    }) else {
        return;
    };
    report.test("without a radio the page says so in a line, and no Wi-Fi service runs", || {
        until(SOON, || says(&owner, "There is no radio"))?;
        let state = live.ask("systemctl is-active iwd.service")?.text;
        ensure!(state.trim() == "inactive", "iwd is {state}");
        Ok(())
    });
    let seen =
        report.test("a radio starts the Wi-Fi service, and a search from the page shows the network in reach", || {
            access_point(&mut live)?;
            until(SOON, || {
                let answer = owner.post("/settings/network/wifi/scan", &[])?;
                ensure!(answer.status < 400, "the search is answered by {}", answer.status);
                says(&owner, SSID)
            })?;
            says(&owner, "mac80211_hwsim").or_else(|_| says(&owner, "Radio phy"))
        });
    if seen.is_none() {
        return;
    }
    let logs = report.logs();
    report.test("the page with networks in reach is for everybody, on a phone, too", || look(&live, &logs));
    report.test("the manager may look and search, and nothing else", || {
        let run = |call: &str| format!("busctl --system --no-pager call net.connman.iwd {call}");
        let as_manager = "systemd-run --quiet --pipe --wait --uid=homebolt";
        let station = station(&mut live)?;
        live.shell(&format!("{as_manager} {}", run("/ org.freedesktop.DBus.ObjectManager GetManagedObjects")))?;
        for call in [
            format!("{station} net.connman.iwd.Station Disconnect"),
            format!("{station} net.connman.iwd.Station ConnectHiddenNetwork s x"),
            format!("{station} org.freedesktop.DBus.Properties Set ssv net.connman.iwd.Device Powered b false"),
        ] {
            let answer = live.ask(&format!("{as_manager} {}", run(&call)))?;
            ensure!(answer.code != 0 && answer.text.contains("enied"), "{call} is answered by {}", answer.text);
        }
        Ok(())
    });
    report.test("a wrong password is said to be wrong, and nothing is kept", || {
        let code = join(&owner, "not the password")?;
        until(SOON, || says(&owner, "did not accept the password"))?;
        ensure!(!code.is_empty(), "the page shows no code");
        let kept =
            live.shell("ls /data/system/network /data/system/wifi /run/iwd/*.psk 2>/dev/null | grep -c psk || true")?;
        ensure!(kept.trim() == "0", "{kept} passwords are kept");
        Ok(())
    });
    let kept =
        report.test("with the right password the radio joins, gets an address, and the change is confirmed", || {
            let code = join(&owner, PASSWORD)?;
            until(SOON, || {
                let answer = owner.post("/network/confirm", &[("code", &code)])?;
                ensure!(
                    answer.text().contains("The settings are kept"),
                    "{}: {}\n{}",
                    answer.status,
                    visitor::complaint(&answer),
                    live.ask(JOURNAL)?.text
                );
                Ok(())
            })?;
            until(SOON, || says(&owner, &format!("Connected to {SSID}")))?;
            until(SOON, || says(&owner, "10.77.0."))?;
            let file = live.shell(&format!("stat -c '%U %a' '/data/system/wifi/{FILE}'"))?;
            ensure!(file == "root 600", "the password's file is {file}");
            Ok(())
        });
    if kept.is_none() {
        return;
    }
    report.test("the cable goes first", || {
        let routes = live.shell("ip -4 route show default")?;
        let first = routes.lines().next().unwrap_or_default();
        ensure!(!first.contains("wlan") && routes.contains("wlan"), "the ways out are\n{routes}");
        Ok(())
    });
    report.test("the password is in no journal, report or page, and its unit is sandboxed", || {
        let found = live.ask(&format!(
            "sync; journalctl -b --no-pager | grep -F '{PASSWORD}' | grep -vc homebolt-test; grep -rslF '{PASSWORD}' /run/homebolt /run/systemd/network /data/homebolt"
        ))?;
        ensure!(found.text.trim() == "0", "found in {}", found.text);
        ensure!(!owner.get("/settings/network")?.text().contains(PASSWORD), "the page shows it");
        let text = live.shell("systemd-analyze security --no-pager iwd.service")?;
        let level = super::checks::exposure(&text);
        ensure!(level.is_some_and(|level| level <= 2.5), "iwd's exposure is {level:?}");
        Ok(())
    });
    live.cut_power();

    let Some((mut live, owner)) =
        start(report, lab, &disk, "the machine starts again", |live| visitor::sign_in(&live.client()))
    else {
        return;
    };
    report.test("after a power cut the radio joins by itself", || {
        access_point(&mut live)?;
        let begun = Instant::now();
        until(Duration::from_secs(180), || says(&owner, &format!("Connected to {SSID}")))?;
        println!("      joined {} s after the access point was there", begun.elapsed().as_secs());
        until(SOON, || says(&owner, "10.77.0."))
    });
    report.test("a network that is forgotten is left, and its password is gone from the disk", || {
        let form = [("card", MAC), ("what", "forget")];
        let code = code_of(&owner.post("/settings/network/wifi", &form)?.text())?;
        until(SOON, || {
            let answer = owner.post("/network/confirm", &[("code", &code)])?;
            ensure!(answer.text().contains("The settings are kept"), "{}", answer.status);
            Ok(())
        })?;
        until(SOON, || says(&owner, "connected to no network"))?;
        let kept = live.shell("ls /data/system/wifi /run/iwd | grep -c psk || true")?;
        ensure!(kept.trim() == "0", "{kept} passwords are kept");
        Ok(())
    });
    live.cut_power();
    hidden::run(report, lab, &disk);
}

/// A machine whose owner is signed in.
fn start(
    report: &mut Report,
    lab: &Lab,
    disk: &Path,
    name: &str,
    enter: impl Fn(&Live) -> Outcome<String>,
) -> Option<(Live, Client)> {
    let mut live = report.need("the machine starts", || lab.start(disk, "wifi", Options::default()))?;
    let owner = report.need(name, || {
        live.wait_for_page(BOOT)?;
        Ok(live.client().with_session(&enter(&live)?))
    })?;
    Some((live, owner))
}

/// In a browser, by day and night, at both sizes, with the checker for accessibility.
fn look(live: &Live, logs: &Path) -> Outcome {
    let driver = Driver::start(&logs.join("wifi-chromedriver.log"))?;
    let browser = driver.open(true)?;
    let axe = Axe::get()?;
    let mut gallery = Gallery::new(logs.to_owned(), Some(&axe));
    let origin = live.client().origin();
    browser.open(&format!("{origin}/sign-in"))?;
    browser.fill("#password", visitor::PASSWORD)?;
    browser.click("main button")?;
    until(SOON, || {
        browser.open(&format!("{origin}/settings/network"))?;
        let seen = browser.text("main")?;
        ensure!(seen.contains(SSID), "the page says {seen:?}");
        Ok(())
    })?;
    gallery.look(&browser, "wifi")?;
    gallery.no_violations()?;
    gallery.nothing_sideways()?;
    gallery.no_complaints().map(|_| ())
}

/// Switches the test's radios on and makes one an access point with addresses to give.
fn access_point(live: &mut Live) -> Outcome {
    live.wait_for_shell(BOOT)?;
    live.shell("modprobe mac80211_hwsim radios=2")?;
    live.shell(&format!(
        "mkdir -p /run/systemd/network && printf '[Match]\\nPermanentMACAddress={POINT}\\n[Network]\\nAddress={NETWORK}/24\\n\
         DHCPServer=yes\\n[DHCPServer]\\nEmitRouter=yes\\n' >/run/systemd/network/10-test.network && networkctl reload && \
         nft insert rule inet homebolt input udp dport 67 accept"
    ))?;
    until(SOON, || live.shell("systemctl is-active iwd.service").map(|_| ()))?;
    let point = until(SOON, || device(live, POINT))?;
    let call = "busctl --system --no-pager";
    live.shell(&format!("{call} set-property net.connman.iwd {point} net.connman.iwd.Device Mode s ap"))?;
    until(SOON, || {
        let point = device(live, POINT)?;
        live.shell(&format!(
            "{call} call net.connman.iwd {point} net.connman.iwd.AccessPoint Start ss '{SSID}' '{PASSWORD}'"
        ))
        .map(|_| ())
    })
}

fn station(live: &mut Live) -> Outcome<String> {
    device(live, MAC)
}

/// iwd's object of the radio with that address.
fn device(live: &mut Live, mac: &str) -> Outcome<String> {
    live.shell(&format!(
        "for path in $(busctl --system tree --list net.connman.iwd | grep '^/net/connman/iwd/[0-9]*/[0-9]*$'); do \
         busctl --system get-property net.connman.iwd $path net.connman.iwd.Device Address | grep -q {mac} && echo $path && exit 0; \
         done; exit 1"
    ))
}

pub(super) fn says(owner: &Client, text: &str) -> Outcome {
    let page = owner.get("/settings/network")?.text();
    ensure!(page.contains(text), "the page does not say {text:?}");
    Ok(())
}

/// Asks for the network; gives the code of the page.
fn join(owner: &Client, password: &str) -> Outcome<String> {
    let form = [("card", MAC), ("ssid", SSID), ("passphrase", password)];
    let answer = owner.post("/settings/network/wifi", &form)?;
    ensure!(answer.status == 200, "the change is answered by {}: {}", answer.status, visitor::complaint(&answer));
    code_of(&answer.text())
}
