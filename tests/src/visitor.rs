//! What visitors do, with rights and without: the same on this computer and on the box.

use serde_json::Value;

use crate::{
    http::{Answer, Client, Extra},
    report::{Fault, Outcome, ensure, fails},
};

/// The password that tests choose.
pub(crate) const PASSWORD: &str = "seven quiet otters knit";

/// The wizard's first step behind the password.
pub(crate) const FIRST_STEP: &str = "/setup/place";

/// A token of the right form that no box ever gave out.
const FORGED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Types the claim code; gives the session that may set the password.
pub(crate) fn claim(client: &Client, code: &str) -> Outcome<String> {
    let answer = client.post("/claim", &[("code", code)])?;
    ensure!(
        answer.status == 303 && answer.location() == "/password",
        "the right code is answered by {} to {:?}: {}",
        answer.status,
        answer.location(),
        complaint(&answer)
    );
    session(&answer)
}

/// Sets the password; gives the owner's session.
pub(crate) fn set_password(client: &Client, claim: &str) -> Outcome<String> {
    let client = client.with_session(claim);
    let answer = client.post("/password", &[("password", PASSWORD), ("again", PASSWORD)])?;
    ensure!(answer.status == 303, "a good password is answered by {}: {}", answer.status, complaint(&answer));
    session(&answer)
}

/// Signs in; gives the owner's session.
pub(crate) fn sign_in(client: &Client) -> Outcome<String> {
    let answer = client.post("/sign-in", &[("password", PASSWORD)])?;
    ensure!(answer.status == 303, "the right password is answered by {}: {}", answer.status, complaint(&answer));
    session(&answer)
}

fn session(answer: &Answer) -> Outcome<String> {
    answer.session().ok_or_else(|| Fault::Fails(format!("the answer to {} begins no session", answer.location())))
}

/// What a form complains about, or how the page begins.
pub(crate) fn complaint(answer: &Answer) -> String {
    let text = answer.text();
    let from = text.find("role=\"alert\">").map_or(text.find("<h1>").unwrap_or_default(), |at| at + 13);
    text.get(from..).unwrap_or_default().chars().take(160).collect()
}

/// Five wrong codes, and what follows. The wizard is in its pause afterwards.
pub(crate) fn try_wrong_codes(client: &Client, right: &str) -> Outcome {
    for left in (1..5).rev() {
        let answer = client.post("/claim", &[("code", "WRNG-WRNG")])?;
        ensure!(answer.status == 403, "a wrong code with {left} left is answered by {}", answer.status);
        ensure!(answer.session().is_none(), "a wrong code begins a session");
    }
    let answer = client.post("/claim", &[("code", "WRNG-WRNG")])?;
    ensure!(answer.status == 429, "the fifth wrong code is answered by {}, not 429", answer.status);
    let answer = client.post("/claim", &[("code", right)])?;
    ensure!(answer.status == 429, "in the pause the right code is answered by {}, not 429", answer.status);
    let wait: u64 = answer.header("retry-after").unwrap_or_default().parse().unwrap_or_default();
    ensure!((30..=60).contains(&wait), "the pause is to last {wait} s, not a minute");
    Ok(())
}

/// Seconds left of the pause after wrong codes.
pub(crate) fn pause_left(client: &Client) -> Outcome<u64> {
    let answer = client.post("/claim", &[("code", "WRNG-WRNG")])?;
    Ok(answer.header("retry-after").unwrap_or_default().parse().unwrap_or_default())
}

/// One line of `homebolt-manager routes`.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    method: String,
    path: String,
    access: String,
}

fn parse(routes: &str) -> Outcome<Vec<Route>> {
    let mut parsed = Vec::new();
    for line in routes.lines().filter(|line| line.starts_with('{')) {
        let value: Value = serde_json::from_str(line)?;
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        parsed.push(Route { method: word("method"), path: word("path"), access: word("access") });
    }
    ensure!(parsed.len() > 5, "the manager lists only {} routes", parsed.len());
    ensure!(parsed.iter().any(|route| route.access == "owner"), "no route is the owner's");
    Ok(parsed)
}

/// Asks for every route that is not public, in every way that must not work. Gives the number of requests.
pub(crate) fn walk(client: &Client, routes: &str, claim_session: Option<&str>) -> Outcome<usize> {
    let mut wrong = Vec::new();
    let mut count = 0;
    for route in parse(routes)?.iter().filter(|route| route.access != "public") {
        let path = fill(&route.path);
        let mut visitors = vec![("no session", client.clone()), ("a forged session", client.with_session(FORGED))];
        // The claim's session is good for the password page only.
        if let Some(token) = claim_session.filter(|_| matches!(route.access.as_str(), "owner" | "key")) {
            visitors.push(("the claim's session", client.with_session(token)));
        }
        let mut methods = vec![route.method.as_str()];
        if route.method == "GET" {
            methods.push("HEAD");
        }
        for (who, visitor) in &visitors {
            for method in &methods {
                count += 1;
                let origin = visitor.origin();
                let extra = Extra { headers: &[("Origin", origin.as_str())], form: &[("password", PASSWORD)] };
                let answer = visitor.send(method, &path, &extra)?;
                if !is_refusal(&answer) {
                    wrong.push(format!("{method} {path} with {who}: {} {}", answer.status, answer.location()));
                }
            }
        }
    }
    // What does not exist is closed, too: nobody learns what exists.
    for path in ["/no-such-page", "/api/v1/state", "/static/../home", "/home/", "//home", "/HOME", "/home%2f"] {
        count += 1;
        let answer = client.get(path)?;
        if !is_refusal(&answer) && answer.status != 404 && answer.status != 400 {
            wrong.push(format!("GET {path} without a session: {} {}", answer.status, answer.location()));
        }
    }
    if wrong.is_empty() { Ok(count) } else { fails(wrong.join("\n")) }
}

/// A path of a route with its gaps filled.
pub(crate) fn fill(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect::<Vec<_>>().join("/")
}

fn is_refusal(answer: &Answer) -> bool {
    let door = answer.location().split('?').next().unwrap_or_default();
    match answer.status {
        401 | 403 => true,
        302 | 303 => matches!(door, "/sign-in" | "/claim" | "/password") && answer.session().is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: Vec::new() }
    }

    #[test]
    fn only_a_door_or_a_no_is_a_refusal() {
        for status in [401, 403] {
            assert!(is_refusal(&answer(status, &[])));
        }
        assert!(is_refusal(&answer(303, &[("location", "/sign-in?next=/audit")])));
        for (status, to) in
            [(200, ""), (204, ""), (303, "/home"), (303, ""), (404, ""), (500, ""), (303, "/sign-invalid")]
        {
            assert!(!is_refusal(&answer(status, &[("location", to)])), "{status} {to}");
        }
        let gives = [("location", "/sign-in"), ("set-cookie", "__Host-homebolt=token; Path=/")];
        assert!(!is_refusal(&answer(303, &gives)));
    }

    #[test]
    fn routes_are_read_and_their_gaps_filled() {
        let line =
            |path: &str, access: &str| format!(r#"{{"method":"GET","path":"{path}","access":"{access}"}}"#) + "\n";
        let text = line("/", "public").repeat(5) + &line("/jobs/{id}/log", "owner");
        let routes = parse(&text).unwrap();
        assert_eq!(routes.len(), 6);
        assert_eq!(fill(&routes[5].path), "/jobs/1/log");
        assert!(parse(&line("/", "public").repeat(9)).is_err(), "a table without closed routes proves nothing");
        assert!(parse("").is_err());
    }
}
