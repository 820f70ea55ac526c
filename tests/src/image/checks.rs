//! What must be true of a box that has started: looked at from inside, from the wire and from the page.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    bench::field,
    report::{Outcome, Report, ensure, fails, until},
    wire::{Door, Record, Tap},
};

use super::lab::{Lab, Live};

/// The manager's idle memory, kB.
const MEMORY: u64 = 16 * 1024;

/// Ports that must answer, and some that must not: SSH, DNS, portmapper, LND's peers, REST and gRPC, what others use.
const OPEN: [u16; 3] = [80, 443, 8443];
const SHUT: [u16; 10] = [22, 53, 111, 631, 5353, 5355, 8080, 8081, 9735, 10009];

/// Runs the checks of a box that nobody owns yet.
pub(crate) fn run(report: &mut Report, lab: &Lab, live: &mut Live) {
    report.test("all units start, and none fails", || {
        live.settle()?;
        let failed = live.shell("systemctl --failed --no-legend --plain")?;
        ensure!(failed.is_empty(), "failed: {failed}\n{}", live.shell("journalctl -b -p err --no-pager | tail -n 20")?);
        Ok(())
    });
    if let Ok(blame) = live.shell("systemd-analyze; systemd-analyze blame --no-pager | head -n 12") {
        report.note(&blame);
        report.keep("blame.txt", &blame);
    }
    report.test("the root is verified by the hash that the manifest names", || {
        let status = live.shell("veritysetup status root")?;
        for line in ["type:    VERITY", "status:  verified"] {
            let is_there = status.lines().any(|seen| words(seen) == words(line));
            ensure!(is_there, "not {line:?} in\n{status}");
        }
        let hash = &lab.manifest.root_hash;
        ensure!(status.contains(hash), "another root hash than {hash}:\n{status}");
        let name = live.shell("findmnt --noheadings --output SOURCE /")?;
        ensure!(name == "/dev/mapper/root", "/ is on {name}");
        Ok(())
    });
    report.test("the root cannot be written, and what is written to /etc is gone with the power", || {
        let root = live.shell("findmnt --noheadings --output FSTYPE,OPTIONS /")?;
        ensure!(root.starts_with("erofs") && words(&root)[1].split(',').any(|word| word == "ro"), "/ is {root}");
        let write = live.ask("touch /usr/bin/x /x")?;
        ensure!(write.code != 0, "a file can be made in /usr");
        let etc = live.shell("findmnt --noheadings --output FSTYPE,OPTIONS /etc")?;
        ensure!(etc.starts_with("overlay"), "/etc is {etc}");
        let upper = etc.split(',').find_map(|word| word.strip_prefix("upperdir="));
        ensure!(upper.is_some(), "/etc has no upper folder: {etc}");
        live.shell("touch /etc/homebolt-test && rm /etc/homebolt-test").map(|_| ())
    });
    report.test("partitions begin at whole MiB: what a disk writes at once belongs to one of them", || {
        let starts = live.shell("cat /sys/class/block/vda?/start")?;
        let starts: Vec<u64> = starts.lines().filter_map(|line| line.trim().parse().ok()).collect();
        ensure!(starts.len() == 6 && starts.iter().all(|start| start % 2048 == 0), "they begin at {starts:?}");
        Ok(())
    });
    report.test("the data partition has grown to the end of a 32 GB disk", || data_size(live, 28.0, 34.0));
    report.test("the health gate has marked the system good", || {
        until(Duration::from_secs(120), || {
            let state = live.ask("systemctl is-active homebolt-gate.service")?.text;
            ensure!(state.trim() == "active", "the gate is {state}");
            let env = live.boot_state()?;
            ensure!(env.contains("A_OK=1") && env.contains("A_TRY=0"), "the boot loader's record:\n{env}");
            Ok(())
        })?;
        let status = live.shell("rauc status --output-format=shell")?;
        report_contains(&status, "boot_status", "good")
    });
    report.test("the first start copies its system to slot B", || live.wait_for_both_systems());
    report.test("a growth of the data partition that fails is tried again by itself", || grows_again(live));
    on_the_wire(report, live);
    report.test("root is locked, and there is no SSH and no login prompt", || {
        let shadow = live.shell("cat /etc/shadow")?;
        for line in shadow.lines() {
            let (name, rest) = line.split_once(':').unwrap_or((line, ""));
            ensure!(rest.starts_with('!') || rest.starts_with('*'), "{name} has a password");
        }
        ensure!(shadow.starts_with("root:") || shadow.contains("\nroot:"), "there is no root in {shadow:?}");
        let found = live
            .ask("ls /usr/sbin/sshd /usr/bin/ssh /usr/sbin/dropbear /usr/sbin/agetty /usr/sbin/sulogin 2>/dev/null")?;
        let ssh: Vec<&str> =
            found.text.lines().filter(|path| path.contains("ssh") || path.contains("dropbear")).collect();
        ensure!(ssh.is_empty(), "there is {ssh:?}");
        let processes = live.shell("ps -o args")?;
        for word in ["getty", "login", "sulogin", "sshd"] {
            let talkers: Vec<&str> =
                processes.lines().filter(|line| line.contains(word) && !line.contains("ps -o")).collect();
            ensure!(talkers.iter().all(|line| line.contains("logind")), "{talkers:?} runs");
        }
        ensure!(!live.console().contains("login:"), "the serial console asks for a login");
        Ok(())
    });
    report.test("the journal is in memory and bounded", || {
        let settings = live.shell("systemd-analyze cat-config systemd/journald.conf | grep -v '^#'")?;
        ensure!(settings.contains("Storage=volatile") && settings.contains("RuntimeMaxUse=32M"), "{settings}");
        ensure!(live.ask("ls /var/log/journal/*")?.code != 0, "there is a journal on a disk");
        live.shell("ls -d /run/log/journal/*").map(|_| ())
    });
    for unit in ["homebolt-manager.service", "lnd.service", "homebolt-update.service", "homebolt-trial.service"] {
        report.test(&format!("{unit} is sandboxed to 2.5 or better"), || {
            let text = live.shell(&format!("systemd-analyze security --no-pager {unit}"))?;
            let exposure = exposure(&text);
            ensure!(exposure.is_some_and(|exposure| exposure <= 2.5), "exposure {exposure:?}: {}", last(&text));
            Ok(())
        });
    }
    report.test("the manager takes at most 16 MB of memory", || {
        let status = live.shell("cat /proc/$(systemctl show --value -p MainPID homebolt-manager.service)/status")?;
        let (whole, own) = (field(&status, "VmRSS")?, field(&status, "RssAnon")?);
        ensure!(whole <= MEMORY, "it takes {whole} kB, of these {own} kB its own");
        Ok(())
    });
}

