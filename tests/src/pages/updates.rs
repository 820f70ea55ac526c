//! The page of updates in a browser: a channel made by `homebolt channel` and served by a plain web server, a bundle that is
//! uploaded, and what root reports. Root is a fake that agrees to everything and writes no slot.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Parser;
use homebolt::keys::Keys;
use release::{Image, Purpose, Release, Texts, UPDATE_FORMAT, Update};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Driver},
    gallery::Gallery,
    manager::{Manager, sound},
    report::{Outcome, Report, ensure, until},
    shelf::Shelf,
    visitor::PASSWORD,
};

use super::{Start, browsing::wizard};

const PATH: &str = "/settings/updates";
/// What an update may add to the manager's memory, kB.
pub(crate) const ADDED: u64 = 4096;

pub(super) fn run(report: &mut Report, driver: &Driver, start: Start, gallery: &mut Gallery) {
    report.test("a new version is offered, installed with its progress shown, and one that fell back says why", || {
        let publisher = Publisher::new()?;
        let (manager, browser) = (start(&sound())?, driver.open(true)?);
        publisher.trust(&manager)?;
        let root = FakeRoot::start(manager.folder());
        wizard(&manager, &browser)?;
        from_channel(&manager, &browser, &publisher, &root, gallery)?;
        fall_back(&manager, &browser, gallery)?;
        back_and_reset(&manager, &browser, &root, gallery)
    });
    report.test("a bundle is uploaded and installed in a browser without scripts", || {
        let publisher = Publisher::new()?;
        let (manager, browser, looker) = (start(&sound())?, driver.open(false)?, driver.open(true)?);
        publisher.trust(&manager)?;
        let root = FakeRoot::start(manager.folder());
        wizard(&manager, &browser)?;
        looker.open(&format!("{}/sign-in", manager.tls().origin()))?;
        looker.fill("#password", PASSWORD)?;
        looker.click("main button")?;
        looker.wait_for("/home")?;
        by_upload(&manager, (&browser, &looker), &publisher, &root, gallery)
    });
}

/// Keys, a published folder with one version for all boxes, and the server of it.
struct Publisher {
    home: tempfile::TempDir,
    shelf: Shelf,
}

/// `homebolt channel`, with the words one types.
#[derive(Parser)]
struct Words {
    #[command(flatten)]
    args: homebolt::channel::Args,
}

impl Publisher {
    fn new() -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        Keys::new(&home.path().join("keys"), "test")?;
        let public = home.path().join("public");
        fs::create_dir(&public)?;
        let shelf = Shelf::open(&public)?;
        let publisher = Self { home, shelf };
        publisher.channel(&["new"], &[])?;
        let update = publisher.update("0.2.0", &vec![7; 3_000_000])?;
        publisher.channel(&["add"], &[&update])?;
        Ok(publisher)
    }

    fn keys(&self) -> Outcome<Keys> {
        Ok(Keys::open(&self.home.path().join("keys"))?)
    }

    /// `homebolt channel <verb> <folder> <rest>`.
    fn channel(&self, verb: &[&str], rest: &[&Path]) -> Outcome {
        let (public, keys) = (self.home.path().join("public"), self.home.path().join("keys"));
        let mut words: Vec<PathBuf> = vec!["homebolt".into()];
        words.extend(verb.iter().map(PathBuf::from));
        words.push(public);
        words.extend(rest.iter().map(|path| path.to_path_buf()));
        words.extend(["--keys".into(), keys]);
        Ok(homebolt::channel::run(Words::try_parse_from(words)?.args)?)
    }

    /// What `homebolt bundle` writes, with a bundle that only the fake root takes; gives the description's path.
    fn update(&self, version: &str, bundle: &[u8]) -> Outcome<PathBuf> {
        let name = format!("homebolt-{version}-x86-64.raucb");
        let path = self.home.path().join(&name);
        fs::write(&path, bundle)?;
        let sum = homebolt::image::sum(&path)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let release = Release {
            version: version.into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1_700_000_001,
            lnd_version: "v0.22.0-beta".into(),
            development_keys: false,
            eeprom: None,
        };
        let notes =
            [("en", "Payments are found faster.\nThe page of channels is easier to read on a phone."), ("de", "Neu.")];
        let update = Update {
            format: UPDATE_FORMAT,
            release,
            bundle: Image { name, size: sum.size, sha256: sum.sha256 },
            root_hash: "ab".repeat(32),
            one_way: false,
            least_version: None,
            notes: Texts::from(notes.map(|(language, text)| (language.to_owned(), text.to_owned()))),
            made: now - 60,
            expires: now + 86_400,
        };
        let signed = self.keys()?.signer()?.sign(Purpose::Update, serde_json::to_string(&update)?)?;
        let path = self.home.path().join(format!("homebolt-{version}-x86-64.update.json"));
        fs::write(&path, serde_json::to_vec(&signed)?)?;
        Ok(path)
    }

    /// Makes the manager believe these keys.
    fn trust(&self, manager: &Manager) -> Outcome {
        Ok(fs::write(manager.folder().join("keyring.pem"), self.keys()?.keyring()?.0)?)
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.shelf.port)
    }
}

