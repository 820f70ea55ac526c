//! Load and capacity, from `/proc`, `/sys` and the data folder's file system.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::statvfs::statvfs;
use tokio::time::{Instant, MissedTickBehavior};
use twin::{Resources, Sender, Update, source::Health};

use crate::Error;

/// How often everything is read.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Without any change past a threshold, the newest reading is sent this often, so that the uptime moves on.
pub const HEARTBEAT: Duration = Duration::from_secs(60);
/// A change of the processors' share by so many points is sent.
pub const CPU_THRESHOLD: f32 = 5.0;
/// A change of the load by this much is sent.
pub const LOAD_THRESHOLD: f32 = 0.25;
/// A change of memory or data by this part of its total is sent: 1 %.
pub const CAPACITY_DIVISOR: u64 = 100;
/// A change of the temperature by so many degrees is sent.
pub const TEMPERATURE_THRESHOLD: f32 = 2.0;
/// Readings outside are a sensor's way of saying that it has none, degrees Celsius.
const PLAUSIBLE: std::ops::Range<f32> = -40.0..150.0;

/// Follows the kernel below `root` (`/` in life) and the file system of `data`, for as long as the twin lives.
pub async fn run(root: PathBuf, data: PathBuf, twin: Sender) {
    let mut health = Health::new("resources", twin);
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Before the first reading stands the start of the kernel: its share of use is the one since then.
    let mut times = CpuTimes::default();
    let mut sent: Option<(Instant, Resources)> = None;
    loop {
        interval.tick().await;
        let told = match read(&root, &data) {
            Ok((now, mut resources)) => {
                resources.cpu_percent = now.percent_since(times);
                times = now;
                let due = sent.as_ref().is_none_or(|(at, last)| at.elapsed() >= HEARTBEAT || differs(last, &resources));
                if due {
                    sent = Some((Instant::now(), resources.clone()));
                    if health.send(Update::Resources(resources)).await.is_err() {
                        return;
                    }
                }
                health.connected().await
            }
            Err(error) => health.lost(&error).await.map(drop),
        };
        if told.is_err() {
            return;
        }
    }
}

/// Whether `new` differs from `old` past a threshold.
fn differs(old: &Resources, new: &Resources) -> bool {
    let capacity = |total: u64, old: u64, new: u64| old.abs_diff(new) > total / CAPACITY_DIVISOR;
    let temperature = match (old.temperature_celsius, new.temperature_celsius) {
        (Some(old), Some(new)) => (old - new).abs() >= TEMPERATURE_THRESHOLD,
        (old, new) => old.is_some() != new.is_some(),
    };
    (old.memory_total, old.data_total) != (new.memory_total, new.data_total)
        || (old.cpu_percent - new.cpu_percent).abs() >= CPU_THRESHOLD
        || (old.load1 - new.load1).abs() >= LOAD_THRESHOLD
        || capacity(new.memory_total, old.memory_available, new.memory_available)
        || capacity(new.data_total, old.data_available, new.data_available)
        || temperature
        || old.clock_set != new.clock_set
        || old.under_voltage != new.under_voltage
}

/// Everything but `cpu_percent`, which needs two readings.
fn read(root: &Path, data: &Path) -> Result<(CpuTimes, Resources), Error> {
    let stat = parsed(root.join("proc/stat"), parse_stat)?;
    let (memory_total, memory_available) = parsed(root.join("proc/meminfo"), parse_meminfo)?;
    let load1 = parsed(root.join("proc/loadavg"), first_number)?;
    let uptime = parsed(root.join("proc/uptime"), first_number)?;
    // A data folder that is not there is told by the boot source; here it is a capacity of nothing.
    let (data_total, data_available) = statvfs(data).map_or((0, 0), |found| {
        let unit = found.fragment_size();
        (found.blocks().saturating_mul(unit), found.blocks_available().saturating_mul(unit))
    });
    let resources = Resources {
        cpu_percent: 0.0,
        load1: load1 as f32,
        memory_total,
        memory_available,
        data_total,
        data_available,
        uptime_seconds: uptime as u64,
        clock_set: clock_set(root),
        temperature_celsius: temperature(root),
        under_voltage: under_voltage(root),
        eeprom: eeprom(root),
    };
    Ok((stat, resources))
}

/// systemd-timesyncd makes a file once a server has told it the time; without its folder it does not run here.
fn clock_set(root: &Path) -> Option<bool> {
    let folder = root.join("run/systemd/timesync");
    folder.is_dir().then(|| folder.join("synchronized").exists())
}