/// What avahi answers to for the box.
pub(crate) fn named(live: &mut Live, name: &str) -> Outcome {
    let said = live.shell("busctl call org.freedesktop.Avahi / org.freedesktop.Avahi.Server GetHostNameFqdn")?;
    ensure!(said == format!("s \"{name}\""), "avahi says {said}");
    Ok(())
}

fn on_the_wire(report: &mut Report, live: &mut Live) {
    report.test("homelab.local is answered on the wire with its IPv6 and its IPv4 address", || {
        // The card gets its IPv4 address some time after nobody has answered its calls for one.
        let inside = until(Duration::from_secs(90), || {
            let inside = live.shell("ip -o addr show | grep -v ' lo '")?;
            ensure!(inside.contains("169.254."), "the second card has no IPv4 address:\n{inside}");
            Ok(inside)
        })?;
        for over_v6 in [true, false] {
            for record in [Record::Aaaa, Record::A] {
                let Some(tap) = &live.tap else { return fails("there is no second card") };
                let found = tap.ask("homelab.local", record, over_v6, Duration::from_secs(60))?;
                if found.is_empty() {
                    let protocol = if over_v6 { "IPv6" } else { "IPv4" };
                    let avahi = live.ask("journalctl -b --no-pager -o short-monotonic -u avahi-daemon -n 30")?.text;
                    return fails(format!(
                        "no {record:?} record for homelab.local over {protocol}; avahi says\n{avahi}"
                    ));
                }
                for address in found {
                    ensure!(inside.contains(&format!(" {address}/")), "{address} is not one of the box's:\n{inside}");
                }
            }
        }
        let Some(tap) = &live.tap else { return fails("there is no second card") };
        let other = tap.ask("nobody.local", Record::Aaaa, true, Duration::from_secs(3))?;
        ensure!(other.is_empty(), "a name that is not the box's is answered with {other:?}");
        Ok(())
    });
    report.test("a name that avahi has given up is the box's again", || {
        let avahi = "busctl call org.freedesktop.Avahi / org.freedesktop.Avahi.Server";
        live.shell(&format!("{avahi} SetHostName s homelab-7"))?;
        until(Duration::from_secs(20), || named(live, "homelab-7.local"))?;
        until(Duration::from_secs(30), || named(live, "homelab.local"))
    });
    report.test("from outside only ports 80, 443 and 8443 answer", || {
        let Some(tap) = &live.tap else { return fails("there is no second card") };
        let ports = [OPEN.as_slice(), &SHUT].concat();
        let doors = tap.knock(Tap::box_address(), &ports, Duration::from_secs(15))?;
        let wrong = wrong_doors(&doors);
        ensure!(wrong.is_empty(), "{}", wrong.join(", "));
        Ok(())
    });
    report.test("the firewall lets in what is named and nothing else, and nobody listens beyond that", || {
        let rules = live.shell("nft list ruleset")?;
        ensure!(rules.contains("hook input") && rules.contains("policy drop"), "no rule drops what comes in:\n{rules}");
        let mut accepted: Vec<u16> = rules
            .lines()
            .filter(|line| line.trim_start().starts_with("tcp dport"))
            .flat_map(|line| line.split(|letter: char| !letter.is_ascii_digit()))
            .filter_map(|number| number.parse().ok())
            .collect();
        accepted.sort_unstable();
        ensure!(accepted == OPEN, "the rules let in TCP ports {accepted:?}");
        let listening = live.shell("ss --numeric --listening --tcp --no-header")?;
        for line in listening.lines() {
            let local = words(line).get(3).copied().unwrap_or_default().to_owned();
            let (address, port) = local.rsplit_once(':').unwrap_or_default();
            let inside = address.starts_with("127.") || address.starts_with("[::1]");
            let named = port.parse().is_ok_and(|port| OPEN.contains(&port));
            ensure!(inside || named, "somebody listens on {local}");
        }
        Ok(())
    });
}

