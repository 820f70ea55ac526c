//! Where machines are built: disks, ports, logs.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use homebolt::{
    build::borrowed::OVMF,
    image,
    qemu::{self, Cache, Guest, Kind, Machine, Output, Running, X86_64},
    run,
};
use release::Manifest;

use super::chip::{Chip, Powered};
use crate::{
    Context,
    http::Client,
    report::{Fault, Outcome, ensure, fails, tail, until},
    screen::Screen,
    visitor,
    wire::Tap,
};

/// So long a box may take from power on to its page, on a computer that has other things to do.
pub(crate) const BOOT: Duration = Duration::from_secs(600);

/// So long it may take to switch itself off. LND on its very first start lays out its header store (65,536 tables within
/// a table: 5 s of a real processor, minutes of an emulated one) and hears no stop before that is done; nobody kills it.
pub(crate) const STOP: Duration = Duration::from_secs(600);

/// What disks say their serial number is.
pub(crate) const SERIAL: &str = "HOMEBOLT-TEST-1";

pub(crate) const GIB: u64 = 1 << 30;

/// The image under test, and room for its disks.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) image: PathBuf,
    pub(crate) manifest: Manifest,
    pub(crate) logs: PathBuf,
    kind: &'static Kind,
    uefi: Option<(PathBuf, PathBuf)>,
    cores: u32,
    folder: tempfile::TempDir,
    /// The same for all machines, so that a browser stays with its box over restarts.
    https: u16,
    http: u16,
    moved: u16,
    owned: Option<PathBuf>,
}

impl Lab {
    pub(crate) fn open(context: &Context) -> Outcome<Self> {
        let out = context.root.join("out").join(&context.board);
        let image = context.image.clone().map_or_else(|| run::find(&out), Ok)?;
        let manifest = image::manifest(&image, None)?;
        let (board, base) = (&manifest.release.board, &manifest.release.base);
        ensure!(*board == context.board && *base == context.base, "the image is of board {board} and base {base}");
        let Some(kind) = Kind::of_board(board) else { return fails(format!("QEMU has no machine for board {board}")) };
        let uefi = if *kind == X86_64 { Some(OVMF.prepare()?) } else { None };
        let uefi = uefi.map(|code| (code.clone(), code.with_file_name("OVMF_VARS_4M.fd")));
        // Sparse disks, several GB in the end: not for a /tmp in memory.
        let parent = context.root.join("out/test-disks");
        fs::create_dir_all(&parent)?;
        for left in fs::read_dir(&parent)?.flatten() {
            fs::remove_dir_all(left.path())?;
        }
        let folder = tempfile::tempdir_in(&parent)?;
        let (https, http, moved) = (qemu::free_port()?, qemu::free_port()?, qemu::free_port()?);
        Ok(Self {
            image,
            manifest,
            logs: context.logs.join("image"),
            kind,
            uefi,
            cores: 2,
            folder,
            https,
            http,
            moved,
            owned: None,
        })
    }

    /// The same once more, for machines beside those of this one, with so many cores. Emulating two, as boxes have, costs an
    /// eighth more of the computer's time than one.
    pub(crate) fn beside(&self, cores: u32) -> Outcome<Self> {
        let parent = self.folder.path().parent().unwrap_or(Path::new("."));
        Ok(Self {
            image: self.image.clone(),
            manifest: self.manifest.clone(),
            logs: self.logs.clone(),
            kind: self.kind,
            uefi: self.uefi.clone(),
            cores,
            folder: tempfile::tempdir_in(parent)?,
            https: qemu::free_port()?,
            http: qemu::free_port()?,
            moved: qemu::free_port()?,
            owned: None,
        })
    }

    /// A new disk with the image on it.
    pub(crate) fn disk(&self, name: &str, size: u64) -> Outcome<PathBuf> {
        self.disk_of(&self.image, name, size)
    }

    /// The same with another image.
    pub(crate) fn disk_of(&self, image: &Path, name: &str, size: u64) -> Outcome<PathBuf> {
        let disk = self.folder.path().join(format!("{name}.img"));
        run::unpack(image, &disk)?;
        run::grow(&disk, size)?;
        Ok(disk)
    }

