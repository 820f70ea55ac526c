//! The recovery: what the boot loader starts from the EFI partition when neither slot does. Written with the image, and
//! changed by no update.
//!
//! ```text
//!  modules ─► port 80 ─► disk, data ─► both slots looked at ──┐
//!                │                                            ▼
//!                └─► bundle uploaded ─► verified, judged ─► one slot written, verified, first to be tried ─► restart
//!                └─► 'try again' ──────────────────────────► all tries set back ───────────────────────────► restart
//! ```
//! It starts no Lightning and no program from the data partition, and is reached by the cable alone.

pub mod bundle;
pub mod form;
mod install;
mod look;
mod net;
pub mod page;
mod serve;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    thread,
    time::Duration,
};

use nix::{
    mount::umount,
    sys::reboot::{RebootMode, reboot},
};
use release::{LndVersion, Release};
use twin::DataState;

use crate::{
    appear, cmdline,
    console::{alarm, note},
    error::Error,
    esp, fence, files, follow, init, marks,
    modules::Modules,
    place, slots,
};

use self::{
    look::Looked,
    page::{Job, View},
};

const DATA: &str = "/data";
/// Of the box in the local network, if it was given none.
const HOSTNAME: &str = "/etc/hostname";

/// Network, devices and consoles are looked after so often.
const PACE: Duration = Duration::from_secs(2);
/// So long a page with the last word can be read before the restart.
const READING_TIME: Duration = Duration::from_secs(8);

/// What is known of the box once its disk was found.
#[derive(Debug)]
pub struct Ground {
    release: Release,
    /// The data partition is mounted.
    data: bool,
    fence: Option<LndVersion>,
}

/// What visitors and workers share.
#[derive(Debug)]
pub struct Shared {
    view: Mutex<View>,
    ground: OnceLock<Ground>,
    looked: OnceLock<Vec<Looked>>,
}