fn parsed<T>(path: PathBuf, parse: impl Fn(&str) -> Result<T, &'static str>) -> Result<T, Error> {
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|what| Error::Malformed { path, what: what.to_owned() }),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Time of all processors since the start, in the kernel's ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// Share of use between `earlier` and this reading, 0 to 100.
    fn percent_since(self, earlier: Self) -> f32 {
        let (busy, total) = (self.busy.saturating_sub(earlier.busy), self.total.saturating_sub(earlier.total));
        // `iowait` may go backwards by a tick (proc(5)): the share is kept within its bounds.
        if total == 0 { 0.0 } else { (busy as f64 * 100.0 / total as f64).clamp(0.0, 100.0) as f32 }
    }
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal (guest is part of user already).
fn parse_stat(text: &str) -> Result<CpuTimes, &'static str> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).ok_or("it has no line for all processors")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).take(8).collect();
    let [_, _, _, idle, iowait, ..] = fields[..] else { return Err("the line for all processors is too short") };
    let total = fields.iter().fold(0u64, |sum, field| sum.saturating_add(*field));
    Ok(CpuTimes { busy: total.saturating_sub(idle.saturating_add(iowait)), total })
}

/// `MemTotal` and `MemAvailable` of `/proc/meminfo`, in bytes.
fn parse_meminfo(text: &str) -> Result<(u64, u64), &'static str> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Ok((field("MemTotal").ok_or("it has no MemTotal")?, field("MemAvailable").ok_or("it has no MemAvailable")?))
}

/// The first number of `/proc/loadavg` or `/proc/uptime`.
fn first_number(text: &str) -> Result<f64, &'static str> {
    let number = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    number.filter(|number: &f64| number.is_finite() && *number >= 0.0).ok_or("it does not begin with a number")
}

/// A sensor's reading in thousandths of a degree.
fn parse_temperature(text: &str) -> Option<f32> {
    let degrees = text.trim().parse::<i32>().ok()? as f32 / 1000.0;
    PLAUSIBLE.contains(&degrees).then_some(degrees)
}

/// A Raspberry Pi's firmware watches its supply; the kernel's driver `rpi_volt` asks it every two seconds.
fn under_voltage(root: &Path) -> Option<bool> {
    let chips = fs::read_dir(root.join("sys/class/hwmon")).into_iter().flatten().flatten();
    let is_it = |path: &PathBuf| fs::read_to_string(path.join("name")).is_ok_and(|name| name.trim() == "rpi_volt");
    let chip = chips.map(|entry| entry.path()).find(is_it)?;
    Some(fs::read_to_string(chip.join("in0_lcrit_alarm")).ok()?.trim() != "0")
}

/// A Raspberry Pi's boot loader tells of itself in the device tree: four bytes, the first the highest.
fn eeprom(root: &Path) -> Option<u64> {
    let bytes = fs::read(root.join("proc/device-tree/chosen/bootloader/build-timestamp")).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?).into())
}