/// How far an update is, as root reports it. `history` are the attempts that have ended.
fn job(manager: &Manager, stage: &str, percent: u8, error: &str, history: &Value) -> Outcome {
    let job = json!({
        "id": "1", "version": "0.2.0", "from": "0.1.0", "lnd": "v0.22.0-beta", "one_way": true, "slot": "B", "stage": stage,
        "percent": percent, "said": "Copying image to rootfs.1", "error": error, "tries": 1,
        "begun": 1_763_740_000, "at": 4_000_000_000_u64, "root_hash": "ab".repeat(32),
    });
    manager
        .replace("update.json", &json!({ "job": job, "history": history, "failed": [], "fence": null, "database": 0 }))
}

fn open(manager: &Manager, browser: &Browser, path: &str) -> Outcome {
    browser.open(&format!("{}{path}", manager.tls().origin()))?;
    browser.wait_for(path)
}

fn unfold(browser: &Browser) -> Outcome {
    browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)").map(|_| ())
}

fn from_channel(
    manager: &Manager,
    browser: &Browser,
    publisher: &Publisher,
    root: &FakeRoot,
    gallery: &mut Gallery,
) -> Outcome {
    manager
        .replace("update.json", &json!({ "job": null, "history": [], "failed": [], "fence": null, "database": 0 }))?;
    open(manager, browser, PATH)?;
    browser.wait_for_text("main", "No channel is set")?;
    gallery.look(browser, "updates-none")?;
    unfold(browser)?;
    gallery.look(browser, "updates-open")?;
    browser.fill("#url", "http://updates.example")?;
    browser.click("#set button")?;
    browser.wait_for_text("#set-complaint", "Without TLS")?;
    gallery.ignore(browser)?;
    browser.fill("#url", &publisher.address())?;
    browser.click("#home")?;
    browser.click("#set button")?;
    browser.wait_for_text("main", &publisher.address())?;
    browser.click("form[action='/settings/updates/look'] button")?;
    browser.wait_for_text("main", "Payments are found faster.")?;
    let text = browser.text("main")?;
    for part in ["Version 0.2.0", "0.22.0-beta", "3.0 MB", "None. Once its Lightning has started", "Install 0.2.0"] {
        ensure!(text.contains(part), "{part} is not on the page: {text}");
    }
    unfold(browser)?;
    gallery.look(browser, "updates-offer")?;
    open(manager, browser, "/home")?;
    browser.wait_for_text("#problems", "Version 0.2.0 is there")?;
    gallery.look(browser, "home-update")?;
    browser.click("#alert-update-new a")?;
    browser.wait_for(PATH)?;
    browser.click("form[action='/settings/updates/install'] button")?;
    until(Duration::from_secs(30), || {
        let asked = root.asked();
        let (name, content) = asked.last().cloned().unwrap_or_default();
        ensure!(name == "update-install", "root was asked for {asked:?}");
        let content: Value = serde_json::from_str(&content)?;
        let url = format!("{}files/homebolt-0.2.0-x86-64.raucb", publisher.address());
        ensure!(
            content == json!({ "source": { "url": url }, "older": false, "by_hand": true }),
            "root is told {content}"
        );
        Ok(())
    })?;
    let handed = fs::read(manager.folder().join("data/update/update.json"))?;
    let update = Update::open(&handed, &publisher.keys()?.keyring()?.1)?;
    ensure!(update.release.version == "0.2.0", "root is handed {}", update.release.version);
    browser.wait_for(PATH)?;
    browser.wait_for_text("#update", "is being checked")?;
    ensure!(!browser.has("input[type=file]"), "the page shows forms beside the progress");
    job(manager, "installing", 42, "", &json!([]))?;
    browser.wait_for_text("#update", "42 %")?;
    gallery.look(browser, "updates-installing")?;
    job(manager, "installing", 77, "", &json!([]))?;
    browser.wait_for_text("#update", "77 %")?;
    job(manager, "installed", 100, "", &json!([]))?;
    browser.wait_for_text("main", "Restart now into the new version")?;
    gallery.look(browser, "updates-installed")?;
    browser.click("form[action='/settings/updates/restart'] button")?;
    browser.wait_for_text("h1", "The box restarts")?;
    let asked = root.asked();
    ensure!(asked.last().is_some_and(|(name, _)| name == "update-restart"), "root was asked for {asked:?}");
    job(manager, "trying", 100, "", &json!([]))?;
    open(manager, browser, PATH)?;
    browser.wait_for_text("#update", "is being tried")
}