/// Its program fails once; nobody starts the unit again but systemd.
fn grows_again(live: &mut Live) -> Outcome {
    const PROGRAM: &str = "/usr/lib/homebolt/homebolt-boot";
    let unit = "homebolt-grow.service";
    live.shell(&format!("systemctl stop {unit} && systemctl reset-failed {unit}; mount --bind /bin/false {PROGRAM}"))?;
    let failed = live.ask(&format!("systemctl start {unit}"));
    live.shell(&format!("umount {PROGRAM}"))?;
    ensure!(failed?.code != 0, "a program that fails does not fail the unit");
    until(Duration::from_secs(60), || {
        let state = live.ask(&format!("systemctl is-active {unit}"))?.text;
        ensure!(state.trim() == "active", "the unit is {state}");
        Ok(())
    })
}

/// That the data file system has a size between these, GB.
pub(crate) fn data_size(live: &mut Live, least: f64, most: f64) -> Outcome {
    until(Duration::from_secs(180), || {
        let size = live.shell("findmnt --noheadings --bytes --output SIZE /data")?;
        let size = size.trim().parse::<u64>().unwrap_or_default() as f64 / 1e9;
        ensure!((least..=most).contains(&size), "/data has {size:.1} GB");
        Ok(())
    })
}

fn wrong_doors(doors: &BTreeMap<u16, Door>) -> Vec<String> {
    let wrong = doors.iter().filter(|(port, door)| OPEN.contains(port) != (**door == Door::Open));
    wrong.map(|(port, door)| format!("port {port} is {door:?}")).collect()
}

fn report_contains(text: &str, name: &str, value: &str) -> Outcome {
    let line = text.lines().find(|line| line.to_lowercase().contains(name) && line.contains(value));
    ensure!(line.is_some(), "no slot is {value} in\n{text}");
    Ok(())
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// The number in systemd's verdict: `Overall exposure level for x.service: 1.8 OK`.
pub(crate) fn exposure(text: &str) -> Option<f32> {
    let line = text.lines().find(|line| line.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_verdict_is_read() {
        assert_eq!(exposure("x\n\u{2192} Overall exposure level for lnd.service: 1.8 OK \u{1f642}\n"), Some(1.8));
        assert_eq!(exposure("Unit lnd.service not found."), None);
    }

    #[test]
    fn a_door_that_should_be_shut_or_open_is_named() {
        let doors = BTreeMap::from([(443, Door::Open), (80, Door::Silent), (22, Door::Open), (53, Door::Silent)]);
        assert_eq!(wrong_doors(&doors), ["port 22 is Open", "port 80 is Silent"]);
    }
}
