//! The wizard's pages as plain HTTP: no browser, no scripts.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::{
    backup::servers::{self, Server, fingerprint},
    bitcoind::node::Node,
    http::Client,
    report::{Outcome, ensure, fails, until},
    visitor,
};

/// For LND to start for the first time under emulation, beside other work.
const START: Duration = Duration::from_secs(600);
/// Name and password at bitcoind's door; the password is one that can be looked for.
const USER: &str = "homebolt";
pub(crate) const DOOR: &str = "the-door-of-bitcoind";

/// Language, time zone, name, network and disk as they are proposed.
pub(crate) fn first_steps(owner: &Client) -> Outcome {
    let page = owner.get("/setup/place")?.text();
    let field = page.split_once("id=\"name\"").and_then(|(_, rest)| rest.split_once("value=\""));
    let Some((name, _)) = field.and_then(|(_, rest)| rest.split_once('"')) else {
        return fails(format!("no name is proposed: {}", words_of(&page)));
    };
    let place = [("language", "en"), ("zone", "UTC"), ("name", name)];
    for (path, form) in [("/setup/place", &place[..]), ("/setup/network", &[]), ("/setup/disk/stay", &[])] {
        let answer = owner.post(path, form)?;
        ensure!(answer.status == 303, "{path} is answered by {}: {}", answer.status, visitor::complaint(&answer));
    }
    Ok(())
}

/// A form of the page `bitcoin`.
pub(crate) type Form = Vec<(&'static str, String)>;

/// The form with that bitcoind on regtest; `host` is how the box reaches it.
pub(crate) fn bitcoind(host: &str, node: &Node) -> Form {
    vec![
        ("backend", "bitcoind".into()),
        ("rpc", format!("{host}:{}", node.rpc)),
        ("user", USER.into()),
        ("password", DOOR.into()),
        ("zmq_block", format!("tcp://{host}:{}", node.blocks)),
        ("zmq_tx", format!("tcp://{host}:{}", node.transactions)),
        ("chain", "regtest".into()),
        ("fee_url", String::new()),
    ]
}

/// Sends the form of the page `bitcoin`; gives what the test says at its end.
pub(crate) fn tried(owner: &Client, form: &Form) -> Outcome<String> {
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = owner.post("/setup/bitcoin", &form)?;
    ensure!(
        answer.location() == "/setup/bitcoin/test",
        "the form is answered by {}: {}",
        answer.status,
        visitor::complaint(&answer)
    );
    until(Duration::from_secs(90), || {
        let page = owner.get("/setup/bitcoin/test")?.text();
        ensure!(!page.contains("data-poll"), "the test goes on: {}", words_of(&page));
        Ok(page)
    })
}

/// The same, and takes it.
pub(crate) fn bitcoin(owner: &Client, form: &Form) -> Outcome {
    let page = tried(owner, form)?;
    ensure!(page.contains("Everything that is needed works"), "the test says {}", words_of(&page));
    let answer = owner.post("/setup/bitcoin/use", &[])?;
    ensure!(answer.location() == "/setup/wallet", "it leads to {:?}", answer.location());
    Ok(())
}

/// Through the wallet's pages; gives the words.
pub(crate) fn seed(owner: &Client) -> Outcome<Vec<String>> {
    until(START, || {
        let page = owner.get("/setup/wallet")?.text();
        ensure!(page.contains("Make a seed"), "the page says {}", words_of(&page));
        Ok(())
    })?;
    // LND may still be on its way from one back end to another.
    until(START, || {
        let answer = owner.post("/setup/wallet/new", &[])?;
        ensure!(answer.location() == "/setup/wallet/words", "no seed: {}", visitor::complaint(&answer));
        Ok(())
    })?;
    let page = owner.get("/setup/wallet/words")?.text();
    let list = page.split_once("words seed\">").map_or("", |(_, rest)| rest);
    let list = list.split_once("</ol>").map_or("", |(list, _)| list);
    let words: Vec<String> =
        list.split("<li>").skip(1).filter_map(|item| item.split_once('<')).map(|(word, _)| word.to_owned()).collect();
    ensure!(words.len() == 24, "{} words are shown", words.len());
    owner.post("/setup/wallet/written", &[])?;
    let page = owner.get("/setup/wallet/words")?.text();
    let mut answers = Vec::new();
    for index in 0..4 {
        let label = format!("<label for=\"word{index}\">Word ");
        let number = page.split_once(&label).and_then(|(_, rest)| rest.split_once('<')).map(|(number, _)| number);
        let Some(number) = number.and_then(|number| number.trim().parse::<usize>().ok()) else {
            return fails(format!("word {index} is not asked for"));
        };
        answers.push((format!("word{index}"), words[number - 1].clone()));
    }
    let form: Vec<(&str, &str)> = answers.iter().map(|(name, word)| (name.as_str(), word.as_str())).collect();
    let answer = owner.post("/setup/wallet/check", &form)?;
    ensure!(answer.location() == "/setup/backup", "the right words are answered by {}", visitor::complaint(&answer));
    let answer = owner.post("/setup/backup/later", &[])?;
    ensure!(answer.location().starts_with("/setup"), "putting the backup off leads to {:?}", answer.location());
    Ok(words)
}

/// The last click; gives the time until the node runs.
pub(crate) fn apply(owner: &Client) -> Outcome<Duration> {
    let begun = Instant::now();
    owner.post("/setup/apply", &[])?;
    until(START, || {
        let page = owner.get("/setup/summary")?.text();
        ensure!(page.contains("Your node runs"), "the page says {}", words_of(&page));
        Ok(())
    })?;
    Ok(begun.elapsed())
}

/// Chooses an SFTP server as the place for the channel backup: the box's key is let in, the server's key is taken. `host`
/// is how the box reaches it.
pub(crate) fn sftp(owner: &Client, host: &str, server: &Server) -> Outcome {
    let page = owner.get("/setup/backup/sftp")?.text();
    let line = page.split_once("ssh-ed25519 ").and_then(|(_, rest)| rest.split_once('<')).map(|(line, _)| line);
    let Some(line) = line else { return fails(format!("the page shows no key of the box: {page}")) };
    fs::write(server.path().join("authorized_keys"), format!("ssh-ed25519 {line}\n"))?;
    let port = server.port.to_string();
    let form =
        [("host", host), ("port", port.as_str()), ("user", servers::USER), ("login", "key"), ("folder", "homebolt")];
    let answer = owner.post("/setup/backup/sftp", &form)?;
    ensure!(answer.status == 303, "the form is answered by {}: {}", answer.status, visitor::complaint(&answer));
    let test = |words: &str| {
        until(Duration::from_secs(90), || {
            let page = owner.get("/setup/backup/test")?.text();
            ensure!(page.contains(words), "the test does not say {words:?} but {}", words_of(&page));
            Ok(())
        })
    };
    test("Is it the right one?")?;
    let fingerprint = fingerprint(server.path(), "ed25519")?;
    owner.post("/setup/backup/host-key", &[("fingerprint", &fingerprint)])?;
    test("read back and found the same")?;
    let answer = owner.post("/setup/backup/use", &[])?;
    ensure!(answer.status == 303, "it is answered by {}: {}", answer.status, visitor::complaint(&answer));
    Ok(())
}

/// The readable part of a page.
pub(crate) fn words_of(page: &str) -> String {
    let main = page.split_once("<main").map_or(page, |(_, rest)| rest);
    let mut inside = false;
    let text: String = main
        .chars()
        .filter(|letter| {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                _ => return !inside,
            }
            false
        })
        .collect();
    text.chars().take(400).collect()
}