fn fall_back(manager: &Manager, browser: &Browser, gallery: &mut Gallery) -> Outcome {
    let folder = manager.run_file("failed/B-0001");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("why.txt"), "gate:https: the manager did not answer within 30 seconds\n".repeat(3))?;
    fs::write(
        folder.join("kernel.txt"),
        "[    1.000000] <b>Kernel panic</b> - not syncing: a line that is long enough to be moved sideways within its own frame and not with the page\n",
    )?;
    let reason = "its health gate failed three times: the manager did not answer over HTTPS";
    let history = json!([
        { "version": "0.2.0", "from": "0.1.0", "at": 1_763_740_500, "stage": "fellback", "reason": reason, "evidence": "B-0001" },
        { "version": "0.1.9", "from": "0.1.0", "at": 1_763_700_000, "stage": "refused", "reason": "it is signed with another key", "evidence": null },
        { "version": "0.1.0", "from": "0.0.9", "at": 1_763_600_000, "stage": "committed", "reason": "", "evidence": null },
    ]);
    job(manager, "fellback", 100, reason, &history)?;
    browser.wait_for_text("#update", "Version 0.2.0 was tried, and 0.1.0 came back.")?;
    open(manager, browser, PATH)?;
    browser.wait_for_text("main", "Its health gate failed three times")?;
    gallery.look(browser, "updates-fellback")?;
    browser.click("a[href$='/failed/B-0001']")?;
    browser.wait_for_text("main", "<b>Kernel panic</b>")?;
    gallery.look(browser, "updates-failed-logs")?;
    open(manager, browser, "/home")?;
    browser.wait_for_text("#problems", "did not start well, and the one before runs again")
}