    pub(crate) fn keep_owned(&mut self, disk: PathBuf) {
        self.owned = Some(disk);
    }

    /// Whether U-Boot starts machines for this board.
    pub(crate) fn has_u_boot(&self) -> bool {
        self.kind.u_boot.is_some()
    }

    /// The disk that the part `boot` left, or one that is made for the parts that need it.
    pub(crate) fn owned_disk(&mut self) -> Outcome<PathBuf> {
        if let Some(disk) = &self.owned {
            return Ok(disk.clone());
        }
        let disk = self.disk("owned", 8 * GIB)?;
        let mut live = self.start(&disk, "owned", Options::default())?;
        live.wait_for_page(BOOT)?;
        let code = live.code()?;
        let claim = visitor::claim(&live.client(), &code)?;
        visitor::set_password(&live.client(), &claim)?;
        live.wait_for_both_systems()?;
        // A clean end takes its time; the part `data` has one.
        live.shell("sync")?;
        live.cut_power();
        self.owned = Some(disk.clone());
        Ok(disk)
    }

    /// Starts a machine with that disk. `name` is that of its logs.
    pub(crate) fn start(&self, disk: &Path, name: &str, options: Options) -> Outcome<Live> {
        self.start_with(disk, name, options, None)
    }

    /// A disk with nothing on it, that takes no space before it is written to.
    pub(crate) fn empty_disk(&self, name: &str, size: u64) -> Outcome<PathBuf> {
        let path = self.folder.path().join(format!("{name}.img"));
        fs::File::create(&path)?.set_len(size)?;
        Ok(path)
    }

    /// Room for large files, beside the disks. (Group `build` compares what is beside the image.)
    pub(crate) fn room(&self) -> Outcome<tempfile::TempDir> {
        Ok(tempfile::tempdir_in(self.folder.path())?)
    }

    /// The same with a security chip.
    pub(crate) fn start_with(&self, disk: &Path, name: &str, options: Options, chip: Option<&Chip>) -> Outcome<Live> {
        self.start_beside(disk, &[], name, options, chip)
    }

    /// The same with further disks and their serial numbers.
    pub(crate) fn start_beside(
        &self,
        disk: &Path,
        more: &[(&Path, &str)],
        name: &str,
        options: Options,
        chip: Option<&Chip>,
    ) -> Outcome<Live> {
        // Paths of sockets are short, whatever the checkout is called.
        let folder = tempfile::Builder::new().prefix("homebolt-vm-").tempdir()?;
        let mut machine = Machine::new(disk, folder.path());
        (machine.kind, machine.uefi, machine.u_boot) = (self.kind, self.uefi.clone(), options.u_boot);
        machine.cores = self.cores;
        machine.serial = SERIAL.into();
        machine.more = more.iter().map(|(path, serial)| (path.to_path_buf(), (*serial).to_owned())).collect();
        machine.throw_away = options.throw_away;
        machine.watchdog = options.watchdog;
        machine.record = options.record.then(|| log_of_writes(disk));
        machine.cache = match options {
            Options { record: true, .. } => Cache::Writeback,
            Options { uncached: true, .. } => Cache::None,
            _ => Cache::Unsafe,
        };
        machine.forwards = vec![(self.https, 8443), (self.http, 80)];
        if options.moved {
            machine.forwards_to = vec![(self.moved, super::network::MOVED, 8443)];
        }
        machine.shell = true;
        machine.clock = options.clock_of_1970.then(|| "1970-01-01T00:00:00".into());
        let chip = chip.map(|chip| chip.power_on(folder.path())).transpose()?;
        machine.chip = chip.as_ref().map(|powered| powered.socket.clone());
        let tap = options.wire.then(|| Tap::open(folder.path())).transpose()?;
        machine.wire = tap.as_ref().map(|_| Tap::wire(folder.path()));
        // The socket of a machine that just ended may hold the port for a moment.
        until(Duration::from_secs(10), || Ok(qemu::port_is_free(self.https, "another run")?))?;
        let running = machine.start()?;
        let guest = running.guest()?;
        let log = self.logs.join(format!("{name}-console.log"));
        Ok(Live {
            running: Some(running),
            guest,
            tap,
            https: self.https,
            http: self.http,
            moved: self.moved,
            log,
            _chip: chip,
            _folder: folder,
        })
    }
}

