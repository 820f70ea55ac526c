//! A box in a virtual machine: QEMU with UEFI firmware, as `homebolt run` and the whole-system tests start it.
//!
//! ```text
//!  Machine (what to plug together) ── command() ─► exec, for a person at a terminal
//!                                  └─ start() ───► Running: console log, monitor, root shell for tests, power cut
//! ```
//! Nothing of it is reachable from outside this computer: ports are forwarded on 127.0.0.1 only.

mod guest;
mod kind;
mod monitor;
mod running;

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

pub use guest::{Guest, Output};
pub use kind::{Kind, X86_64};
pub use monitor::Monitor;
pub use running::Running;

/// Why a virtual machine cannot be started or talked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not installed: on Debian, apt install {}", .0.program, .0.package)]
    NoEmulator(&'static Kind),
    #[error("no UEFI firmware for virtual machines is installed: on Debian, apt install {}", .0.firmware_package)]
    NoFirmware(&'static Kind),
    #[error("U-Boot does not start the machine of {}: only that of qemu-system-aarch64", .0.program)]
    NoUBoot(&'static Kind),
    #[error("no U-Boot for virtual machines is installed: on Debian, apt install {0}")]
    UBootMissing(&'static str),
    #[error("port {port} of this computer is taken: end what uses it, or choose another with {option}")]
    PortTaken { port: u16, option: &'static str },
    #[error("the virtual machine stopped by itself: {0}")]
    Ended(String),
    #[error("the virtual machine's monitor did not {action}: {reason}")]
    Monitor { action: String, reason: String },
    #[error("the virtual machine did not {0} in time")]
    Late(&'static str),
    #[error("no answer from the shell in the virtual machine to `{command}`: {reason}")]
    Shell { command: String, reason: String },
}

impl Error {
    /// For `map_err`; `action` completes 'failed to'.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Where the first serial line, the box's console, goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// This terminal. Ctrl-A X and Ctrl-C both end the machine at once.
    Terminal,
    /// Kept in the file [`Running::console`] reads.
    Log,
}

/// How far a written block is on the disk when the guest hears that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// As on a real disk: a flush reaches the host's disk.
    Writeback,
    /// The same past the host's memory: what is killed with the machine is what a real disk would lose.
    None,
    /// Nothing is flushed. When the machine is killed, all that the guest has written is in the file, as the host goes on.
    Unsafe,
}

impl Cache {
    fn option(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::None => "none",
            Self::Unsafe => "unsafe",
        }
    }
}

/// The parts of a virtual machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub kind: &'static Kind,
    /// The code of UEFI firmware and an empty set of its variables; `None`: what is installed here.
    pub uefi: Option<(PathBuf, PathBuf)>,
    /// It is started by U-Boot, as single-board computers are, and not by UEFI firmware.
    pub u_boot: bool,
    /// The disk, raw.
    pub disk: PathBuf,
    /// What the disk says its serial number is, at most 20 characters.
    pub serial: String,
    pub cache: Cache,
    /// Further disks, raw, and their serial numbers. They keep what is written to them.
    pub more: Vec<(PathBuf, String)>,
    /// Writes go to a temporary file and are gone with the machine.
    pub throw_away: bool,
    /// Every write to the disk is kept there, too, in its order and in the format of Linux' dm-log-writes; what was there
    /// before is lost. The disk then offers neither to discard nor to write zeroes, so that all the guest does is a write.
    pub record: Option<PathBuf>,
    /// Keeps the firmware's variables, the sockets and the console's log. Short: the paths of sockets are limited.
    pub folder: PathBuf,
    pub cores: u32,
    /// MiB.
    pub memory: u32,
    /// Uses the processor's virtualisation instead of emulating a processor.
    pub kvm: bool,
    /// QEMU's word for the screen: `none`, `gtk`, ...
    pub display: String,
    pub console: Console,
    /// Ports of 127.0.0.1, and to which port of the guest each leads.
    pub forwards: Vec<(u16, u16)>,
    /// The same for another address of the guest than the one that it is given.
    pub forwards_to: Vec<(u16, Ipv4Addr, u16)>,
    /// A second network card whose frames come and go as datagrams of a Unix socket.
    pub wire: Option<Wire>,
    /// A root shell on the second serial line, for tests. Nothing in the image takes part in it.
    pub shell: bool,
    /// A security chip (TPM2): the control socket of the program that is one, see swtpm(8).
    pub chip: Option<PathBuf>,
    /// A watchdog that restarts the machine.
    pub watchdog: bool,
    /// What the clock shows at the start, for example `2026-11-21T12:00:00`; `None`: this computer's time.
    pub clock: Option<String>,
}

/// The first program on the machine, as files.
enum Firmware {
    Uefi { code: PathBuf, variables: PathBuf },
    UBoot(PathBuf),
}

/// Both ends of the second network card.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The machine's socket: frames sent to it reach the guest.
    pub machine: PathBuf,
    /// The other end's socket, opened before the start: frames of the guest arrive here.
    pub peer: PathBuf,
    /// Of the guest's card.
    pub mac: String,
}

impl Machine {
    /// A PC with two cores and 1 GiB, emulated, with no screen and no network ports.
    pub fn new(disk: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            kind: &kind::X86_64,
            uefi: None,
            u_boot: false,
            disk: disk.into(),
            serial: "HOMEBOLT-VM".into(),
            cache: Cache::Writeback,
            more: Vec::new(),
            throw_away: false,
            record: None,
            folder: folder.into(),
            cores: 2,
            memory: 1024,
            kvm: false,
            display: "none".into(),
            console: Console::Log,
            forwards: Vec::new(),
            forwards_to: Vec::new(),
            wire: None,
            shell: false,
            chip: None,
            watchdog: false,
            clock: None,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The command that starts the machine; makes the firmware's variables first when there are none.
    pub fn command(&self) -> Result<Command, Error> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let firmware = self.firmware()?;
        if let Some(log) = &self.record {
            std::fs::File::create(log).map_err(Error::io("create", log))?;
        }
        let mut command = Command::new(self.kind.program);
        // Where `snapshot=on` keeps what is thrown away.
        command.env("TMPDIR", &self.folder).args(self.arguments(&firmware));
        Ok(command)
    }

    /// What the machine starts with.
    fn firmware(&self) -> Result<Firmware, Error> {
        if self.u_boot {
            return self.kind.u_boot().map(Firmware::UBoot);
        }
        let (code, empty) = self.uefi.clone().map_or_else(|| self.kind.firmware(), Ok)?;
        let variables = self.file("firmware.vars");
        if !variables.exists() {
            std::fs::copy(&empty, &variables).map_err(Error::io("copy", &empty))?;
        }
        Ok(Firmware::Uefi { code, variables })
    }

    /// Why [`Self::command`] could not be run.
    pub fn not_started(&self, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::NotFound => Error::NoEmulator(self.kind),
            _ => Error::Io { action: "start", path: self.kind.program.into(), source },
        }
    }

    /// Starts the machine with its console in a log.
    pub fn start(&self) -> Result<Running, Error> {
        Running::start(self)
    }

    fn arguments(&self, firmware: &Firmware) -> Vec<OsString> {
        let mut line = Line::default();
        line.add("-nodefaults -no-user-config -name homebolt")
            .add(self.kind.screen)
            .pair("-machine", self.kind.machine);
        let (accelerator, cpu) = if self.kvm { ("kvm", "host") } else { ("tcg,thread=multi", self.kind.cpu) };
        line.pair("-accel", accelerator).pair("-cpu", cpu);
        line.pair("-smp", self.cores.to_string()).pair("-m", self.memory.to_string());
        line.pair("-display", &self.display);
        match firmware {
            Firmware::Uefi { code, variables } => {
                line.pair("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", quoted(code)));
                line.pair("-drive", format!("if=pflash,unit=1,format=raw,file={}", quoted(variables)));
            }
            Firmware::UBoot(path) => {
                line.pair("-bios", path.to_string_lossy());
            }
        }
        let cache = self.cache.option();
        self.disk_arguments(&mut line, cache);
        for (place, (path, serial)) in self.more.iter().enumerate() {
            let file = quoted(path);
            line.pair("-drive", format!("if=none,id=more{place},format=raw,discard=unmap,cache={cache},file={file}"));
            // No model of its own: `virtio-blk-pci` like the first, so that the kernel's names follow the order here.
            line.pair("-device", format!("virtio-blk-pci,drive=more{place},serial={serial},id=more{place}"));
        }
        let mut user = "user,id=house".to_owned();
        for (host, guest) in &self.forwards {
            user += &format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
        }
        for (host, address, guest) in &self.forwards_to {
            user += &format!(",hostfwd=tcp:127.0.0.1:{host}-{address}:{guest}");
        }
        line.pair("-netdev", user).add("-device virtio-net-pci,netdev=house,mac=52:54:00:68:62:01");
        if let Some(wire) = &self.wire {
            let (local, remote) = (quoted(&wire.machine), quoted(&wire.peer));
            line.pair(
                "-netdev",
                format!("dgram,id=wire,local.type=unix,local.path={local},remote.type=unix,remote.path={remote}"),
            );
            line.pair("-device", format!("virtio-net-pci,netdev=wire,mac={}", wire.mac));
        }
        line.add("-device virtio-rng-pci");
        match self.console {
            Console::Terminal => {
                line.add("-chardev stdio,id=console,mux=on,signal=on -mon chardev=console,mode=readline");
            }
            Console::Log => {
                let (socket, log) = (quoted(&self.file("console")), quoted(&self.file("console.log")));
                line.pair(
                    "-chardev",
                    format!("socket,id=console,path={socket},server=on,wait=off,logfile={log},logappend=on"),
                );
            }
        }
        line.add(self.kind.console);
        line.pair("-qmp", format!("unix:{},server=on,wait=off", quoted(&self.file("monitor"))));
        if self.shell {
            let socket = quoted(&self.file("shell"));
            line.pair("-chardev", format!("socket,id=shell,path={socket},server=on,wait=off"));
            line.add(self.kind.second);
            for credential in guest::credentials(self.kind.second_line) {
                line.pair("-smbios", format!("type=11,value={credential}"));
            }
        }
        if let Some(chip) = &self.chip {
            line.pair("-chardev", format!("socket,id=chip,path={}", quoted(chip)));
            line.add("-tpmdev emulator,id=tpm,chardev=chip").pair("-device", format!("{},tpmdev=tpm", self.kind.chip));
        }
        if self.watchdog {
            line.add("-device i6300esb -action watchdog=reset");
        }
        line.pair("-rtc", format!("base={}", self.clock.as_deref().unwrap_or("utc")));
        line.0
    }

    fn disk_arguments(&self, line: &mut Line, cache: &str) {
        let disk = quoted(&self.disk);
        let (drive, device) = match &self.record {
            Some(log) => {
                let log = quoted(log);
                let drive = format!(
                    "driver=blklogwrites,cache={cache},file.driver=file,file.filename={disk},log.driver=file,log.filename={log}"
                );
                // The filter adds two pieces to those of a write: of one that the device merged from more than 1022 (a
                // file system that zeroes its tables, on a busy computer), it makes 'Invalid argument', and the guest an
                // I/O error.
                (drive, ",discard=off,write-zeroes=off,request-merging=off")
            }
            None => {
                let throw_away = if self.throw_away { "on" } else { "off" };
                let drive = format!(
                    "format=raw,discard=unmap,detect-zeroes=unmap,cache={cache},snapshot={throw_away},file={disk}"
                );
                (drive, "")
            }
        };
        line.pair("-drive", format!("if=none,id=disk,{drive}"));
        line.pair("-device", format!("virtio-blk-pci,drive=disk,bootindex=0,serial={}{device}", self.serial));
    }
}