fn back_and_reset(manager: &Manager, browser: &Browser, root: &FakeRoot, gallery: &mut Gallery) -> Outcome {
    open(manager, browser, PATH)?;
    unfold(browser)?;
    browser.fill("#back", "0.3.0")?;
    browser.click("form[action='/settings/updates/switch'] button")?;
    browser.wait_for_text("#updates-complaint", "is not the version of the other system")?;
    gallery.ignore(browser)?;
    open(manager, browser, "/settings/reset")?;
    gallery.look(browser, "reset")?;
    browser.fill("#serial", "ANOTHER")?;
    browser.click("main form button")?;
    browser.wait_for_text("#reset-complaint", "TEST-1")?;
    gallery.ignore(browser)?;
    gallery.look(browser, "reset-refused")?;
    browser.fill("#serial", "TEST-1")?;
    browser.click("main form button")?;
    browser.wait_for_text("h1", "The box restarts")?;
    let asked = root.asked();
    let (name, content) = asked.last().cloned().unwrap_or_default();
    ensure!(name == "factory-reset" && content == r#"{"serial":"TEST-1","sure":""}"#, "root was asked for {asked:?}");
    ensure!(!asked.iter().any(|(name, _)| name == "slot-switch"), "root was asked to go back");
    Ok(())
}

/// `looker` runs scripts, which the checker for accessibility needs.
fn by_upload(
    manager: &Manager,
    (browser, looker): (&Browser, &Browser),
    publisher: &Publisher,
    root: &FakeRoot,
    gallery: &mut Gallery,
) -> Outcome {
    manager
        .replace("update.json", &json!({ "job": null, "history": [], "failed": [], "fence": null, "database": 0 }))?;
    let description = publisher.update("0.2.1", &vec![9; 30_000_000])?;
    let bundle = description.with_file_name("homebolt-0.2.1-x86-64.raucb");
    let other = description.with_file_name("homebolt-0.2.0-x86-64.raucb");
    let upload = |bundle: &Path| -> Outcome {
        open(manager, browser, PATH)?;
        if !browser.has("details[open]:has(#bundle)") {
            browser.click("details:has(#bundle) summary")?;
        }
        browser.attach("#description", &description)?;
        browser.attach("#bundle", bundle)?;
        browser.click("form[action$='/upload'] button")
    };
    upload(&other)?;
    browser.wait_for_text("#updates-complaint", "not the one that the description means")?;
    gallery.ignore(browser)?;
    let added = manager.growth(|| {
        upload(&bundle)?;
        browser.wait_for(PATH)?;
        browser.wait_for_text("main", "What was uploaded")
    })?;
    ensure!(added <= ADDED, "an upload of 30 MB adds {added} kB to the manager's memory");
    println!("        an upload of 30 MB adds {added} kB to the manager's memory");
    open(manager, looker, PATH)?;
    gallery.look(looker, "updates-uploaded")?;
    let kept = fs::metadata(manager.folder().join("data/update/bundle.raucb"))?.len();
    ensure!(kept == 30_000_000, "{kept} bytes are kept");
    browser.click("form[action$='/install']:has(input[value='upload']) button")?;
    browser.wait_for_text("#update", "is being checked")?;
    until(Duration::from_secs(30), || {
        let asked = root.asked();
        let content = asked.last().map(|(_, content)| content.clone()).unwrap_or_default();
        ensure!(content.contains(r#""source":"upload""#), "root was asked for {asked:?}");
        Ok(())
    })?;
    job(manager, "installing", 10, "", &json!([]))?;
    browser.wait_for_text("#update", "10 %")?;
    // Without scripts the page asks for itself again.
    job(manager, "installing", 90, "", &json!([]))?;
    browser.wait_for_text("#update", "90 %")?;
    open(manager, looker, "/settings/updates/stick")?;
    gallery.look(looker, "updates-stick")
}

/// Agrees to whatever the manager asks, for as long as this value lives.
struct FakeRoot {
    stop: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeRoot {
    /// `folder`: the manager's, with `run` in it.
    fn start(folder: &Path) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let thread = thread::spawn({
            let (run, stop, asked) = (folder.join("run"), stop.clone(), Arc::clone(&asked));
            move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Acquire) {
                    look(&run, &asked, &mut number);
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
        Self { stop, asked, thread: Some(thread) }
    }

    /// Names and contents, in order.
    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }
}

impl Drop for FakeRoot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn look(run: &Path, asked: &Mutex<Vec<(String, String)>>, number: &mut u64) {
    for name in ["update-install", "update-cancel", "update-restart", "slot-switch", "factory-reset"] {
        let path = run.join("manager/request").join(name);
        let Ok(content) = fs::read_to_string(&path) else { continue };
        let _ = fs::remove_file(&path);
        if let Ok(mut asked) = asked.lock() {
            asked.push((name.to_owned(), content));
        }
        if name == "update-install" {
            let report = json!({ "job": { "id": "1", "version": "0.2.0", "stage": "checking" }, "database": 0 });
            let new = run.join(".update.new");
            let _ = fs::write(&new, report.to_string()).and_then(|()| fs::rename(&new, run.join("update.json")));
        }
        *number += 1;
        let answer =
            json!({ "name": name, "ok": true, "message": "It has begun.", "at": 0, "done": true, "number": *number });
        let new = run.join(".result.new");
        let _ = fs::write(&new, answer.to_string()).and_then(|()| fs::rename(&new, run.join("request-result.json")));
    }
}
