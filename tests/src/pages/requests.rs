//! The manager's answers, request by request.

use std::time::Duration;

use serde_json::json;

use crate::{
    http::{Client, Extra},
    manager::sound,
    report::{Outcome, Report, ensure, until},
    tls,
    visitor::{self, PASSWORD},
};

use super::Start;

pub(super) fn run(report: &mut Report, start: Start) {
    let Some(manager) = report.test("a new box answers HTTPS and shows its claim code", || {
        let manager = start(&sound())?;
        manager.code()?;
        Ok(manager)
    }) else {
        return;
    };
    let client = manager.tls();
    report.test("port 80 serves the trust page and the certificate, and leads everything else to HTTPS", || {
        port_80(&manager.plain())
    });
    report.test("the trust page shows the six words of the console", || {
        trust_page(&client, &manager.screen()?.words())?;
        trust_page(&manager.plain(), &manager.screen()?.words())
    });
    report.test("the downloaded authority vouches for homelab.local, and can vouch for nothing outside", || {
        tls::chain(&client, manager.https(), &manager.screen()?.words())
    });
    report.test("before the claim every closed route is refused without a session", || {
        visitor::walk(&client, &manager.routes()?, None).map(|_| ())
    });
    report.test("who typed the code may set the password and nothing else", || {
        let claim = visitor::claim(&client, &manager.code()?)?;
        visitor::walk(&client, &manager.routes()?, Some(&claim))?;
        for (password, again) in
            [("short", "short"), ("passwordpassword", "passwordpassword"), (PASSWORD, "another one!!")]
        {
            let form = [("password", password), ("again", again)];
            let answer = client.with_session(&claim).post("/password", &form)?;
            ensure!(answer.status == 422, "the password {password:?} is answered by {}", answer.status);
        }
        let owner = visitor::set_password(&client, &claim)?;
        let answer = client.with_session(&owner).get("/home")?;
        ensure!(answer.status == 200, "the owner's home page answers {}", answer.status);
        let answer = client.with_session(&claim).get("/password")?;
        ensure!(answer.status == 303, "the claim's session still works: {}", answer.status);
        Ok(())
    });
    report.test("after the claim every closed route is refused without a session", || {
        visitor::walk(&client, &manager.routes()?, None).map(|_| ())
    });
    report.test("after the claim the code is gone from the console and good for nothing", || {
        until(Duration::from_secs(5), || {
            let screen = manager.screen()?;
            ensure!(screen.code().is_none(), "the console still shows {:?}", screen.code());
            Ok(())
        })?;
        let answer = client.get("/claim")?;
        ensure!(answer.status == 303 && answer.location() == "/sign-in", "/claim answers {}", answer.status);
        Ok(())
    });
    report.test("a form of another site is refused, with the owner's session, too", || foreign_forms(&client));
    report.test("a session ends with the sign-out", || {
        let owner = client.with_session(&visitor::sign_in(&client)?);
        let answer = owner.post("/sign-out", &[])?;
        ensure!(answer.status == 303 && answer.location() == "/sign-in", "the sign-out answers {}", answer.status);
        let answer = owner.get("/home")?;
        ensure!(answer.status == 303, "after the sign-out the home page answers {}", answer.status);
        Ok(())
    });
    report.test("wrong passwords are slowed down and do not lock the owner out for good", || {
        let mut refused = 0;
        for _ in 0..7 {
            let answer = client.post("/sign-in", &[("password", "not the password")])?;
            ensure!(matches!(answer.status, 403 | 429), "a wrong password is answered by {}", answer.status);
            refused += usize::from(answer.status == 429);
        }
        ensure!(refused > 0, "seven wrong passwords in a row were all tried");
        until(Duration::from_secs(40), || visitor::sign_in(&client)).map(|_| ())
    });
    for (state, title) in [
        ("missing", "The data partition is missing"),
        ("foreign", "The data partition holds something else"),
        ("damaged", "The data partition is damaged"),
    ] {
        report.test(&format!("with a {state} data partition the box says so and has no wizard"), || {
            let mut boot = sound();
            boot["data"] = json!({ "state": state, "detail": "What was found is told.", "serial": "S1", "model": "M" });
            let manager = start(&boot)?;
            recovery(&manager.tls(), title, "What was found is told.")?;
            let screen = manager.screen()?;
            ensure!(screen.0.contains(title), "the console does not say it:\n{}", screen.0);
            Ok(())
        });
    }
}