/// Arguments in order.
#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn add(&mut self, words: &str) -> &mut Self {
        self.0.extend(words.split(' ').map(OsString::from));
        self
    }

    fn pair(&mut self, option: &str, value: impl AsRef<str>) -> &mut Self {
        self.0.extend([option.into(), value.as_ref().into()]);
        self
    }
}

/// A path inside an option: commas are doubled there.
fn quoted(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// Whether the processor's virtualisation can be used by this user.
pub fn kvm_usable() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Fails when something listens on the port; `option` is how to choose another.
pub fn port_is_free(port: u16, option: &'static str) -> Result<(), Error> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::PortTaken { port, option }),
    }
}

/// A port of 127.0.0.1 that was free a moment ago. It is below those that the kernel gives to outgoing connections, and a
/// process gets it once in a long while, so that it stays free until its server starts.
pub fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        // Each process begins somewhere else: the kernel's own choice is as good as any.
        let start = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let _ = NEXT.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
    }
    let ports = (0..COUNT).map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT);
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_is_below_those_of_outgoing_connections_and_comes_once() {
        let (one, two) = (free_port().unwrap(), free_port().unwrap());
        assert!((20_000..32_000).contains(&one) && (20_000..32_000).contains(&two) && one != two, "{one}, {two}");
    }

    fn text(machine: &Machine) -> String {
        let firmware = Firmware::Uefi { code: "/f/code.fd".into(), variables: "/f/vars,1.fd".into() };
        let words = machine.arguments(&firmware);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ports_are_forwarded_on_loopback_only() {
        let mut machine = Machine::new("/d/disk.img", "/tmp/x");
        machine.forwards = vec![(8443, 8443), (8080, 80)];
        machine.forwards_to = vec![(9443, Ipv4Addr::new(10, 0, 2, 77), 8443)];
        let text = text(&machine);
        assert!(text.contains("hostfwd=tcp:127.0.0.1:9443-10.0.2.77:8443"), "{text}");
        assert!(text.contains("hostfwd=tcp:127.0.0.1:8443-:8443,hostfwd=tcp:127.0.0.1:8080-:80"), "{text}");
        assert_eq!(text.matches("hostfwd").count(), text.matches("tcp:127.0.0.1:").count());
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let machine = Machine::new("/d/a,b.img", "/tmp/x");
        let text = text(&machine);
        assert!(text.contains("file=/d/a,,b.img") && text.contains("file=/f/vars,,1.fd"), "{text}");
    }

    #[test]
    fn a_recorded_disk_has_a_log_and_nothing_that_is_not_a_write() {
        let mut machine = Machine::new("/d/disk.img", "/tmp/x");
        assert!(!text(&machine).contains("blklogwrites"));
        machine.record = Some("/d/a,b.log".into());
        let text = text(&machine);
        assert!(text.contains("driver=blklogwrites,") && text.contains("log.filename=/d/a,,b.log"), "{text}");
        assert!(
            text.contains("serial=HOMEBOLT-VM,discard=off,write-zeroes=off,request-merging=off")
                && !text.contains("=unmap"),
            "{text}"
        );
    }

    #[test]
    fn the_root_shell_is_there_only_when_asked_for() {
        let mut machine = Machine::new("/d/disk.img", "/tmp/x");
        assert!(!text(&machine).contains("smbios"));
        machine.shell = true;
        assert!(text(&machine).contains("-smbios type=11,value=io.systemd.credential.binary:systemd.extra-unit."));
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = port_is_free(port, "--https-port").unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--https-port"), "{error}");
    }
}