/// Runs as the first process. Returns only with the reason for a restart.
pub fn run(command_line: &str) -> Error {
    match start(command_line) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn start(command_line: &str) -> Result<std::convert::Infallible, Error> {
    init::step("load the modules of the recovery");
    let mut modules = Modules::default();
    modules.load_listed(Path::new("/etc/modules-load"))?;
    let release: Release = files::read_json(Path::new(slots::RELEASE))?;
    init::forward_clock(Some(release.built));
    let shared = Arc::new(Shared::new(release.version.clone(), release.development_keys));
    init::step("open the recovery's page");
    serve::open(&shared, &serve::DOORS)?;
    let esp = cmdline::esp(command_line);
    let finder = shared.clone();
    thread::spawn(move || {
        if let Err(error) = esp.and_then(|esp| find(&finder, esp, release)) {
            finder.change(|view| view.disk = Some(format!("Nothing can be installed: {error}.")));
        }
    });
    init::step("keep the recovery's page open");
    let (mut cards, mut shown) = (net::Cards::default(), String::new());
    loop {
        // A card at USB may come later.
        while modules.load_for_devices(Path::new("/sys/devices"))? {}
        let name = place::host_name(Path::new(DATA)).or_else(|| files::text(HOSTNAME)).unwrap_or_default();
        cards.look(&name);
        let addresses = net::addresses();
        shared.change(|view| view.addresses = addresses);
        let text = page::console(&shared.view());
        if text != shown {
            alarm(&text);
            shown = text;
        }
        thread::sleep(PACE);
    }
}

/// Finds the disk and the data, and looks at both slots.
fn find(shared: &Shared, esp: crate::gpt::Guid, release: Release) -> Result<(), Error> {
    let mut modules = Modules::default();
    let disk = appear::wait_for_disk(&mut modules, esp)?;
    disk.link()?;
    // It came up: the boot loader may start it as often as it is needed.
    if let Err(error) = esp::change(bootstate::State::recovered) {
        note(&error.to_string());
    }
    let home = disk.data().and_then(|partition| disk.device(partition.number));
    let mut wait = |partition| appear::wait_for_partition(&mut modules, partition);
    let machine = follow::Machine::new(Path::new(DATA), &mut wait);
    let (data, _) = follow::open(machine, home.as_deref(), disk.identity())?;
    let is_mounted = data.state == DataState::Ok;
    let mounted = is_mounted.then_some(Path::new(DATA));
    if let Some(mounted) = mounted {
        init::forward_clock(init::modified(&mounted.join("system/timesync/clock")));
    }
    // One that cannot be read keeps Lightning from starting, not the box.
    let fence = mounted.and_then(|mounted| fence::least(mounted).ok().flatten());
    let marks = mounted.map(marks::read).unwrap_or_default();
    shared.change(|view| {
        view.data = Some((data.state, data.detail));
        view.marks = marks;
    });
    // Set once: this is the only caller.
    let _ = shared.ground.set(Ground { release, data: is_mounted, fence });
    let looked = look::look(mounted);
    shared.change(|view| {
        view.systems = looked.iter().map(|looked| looked.system.clone()).collect();
        view.systems.sort_by_key(|system| system.slot);
    });
    let _ = shared.looked.set(looked);
    Ok(())
}

impl Shared {
    fn new(version: String, development_keys: bool) -> Self {
        let view = Mutex::new(View::new(version, development_keys));
        Self { view, ground: OnceLock::new(), looked: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        // A panic ends the whole program: nobody sees what it left behind.
        self.view.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn view(&self) -> View {
        self.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock());
    }

    fn ground(&self) -> Result<&Ground, String> {
        let problem = || self.lock().disk.clone();
        self.ground
            .get()
            .ok_or_else(|| problem().unwrap_or("The disk is still being looked for. Try again in a minute.".into()))
    }

    /// Begins an installation, unless something goes on.
    fn begin(self: &Arc<Self>, said: &str) -> Option<Busy> {
        let mut view = self.lock();
        if view.job.is_busy() {
            return None;
        }
        view.job = Job::Runs { said: said.to_owned(), percent: 0 };
        Some(Busy(self.clone()))
    }

    /// Has the boot loader try both slots again, unless something goes on.
    fn again(self: &Arc<Self>) {
        let Some(busy) = self.begin("Both systems will be tried again.") else { return };
        match self.ground().and_then(|_| esp::change(bootstate::State::try_again).map_err(|error| format!("{error}.")))
        {
            Ok(_) => busy.restart("Both systems are tried again. The box restarts.".into()),
            Err(sentence) => busy.fail(sentence),
        }
    }
}

/// The one piece of work that goes on.
struct Busy(Arc<Shared>);

impl Busy {
    fn fail(self, sentence: String) {
        note(&sentence);
        self.0.change(|view| view.job = Job::Failed(sentence));
    }

    /// Installs the bundle in a thread of its own.
    fn go_on(self, file: PathBuf) {
        thread::spawn(move || {
            let tell = |said: &str, percent| {
                self.0.change(|view| view.job = Job::Runs { said: said.to_owned(), percent });
            };
            tell("Both systems are being looked at first.", 0);
            let looked = self.0.looked.wait();
            let outcome = self.0.ground().and_then(|ground| install::run(&file, ground, looked, &tell));
            // It has done what it was for, or is no good.
            let _ = std::fs::remove_file(&file);
            match outcome {
                Ok(said) => self.restart(said),
                Err(sentence) => self.fail(sentence),
            }
        });
    }

    /// Restarts the box once the page was seen.
    fn restart(self, said: String) {
        self.0.change(|view| view.job = Job::Restarts(said));
        thread::spawn(|| {
            thread::sleep(READING_TIME);
            let _ = umount(DATA);
            nix::unistd::sync();
            let failed = reboot(RebootMode::RB_AUTOBOOT);
            alarm(&format!("the box does not restart: {failed:?}. Switch it off and on again."));
        });
    }
}