fn port_80(client: &Client) -> Outcome {
    for path in ["/", "/trust"] {
        let answer = client.get(path)?;
        ensure!(answer.status == 200 && answer.text().contains("fingerprint"), "{path} answers {}", answer.status);
    }
    let answer = client.get("/ca.crt")?;
    ensure!(answer.text().contains("BEGIN CERTIFICATE"), "/ca.crt answers {}", answer.status);
    for path in ["/home", "/claim", "/sign-in", "/healthz", "/static/x", "/no-such-page"] {
        let answer = client.get(path)?;
        let to = answer.location();
        ensure!(
            answer.status == 308 && to.starts_with("https://") && to.ends_with(path),
            "{path}: {} {to}",
            answer.status
        );
    }
    let answer = client.post("/claim", &[("code", "WRNG-WRNG")])?;
    ensure!(answer.status == 308, "a form sent to port 80 is answered by {}", answer.status);
    Ok(())
}

/// That the page of the certificate shows these words.
pub(crate) fn trust_page(client: &Client, words: &[String]) -> Outcome {
    let page = client.get("/trust")?.text();
    let list: String = words.iter().map(|word| format!("<li>{word}</li>")).collect();
    ensure!(words.len() == 6, "the console shows {} words", words.len());
    ensure!(page.contains(&list), "the trust page does not show {words:?}");
    Ok(())
}

/// That the page of a box without usable data says what is wrong, and that nothing else is there.
pub(crate) fn recovery(client: &Client, title: &str, detail: &str) -> Outcome {
    let answer = client.get("/")?;
    let page = answer.text();
    ensure!(
        answer.status == 200 && page.contains(title),
        "the start page answers {}, without {title:?}",
        answer.status
    );
    ensure!(page.contains(detail), "the page does not say {detail:?}");
    ensure!(page.contains("data-retry") && page.contains("data-format"), "the page offers no way out");
    for path in ["/claim", "/sign-in", "/home", "/password"] {
        let answer = client.get(path)?;
        ensure!(answer.status == 503, "{path} answers {}, as if nothing were wrong", answer.status);
    }
    let form = [("action", "data-format"), ("code", "WRNG-WRNG"), ("confirm", "yes")];
    let answer = client.post("/recovery", &form)?;
    ensure!(answer.status == 422, "erasing without the serial number is answered by {}", answer.status);
    Ok(())
}

fn foreign_forms(client: &Client) -> Outcome {
    let owner = client.with_session(&visitor::sign_in(client)?);
    let form = [("password", PASSWORD), ("again", PASSWORD), ("old", PASSWORD)];
    let origins: [&[(&str, &str)]; 4] = [
        &[("Origin", "https://evil.example")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", "null")],
        // Neither header, as an old browser or a program: the form's own token is missing.
        &[],
    ];
    for headers in origins {
        for path in ["/settings/sessions", "/settings/password", "/restart", "/sign-out"] {
            let answer = owner.send("POST", path, &Extra { headers, form: &form })?;
            ensure!(answer.status == 403, "{path} with {headers:?} is answered by {}", answer.status);
        }
    }
    let answer = owner.get("/home")?;
    ensure!(answer.status == 200, "the session did not survive the refused forms: {}", answer.status);
    Ok(())
}

pub(super) fn power_cuts(report: &mut Report, start: Start) {
    report.test("a power cut at each step of the wizard loses nothing", || {
        let mut manager = start(&sound())?;
        let client = manager.tls();
        let words = manager.screen()?.words();

        manager.cut_and_restart()?;
        ensure!(manager.screen()?.words() == words, "the certificate is another one after the cut");
        let claim = visitor::claim(&client, &manager.code()?)?;

        manager.cut_and_restart()?;
        let answer = client.with_session(&claim).get("/password")?;
        ensure!(answer.status == 200, "after the cut the browser that typed the code gets {}", answer.status);
        let answer = client.get("/")?;
        ensure!(answer.location() == "/claim", "another browser is led to {}", answer.location());
        let owner = visitor::set_password(&client, &claim)?;

        manager.cut_and_restart()?;
        let answer = client.with_session(&owner).get("/home")?;
        ensure!(answer.status == 200, "after the cut the owner's session gets {}", answer.status);
        visitor::sign_in(&client)?;
        ensure!(manager.screen()?.code().is_none(), "an owned box shows a claim code");
        ensure!(manager.screen()?.words() == words, "the certificate is another one after the cuts");
        Ok(())
    });
}