/// What is special about a machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) throw_away: bool,
    /// A second network card with us at the other end.
    pub(crate) wire: bool,
    /// A door to the address that the part `network` moves the box to.
    pub(crate) moved: bool,
    /// A clock that restarts the machine when it hangs.
    pub(crate) watchdog: bool,
    /// Its writes are kept in [`log_of_writes`].
    pub(crate) record: bool,
    /// What is killed with the machine is what a real disk would lose.
    pub(crate) uncached: bool,
    /// The clock has lost its battery.
    pub(crate) clock_of_1970: bool,
    /// Started by U-Boot. It does not hand on what makes a root shell: there is none.
    pub(crate) u_boot: bool,
}

/// Beside the disk.
pub(crate) fn log_of_writes(disk: &Path) -> PathBuf {
    disk.with_extension("writes")
}

/// A box that runs.
#[derive(Debug)]
pub(crate) struct Live {
    running: Option<Running>,
    guest: Guest,
    pub(crate) tap: Option<Tap>,
    https: u16,
    http: u16,
    moved: u16,
    log: PathBuf,
    _chip: Option<Powered>,
    _folder: tempfile::TempDir,
}

impl Live {
    pub(crate) fn client(&self) -> Client {
        Client::tls(self.https)
    }

    /// The box at the address that it was moved to.
    pub(crate) fn moved(&self) -> Client {
        Client::tls(self.moved)
    }

    pub(crate) fn plain(&self) -> Client {
        Client::plain(self.http)
    }

    pub(crate) fn https(&self) -> u16 {
        self.https
    }

    pub(crate) fn running(&mut self) -> Outcome<&mut Running> {
        match &mut self.running {
            Some(running) => Ok(running),
            None => fails("the machine is off"),
        }
    }

