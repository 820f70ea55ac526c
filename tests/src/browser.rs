//! A real Chromium without a window, driven through ChromeDriver.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use fantoccini::{Client, ClientBuilder, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::report::{Fault, Outcome, ensure, fails, program, skip, until};

/// A page of the emulated box takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// ChromeDriver, on a port of its own. Ends with this value.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    pub(crate) fn start(log: &Path) -> Outcome<Self> {
        for name in ["chromium", "chromedriver"] {
            if program(name).is_none() {
                return skip(format!("{name} is not installed: scripts/setup test"));
            }
        }
        let port = homebolt::qemu::free_port()?;
        let log = File::create(log)?;
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let driver = Self { child, port };
        until(Duration::from_secs(20), || {
            let answer = crate::http::Client::plain(port).get("/status")?;
            ensure!(answer.text().contains("\"ready\":true"), "ChromeDriver is not ready: {}", answer.text());
            Ok(())
        })?;
        Ok(driver)
    }

    /// Opens a browser with an empty profile. Without `scripts` pages get no JavaScript, as in a browser that forbids it.
    pub(crate) fn open(&self, scripts: bool) -> Outcome<Browser> {
        self.begin(scripts, "en-US,en")
    }

    /// The same, with scripts, for a person whose browser asks for these languages.
    pub(crate) fn open_in(&self, languages: &str) -> Outcome<Browser> {
        self.begin(true, languages)
    }

    fn begin(&self, scripts: bool, languages: &str) -> Outcome<Browser> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let profile = tempfile::Builder::new().prefix("homebolt-browser-").tempdir()?;
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--window-size=1280,800",
            &format!("--accept-lang={languages}"),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let mut options = json!({ "args": arguments });
        if !scripts {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let capabilities = json!({
            "browserName": "chrome",
            // The box's certificate is its own; that it is the right one is tested elsewhere.
            "acceptInsecureCerts": true,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { return fails("capabilities are an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let address = format!("http://127.0.0.1:{}", self.port);
        let client = runtime.block_on(async { tokio::time::timeout(PATIENCE, builder.connect(&address)).await })??;
        Ok(Browser { runtime, client, profile })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One browser with one tab.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    profile: tempfile::TempDir,
}

/// A command of WebDriver below the session's address.
#[derive(Debug)]
struct Raw {
    path: String,
    body: Option<Value>,
}

impl WebDriverCompatibleCommand for Raw {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        match &self.body {
            Some(body) => (http::Method::POST, Some(body.to_string())),
            None => (http::Method::GET, None),
        }
    }
}

impl Browser {
    /// Where it keeps what it keeps: history, caches.
    pub(crate) fn profile(&self) -> &Path {
        self.profile.path()
    }

    fn command(&self, path: impl Into<String>, body: Option<Value>) -> Outcome<Value> {
        let command = Raw { path: path.into(), body };
        let outcome =
            self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.client.issue_cmd(command)).await })?;
        Ok(outcome?)
    }

    pub(crate) fn open(&self, url: &str) -> Outcome {
        self.command("url", Some(json!({ "url": url }))).map(|_| ())
    }

    pub(crate) fn url(&self) -> Outcome<String> {
        Ok(self.command("url", None)?.as_str().unwrap_or_default().to_owned())
    }

    /// The path of the page that is open.
    pub(crate) fn path(&self) -> Outcome<String> {
        Ok(url::Url::parse(&self.url()?)?.path().to_owned())
    }

    /// Runs a script in the page and gives what it returns.
    pub(crate) fn run(&self, script: &str) -> Outcome<Value> {
        self.command("execute/sync", Some(json!({ "script": script, "args": [] })))
    }

    /// A command of the browser's own protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Outcome<Value> {
        self.command("goog/cdp/execute", Some(json!({ "cmd": command, "params": parameters })))
    }

    fn element(&self, css: &str) -> Outcome<String> {
        let found = self.command("element", Some(json!({ "using": "css selector", "value": css })));
        match found {
            Ok(found) => Ok(found[ELEMENT].as_str().unwrap_or_default().to_owned()),
            Err(_) => fails(format!("{} has no {css}", self.url().unwrap_or_default())),
        }
    }

    /// The text a person sees in an element.
    pub(crate) fn text(&self, css: &str) -> Outcome<String> {
        let element = self.element(css)?;
        Ok(self.command(format!("element/{element}/text"), None)?.as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn has(&self, css: &str) -> bool {
        self.element(css).is_ok()
    }

    pub(crate) fn fill(&self, css: &str, text: &str) -> Outcome {
        let element = self.element(css)?;
        self.command(format!("element/{element}/clear"), Some(json!({})))?;
        self.command(format!("element/{element}/value"), Some(json!({ "text": text }))).map(|_| ())
    }

    /// Chooses a file in a field for files.
    pub(crate) fn attach(&self, css: &str, file: &Path) -> Outcome {
        let element = self.element(css)?;
        let text = file.display().to_string();
        self.command(format!("element/{element}/value"), Some(json!({ "text": text }))).map(|_| ())
    }

    pub(crate) fn click(&self, css: &str) -> Outcome {
        let element = self.element(css)?;
        self.command(format!("element/{element}/click"), Some(json!({}))).map(|_| ())
    }

    /// Clicks what sends a form, and waits for the page that answers it: to go elsewhere before that takes the form back.
    pub(crate) fn submit(&self, css: &str) -> Outcome {
        self.run("window.isOld = true")?;
        self.click(css)?;
        until(PATIENCE, || {
            let is_new = self.run("return !window.isOld && document.readyState === 'complete'")?;
            ensure!(is_new == Value::Bool(true), "the form of {css} is not answered");
            Ok(())
        })
    }

    /// Presses keys one after the other, wherever the focus is. `\u{e004}` is Tab, `\u{e007}` is Enter.
    pub(crate) fn keys(&self, keys: &str) -> Outcome {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key.to_string() }),
                    json!({ "type": "keyUp", "value": key.to_string() }),
                ]
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.command("actions", Some(actions)).map(|_| ())
    }

    /// Waits until the page at that path is open and whole.
    pub(crate) fn wait_for(&self, path: &str) -> Outcome {
        until(PATIENCE, || {
            let now = self.path()?;
            ensure!(now == path, "the browser is at {now}, not at {path}");
            ensure!(self.has("h1"), "{path} is not there yet");
            Ok(())
        })
    }

    /// Waits until an element shows that text.
    pub(crate) fn wait_for_text(&self, css: &str, text: &str) -> Outcome {
        until(PATIENCE, || {
            let seen = self.text(css)?;
            ensure!(seen.contains(text), "{css} shows {seen:?}, without {text:?}");
            Ok(())
        })
    }

    /// A screen of that size, in points.
    pub(crate) fn resize(&self, size: Size) -> Outcome {
        let metrics = json!({
            "width": size.width, "height": size.height, "deviceScaleFactor": 1, "mobile": size.width < 600,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).map(|_| ())
    }

    /// The owner prefers dark pages, or light ones.
    pub(crate) fn prefer(&self, scheme: &str) -> Outcome {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", features).map(|_| ())
    }

    /// A picture of the whole page, not only of the part one sees without scrolling.
    pub(crate) fn picture(&self, to: &Path) -> Outcome {
        let answer =
            self.devtools("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }))?;
        let data = STANDARD.decode(answer["data"].as_str().unwrap_or_default())?;
        Ok(fs::write(to, data)?)
    }

    /// What the console of the browser has collected since the last call, warnings and errors only.
    pub(crate) fn complaints(&self) -> Outcome<Vec<String>> {
        let entries = self.command("se/log", Some(json!({ "type": "browser" })))?;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let loud = entries.iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        Ok(loud.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Evaluates an expression past the page's content policy and waits for its promise.
    pub(crate) fn evaluate(&self, expression: &str) -> Outcome<Value> {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.devtools("Runtime.evaluate", parameters)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            return Err(Fault::Fails(format!("a script failed: {exception}")));
        }
        Ok(answer["result"]["value"].take())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = self.client.clone().close();
        let _ = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), close).await });
    }
}

/// Width and height of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    width: u32,
    height: u32,
}

/// A phone and a desk.
pub(crate) const SIZES: [Size; 2] =
    [Size { name: "phone", width: 390, height: 844 }, Size { name: "desktop", width: 1280, height: 800 }];
