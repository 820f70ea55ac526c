//! Part `wifi`, the second half: a network that hides its name, and the country of the radios. iwd's own access points
//! hide nothing, so Debian's hostapd is one here, from a disk that only the test plugs in.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use homebolt::build::borrowed::HOSTAPD;

use crate::{
    http::Client,
    report::{Outcome, Report, ensure, until},
    visitor,
};

use super::{
    lab::{BOOT, Lab, Live, Options},
    network::code_of,
    wifi::{MAC, NETWORK, PASSWORD, POINT, SOON, says},
};

const SSID: &str = "Cellar";
const TOOLS: &str = "HOMEBOLT-TEST-TOOLS";
/// Where the tools' disk is mounted.
const AT: &str = "/run/homebolt-test-tools";
/// The box's own programs first: those on the disk run with a loader of their own, and only the two that are meant to.
const PATH: &str = "PATH=$PATH:/run/homebolt-test-tools/usr/sbin:/run/homebolt-test-tools/usr/bin";
/// The country that is kept, and one that is only tried.
const KEPT: &str = "US";
const TRIED: &str = "DE";

/// `disk`: of a box with an owner and without a network in its radio.
pub(super) fn run(report: &mut Report, lab: &Lab, disk: &Path) {
    let Some(tools) = report.need("there is a disk with hostapd and iw", || tools(lab)) else { return };
    let Some((mut live, owner)) = start(report, lab, disk, &tools) else { return };
    let joined = report.test("a network that hides its name is joined by the name that was typed", || {
        until(SOON, || {
            let answer = owner.post("/settings/network/wifi/scan", &[])?;
            ensure!(answer.status < 400, "the search is answered by {}", answer.status);
            says(&owner, MAC)
        })?;
        ensure!(says(&owner, &format!("value=\"{SSID}\"")).is_err(), "the network does not hide");
        join(&owner, "Nowhere")?;
        until(SOON, || says(&owner, "Nowhere is not in reach"))?;
        let code = join(&owner, SSID)?;
        confirm(&mut live, &owner, &code)?;
        until(SOON, || says(&owner, &format!("Connected to {SSID}")))?;
        let file = live.shell(&format!("cat /data/system/wifi/{SSID}.psk"))?;
        ensure!(file.contains("Hidden=true"), "iwd would not ask for it by name: it is not said to hide");
        Ok(())
    });
    if joined.is_none() {
        return;
    }
    let kept = report.test("a country is tried, told to the kernel at once, and kept once it is confirmed", || {
        country(&owner, TRIED)?;
        until(SOON, || in_force(&mut live, TRIED))?;
        let answer = owner.post("/network/withdraw", &[])?;
        ensure!(answer.status < 400, "it is taken back with {}", answer.status);
        // The first choice of all: what was before it is no country.
        until(SOON, || in_force(&mut live, "00"))?;
        let code = until(SOON, || country(&owner, KEPT))?;
        confirm(&mut live, &owner, &code)?;
        in_force(&mut live, KEPT)?;
        until(SOON, || says(&owner, &format!("<option value=\"{KEPT}\" selected>")))?;
        until(SOON, || says(&owner, &format!("Connected to {SSID}")))?;
        let text = live.shell("cat /data/system/wifi/country")?;
        ensure!(text == KEPT, "what is kept is {text:?}");
        Ok(())
    });
    report.test("what is no country changes nothing, for the page and for root", || {
        let form = [("card", MAC), ("what", "country"), ("country", "XX")];
        let answer = owner.post("/settings/network/wifi", &form)?;
        ensure!(answer.status == 422 && answer.text().contains("XX is no country"), "it is answered by {}", answer.status);
        // The root program trusts no page.
        let wish = format!(r#"{{"code":"ABCDEFGH","plan":{{"mac":"{MAC}"}},"country":"XX"}}"#);
        live.shell(&format!(
            "printf '%s' '{wish}' > /run/homebolt/manager/.x && mv /run/homebolt/manager/.x /run/homebolt/manager/request/network-try"
        ))?;
        until(SOON, || {
            let said = live.shell("cat /run/homebolt/request-result.json")?;
            ensure!(said.contains("network-try") && said.contains("cannot be read"), "the root program says {said}");
            Ok(())
        })
    });
    live.cut_power();
    if kept.is_none() {
        return;
    }

    let Some((mut live, owner)) = start(report, lab, disk, &tools) else { return };
    report.test(
        "after a power cut the kernel has the country again, and the hidden network is joined by itself",
        || {
            until(SOON, || in_force(&mut live, KEPT))?;
            until(BOOT, || says(&owner, &format!("Connected to {SSID}")))
        },
    );
}

/// A small disk with the programs and their libraries.
fn tools(lab: &Lab) -> Outcome<PathBuf> {
    let program = HOSTAPD.prepare()?;
    // usr/sbin/hostapd of an unpacked package.
    let folder = program.ancestors().nth(3).unwrap_or(&program);
    let disk = lab.empty_disk("tools", 256 << 20)?;
    let made = Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(folder).arg(&disk).status()?;
    ensure!(made.success(), "mkfs.ext4: {made}");
    Ok(disk)
}

/// A machine whose owner is signed in, with a radio and an access point that hides.
fn start(report: &mut Report, lab: &Lab, disk: &Path, tools: &Path) -> Option<(Live, Client)> {
    let more = [(tools, TOOLS)];
    let started = || lab.start_beside(disk, &more, "wifi-hidden", Options::default(), None);
    let mut live = report.need("the machine starts with the tools' disk", started)?;
    let owner = report.need("its owner signs in, and there is an access point that hides", || {
        live.wait_for_page(BOOT)?;
        access_point(&mut live)?;
        Ok(live.client().with_session(&visitor::sign_in(&live.client())?))
    })?;
    Some((live, owner))
}

fn access_point(live: &mut Live) -> Outcome {
    live.wait_for_shell(BOOT)?;
    live.shell(&format!("mkdir -p {AT} && mount -o ro /dev/vdb {AT}"))?;
    // The one radio is the box's; the other one is none of iwd's business.
    live.shell(
        "mkdir -p /run/systemd/system/iwd.service.d && \
         printf '[Service]\\nExecStart=\\nExecStart=/usr/libexec/iwd --nophys phy1\\n' >/run/systemd/system/iwd.service.d/test.conf && \
         systemctl daemon-reload && modprobe mac80211_hwsim radios=2",
    )?;
    until(SOON, || live.shell("systemctl is-active iwd.service").map(|_| ()))?;
    live.shell(&format!(
        "mkdir -p /run/systemd/network && printf '[Match]\\nPermanentMACAddress={POINT}\\n[Network]\\nAddress={NETWORK}/24\\n\
         DHCPServer=yes\\n[DHCPServer]\\nEmitRouter=yes\\n' >/run/systemd/network/10-test.network && networkctl reload && \
         nft insert rule inet homebolt input udp dport 67 accept"
    ))?;
    // What lies in the kernel's file of a card's address ends with the card's folder.
    let card = until(SOON, || live.shell(&format!("basename $(dirname $(grep -l {POINT} /sys/class/net/*/address))")))?;
    let conf = format!(
        "interface={card}\\ndriver=nl80211\\nssid={SSID}\\nignore_broadcast_ssid=1\\nhw_mode=g\\nchannel=6\\nwpa=2\\n\
         wpa_key_mgmt=WPA-PSK\\nrsn_pairwise=CCMP\\nwpa_passphrase={PASSWORD}\\n"
    );
    live.shell(&format!(
        "printf '{conf}' >/run/homebolt-test-hostapd.conf && {PATH} hostapd -B /run/homebolt-test-hostapd.conf"
    ))
    .map(|_| ())
}

/// Asks for a network by a name that is not in the list; gives the code of the page.
fn join(owner: &Client, name: &str) -> Outcome<String> {
    until(SOON, || {
        let form = [("card", MAC), ("ssid", ""), ("typed", name), ("passphrase", PASSWORD)];
        let answer = owner.post("/settings/network/wifi", &form)?;
        ensure!(answer.status == 200, "the change is answered by {}: {}", answer.status, visitor::complaint(&answer));
        code_of(&answer.text())
    })
}

/// Asks for a country alone; gives the code of the page.
fn country(owner: &Client, country: &str) -> Outcome<String> {
    let form = [("card", MAC), ("what", "country"), ("country", country)];
    let answer = owner.post("/settings/network/wifi", &form)?;
    ensure!(answer.status == 200, "the change is answered by {}: {}", answer.status, visitor::complaint(&answer));
    code_of(&answer.text())
}

fn confirm(live: &mut Live, owner: &Client, code: &str) -> Outcome {
    until(SOON, || {
        let answer = owner.post("/network/confirm", &[("code", code)])?;
        let said =
            live.ask("journalctl -b --no-pager -o cat -u homebolt-network -u homebolt-request -u iwd | tail -n 25")?;
        ensure!(answer.text().contains("The settings are kept"), "{}\n{}", answer.status, said.text);
        Ok(())
    })
}

/// What the kernel holds its radios to.
fn in_force(live: &mut Live, country: &str) -> Outcome {
    let told = live.shell(&format!("{PATH} iw reg get"))?;
    let global = told.split("country ").nth(1).unwrap_or_default();
    ensure!(global.starts_with(country), "the kernel's rules are not those of {country}:\n{told}");
    Ok(())
}