    /// Waits until HTTPS answers; gives the time since the power came.
    pub(crate) fn wait_for_page(&mut self, limit: Duration) -> Outcome<Duration> {
        let client = self.client().within(Duration::from_secs(4));
        let end = Instant::now() + limit;
        loop {
            if client.get("/healthz").is_ok_and(|answer| answer.status == 200) {
                return Ok(self.running()?.age());
            }
            self.running()?.check()?;
            if Instant::now() > end {
                return self.or_why(fails(format!("no page after {} s", limit.as_secs())));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command as root in the box.
    pub(crate) fn ask(&mut self, command: &str) -> Outcome<Output> {
        Ok(self.guest.run(command, Duration::from_secs(120))?)
    }

    /// The same for commands that must succeed; gives what they print, without the last line's end.
    pub(crate) fn shell(&mut self, command: &str) -> Outcome<String> {
        let output = self.ask(command)?;
        ensure!(output.code == 0, "`{command}` ends with {}: {}", output.code, output.text.trim_end());
        Ok(output.text.trim_end().to_owned())
    }

    /// Waits until the shell answers.
    pub(crate) fn wait_for_shell(&mut self, limit: Duration) -> Outcome {
        Ok(self.guest.wait(limit)?)
    }

    /// What tells one start from another.
    pub(crate) fn boot_id(&mut self) -> Outcome<String> {
        self.shell("cat /proc/sys/kernel/random/boot_id")
    }

    /// Waits until the box has restarted since `boot`, and its page answers.
    pub(crate) fn wait_for_other_boot(&mut self, boot: &str, limit: Duration) -> Outcome {
        let restarted = until(limit, || {
            self.wait_for_shell(Duration::from_secs(20))?;
            ensure!(
                self.boot_id()? != boot,
                "the box has not restarted: {}",
                self.ask("cat /run/homebolt/move.json")?.text
            );
            Ok(())
        });
        self.or_why(restarted)?;
        self.wait_for_page(BOOT).map(|_| ())
    }

    /// Waits until no unit is being started any more.
    pub(crate) fn settle(&mut self) -> Outcome<String> {
        self.wait_for_shell(BOOT)?;
        until(BOOT, || {
            let state = self.ask("systemctl is-system-running")?.text.trim().to_owned();
            if matches!(state.as_str(), "running" | "degraded") {
                return Ok(state);
            }
            let jobs = self.ask("systemctl list-jobs --no-legend")?.text;
            fails(format!("the box is still {state}; waiting for:\n{jobs}"))
        })
    }

    /// Waits until the first start has copied the system to slot B.
    pub(crate) fn wait_for_both_systems(&mut self) -> Outcome {
        // Not for all units: LND's first start takes longer.
        self.wait_for_shell(BOOT)?;
        until(BOOT, || {
            let env = self.boot_state()?;
            ensure!(env.contains("B_OK=1") && env.contains("FILL=-"), "slot B is not filled:\n{env}");
            Ok(())
        })
    }

    /// What the boot loader is told of both slots: lines such as `A_TRY=0`.
    pub(crate) fn boot_state(&mut self) -> Outcome<String> {
        self.shell("/usr/lib/homebolt/homebolt-boot bootstate show")
    }

    /// All that the serial console has shown since the power came.
    pub(crate) fn console(&self) -> String {
        self.running.as_ref().map(Running::console).unwrap_or_default()
    }

    /// How often the boot loader has taken the system in that slot since the power came.
    pub(crate) fn starts(&self, slot: &str) -> usize {
        self.console().matches(&format!("homebolt: starting system {slot}")).count()
    }

    /// Waits until the boot loader takes the system in that slot for the first time, or once more.
    pub(crate) fn wait_for_start(&mut self, slot: &str, before: usize, limit: Duration) -> Outcome {
        let started = until(limit, || {
            ensure!(self.starts(slot) > before, "the boot loader did not take system {slot}");
            Ok(())
        });
        self.or_why(started)
    }

    /// Adds to a failure what a box that hangs says of itself: by its shell what it waits for, or where its processors are
    /// and how far the console came.
    pub(crate) fn or_why<T>(&mut self, outcome: Outcome<T>) -> Outcome<T> {
        let Err(Fault::Fails(late)) = outcome else { return outcome };
        let seen = match self.ask("systemctl list-jobs --no-legend; journalctl --no-pager -n 30") {
            Ok(output) => output.text,
            Err(silent) => {
                let processors = self.running().and_then(|running| Ok(running.monitor().processors()?));
                format!("{silent:?}; {processors:?}; the console's end:\n{}", tail(&self.console(), 25))
            }
        };
        fails(format!("{late}:\n{seen}"))
    }

    /// The newest picture on the serial console.
    pub(crate) fn screen(&self) -> Outcome<Screen> {
        until(Duration::from_secs(30), || Screen::last(&self.console()))
    }

    /// The claim code on the serial console.
    pub(crate) fn code(&self) -> Outcome<String> {
        until(Duration::from_secs(30), || {
            let screen = self.screen()?;
            match screen.code() {
                Some(code) => Ok(code.to_owned()),
                None => fails(format!("the console shows no claim code:\n{}", screen.0)),
            }
        })
    }

    /// Pulls the plug.
    pub(crate) fn cut_power(mut self) {
        self.keep_log();
        if let Some(running) = self.running.take() {
            running.cut_power();
        }
    }

    /// Shuts down as systemd does, and waits until the power is off.
    pub(crate) fn switch_off(mut self) -> Outcome {
        // The shell ends with the rest: its answer may not come any more.
        let _ = self.guest.run("systemctl poweroff", Duration::from_secs(3));
        let end = Instant::now() + STOP;
        while self.running()?.check().is_ok() {
            ensure!(
                Instant::now() < end,
                "the box does not switch off; the console's end:\n{}",
                tail(&self.console(), 15)
            );
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn keep_log(&self) {
        // Several machines of one name go on in one log.
        let old = fs::read_to_string(&self.log).unwrap_or_default();
        if let Err(error) = fs::write(&self.log, format!("{old}\n===== power on =====\n{}", self.console())) {
            eprintln!("homebolt-tests: {} could not be kept: {error}", self.log.display());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.keep_log();
        }
    }
}