/// The hottest of the sensors below `root`.
fn temperature(root: &Path) -> Option<f32> {
    let class = |name: &str| fs::read_dir(root.join("sys/class").join(name)).into_iter().flatten().flatten();
    let sensors = class("hwmon").flat_map(|chip| fs::read_dir(chip.path()).into_iter().flatten().flatten());
    let sensors = sensors.map(|entry| entry.path()).filter(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with("temp") && n.ends_with("_input"))
    });
    let zones = class("thermal").map(|zone| zone.path().join("temp"));
    sensors.chain(zones).filter_map(|path| parse_temperature(&fs::read_to_string(path).ok()?)).reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twin::Twin;

    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\nintr 5\n";
    const MEMINFO: &str = "MemTotal:        2030976 kB\nMemFree:  1 kB\nMemAvailable:    1015488 kB\n";

    #[test]
    fn the_share_of_use_is_what_was_not_idle_or_waiting() {
        let first = parse_stat(STAT).unwrap();
        assert_eq!(first, CpuTimes { busy: 150, total: 1000 });
        let second = parse_stat("cpu  150 0 75 900 75 0 0 0 0 0").unwrap();
        assert_eq!(second.percent_since(first), 37.5);
        assert_eq!(first.percent_since(first), 0.0);
        assert_eq!(first.percent_since(second), 0.0, "counters that went back are no use at all, not a huge one");
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(parse_meminfo(MEMINFO), Ok((2_030_976 * 1024, 1_015_488 * 1024)));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), Err("it has no MemAvailable"));
    }

    #[test]
    fn numbers_and_temperatures_are_read_and_nonsense_is_not() {
        assert_eq!(first_number("0.46 0.89 1.05 1/90 23233\n"), Ok(0.46));
        assert!(first_number("NaN 1").is_err());
        assert_eq!(parse_temperature("48250\n"), Some(48.25));
        assert_eq!(parse_temperature("-274000"), None);
    }

    #[test]
    fn only_changes_past_a_threshold_count() {
        let old = Resources { memory_total: 1000, memory_available: 500, cpu_percent: 10.0, ..Resources::default() };
        let but = |change: fn(&mut Resources)| {
            let mut new = old.clone();
            change(&mut new);
            differs(&old, &new)
        };
        assert!(!but(|new| new.uptime_seconds += 5));
        assert!(!but(|new| new.memory_available -= 10));
        assert!(but(|new| new.memory_available -= 11));
        assert!(!but(|new| new.cpu_percent = 14.9));
        assert!(but(|new| new.cpu_percent = 15.0));
        assert!(but(|new| new.temperature_celsius = Some(40.0)));
        assert!(but(|new| new.data_total = 1));
    }

    fn fixture() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/stat", STAT);
        write("proc/meminfo", MEMINFO);
        write("proc/loadavg", "0.50 0.1 0.1 1/2 3\n");
        write("proc/uptime", "77.31 12.0\n");
        write("sys/class/hwmon/hwmon0/temp1_input", "41000\n");
        write("sys/class/hwmon/hwmon0/temp1_crit", "99000\n");
        write("sys/class/thermal/thermal_zone0/temp", "52500\n");
        root
    }

    #[test]
    fn a_whole_reading_takes_the_hottest_sensor() {
        let root = fixture();
        let (_, resources) = read(root.path(), root.path()).unwrap();
        assert_eq!((resources.load1, resources.uptime_seconds), (0.5, 77));
        assert_eq!(resources.temperature_celsius, Some(52.5));
        assert!(resources.data_total > 0 && resources.data_available <= resources.data_total);
        assert_eq!(resources.under_voltage, None);
    }

    #[test]
    fn a_board_that_watches_its_supply_is_asked() {
        let root = fixture();
        let chip = root.path().join("sys/class/hwmon/hwmon1");
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("name"), "rpi_volt\n").unwrap();
        assert_eq!(under_voltage(root.path()), None, "the driver has not asked yet");
        for (alarm, low) in [("0\n", false), ("1\n", true)] {
            fs::write(chip.join("in0_lcrit_alarm"), alarm).unwrap();
            assert_eq!(under_voltage(root.path()), Some(low));
        }
        fs::write(chip.join("name"), "nct6775\n").unwrap();
        assert_eq!(under_voltage(root.path()), None, "on a PC the alarm has no meaning");
    }

    #[test]
    fn a_board_that_tells_its_eeprom_is_heard() {
        let root = fixture();
        assert_eq!(eeprom(root.path()), None);
        let folder = root.path().join("proc/device-tree/chosen/bootloader");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("build-timestamp"), [0x63, 0xbe, 0xf1, 0x54]).unwrap();
        let (_, resources) = read(root.path(), root.path()).unwrap();
        assert_eq!(resources.eeprom, Some(1_673_458_004));
        fs::write(folder.join("build-timestamp"), [1, 2, 3]).unwrap();
        assert_eq!(eeprom(root.path()), None);
    }

    #[test]
    fn the_kernel_of_this_machine_can_be_read() {
        let (times, resources) = read(Path::new("/"), Path::new("/")).unwrap();
        assert!(times.total > times.busy && resources.memory_available <= resources.memory_total);
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_times_send_a_heartbeat_and_a_lost_file_is_reported() {
        let root = fixture();
        let (twin, sender, reader) = Twin::new();
        tokio::spawn(twin.run());
        tokio::spawn(run(root.path().to_owned(), root.path().to_owned(), sender));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(reader.state().resources.uptime_seconds, 77);
        fs::write(root.path().join("proc/uptime"), "107.0 1.0\n").unwrap();
        // The share of use falls from the one since the start to none, which is past the threshold, once.
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(reader.state().resources.uptime_seconds, 107);
        fs::write(root.path().join("proc/uptime"), "137.0 1.0\n").unwrap();
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(reader.state().resources.uptime_seconds, 107, "the uptime alone is no reason to wake anyone");
        tokio::time::sleep(HEARTBEAT).await;
        assert_eq!(reader.state().resources.uptime_seconds, 137);
        fs::remove_file(root.path().join("proc/meminfo")).unwrap();
        tokio::time::sleep(INTERVAL).await;
        let health = reader.state().sources["resources"].clone();
        assert!(!health.connected && health.error.unwrap().contains("proc/meminfo"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_fall_over(text in "\\PC*|(cpu|MemTotal:|MemAvailable:)[ 0-9kB\n]*") {
            let _ = (parse_stat(&text), parse_meminfo(&text), first_number(&text), parse_temperature(&text));
        }
    }
}
