//! The recovery's door: HTTP on port 80. Nobody can sign in here, so it does only what harms nobody: it shows why the box does
//! not start, takes a system that the publisher has signed, and tries again.

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread,
};

use tiny_http::{Header, Method, Request, Response, Server};

use super::{Shared, form, install, page};
use crate::{
    console::note,
    error::{At, Error},
};

/// So many visitors at a time: one may be uploading.
const VISITORS: usize = 4;

const SECURITY: [(&str, &str); 4] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
];

type Answer = Response<io::Cursor<Vec<u8>>>;

/// For both kinds of addresses; a kernel without the new ones has the old ones.
pub const DOORS: [&str; 2] = ["[::]:80", "0.0.0.0:80"];

/// Opens the first of the doors that can be, and returns it; visitors are let in by threads of their own.
pub fn open(shared: &Arc<Shared>, doors: &[&str]) -> Result<Option<SocketAddr>, Error> {
    let mut tried = doors.iter().map(Server::http);
    let server = tried.find(Result::is_ok).or_else(|| doors.last().map(Server::http));
    let server = server.unwrap_or_else(|| Err("no port is named".into()));
    let server = Arc::new(server.map_err(io::Error::other).at("open the port", doors.join(", "))?);
    let door = server.server_addr().to_ip();
    for _ in 0..VISITORS {
        let (server, shared) = (server.clone(), shared.clone());
        thread::spawn(move || {
            loop {
                match server.recv() {
                    Ok(request) => visit(request, &shared),
                    Err(error) => note(&format!("a visitor was lost: {error}")),
                }
            }
        });
    }
    Ok(door)
}

fn visit(mut request: Request, shared: &Arc<Shared>) {
    let answer = answer(&mut request, shared);
    // Who hangs up does not want it.
    let _ = request.respond(answer);
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Page,
    Bundle,
    Again,
    Nothing,
}

impl Wish {
    fn of(method: &Method, url: &str) -> Self {
        match (method, url.split('?').next().unwrap_or_default()) {
            (Method::Get | Method::Head, "/") => Self::Page,
            (Method::Post | Method::Put, "/bundle") => Self::Bundle,
            (Method::Post, "/again") => Self::Again,
            _ => Self::Nothing,
        }
    }
}

fn answer(request: &mut Request, shared: &Arc<Shared>) -> Answer {
    let wish = Wish::of(request.method(), request.url());
    if matches!(wish, Wish::Bundle | Wish::Again) && !is_own(head(request, "Origin"), head(request, "Host")) {
        return text(403, "A page of somebody else asked for this. Open this box's own page.");
    }
    match wish {
        Wish::Page => html(shared),
        Wish::Again => {
            shared.again();
            to_page()
        }
        Wish::Bundle => {
            let Some(busy) = shared.begin("The bundle is being received.") else {
                return text(409, "An installation goes on already.");
            };
            match receive(request, shared) {
                Ok(file) => busy.go_on(file),
                Err(sentence) => busy.fail(sentence),
            }
            to_page()
        }
        // Any other page of this address is this one: a browser that had the box's usual page open comes back here.
        Wish::Nothing if *request.method() == Method::Get => to_page(),
        Wish::Nothing => text(404, "There is nothing here."),
    }
}

/// Stores the bundle that is sent, as a form of a browser or bare.
fn receive(request: &mut Request, shared: &Shared) -> Result<PathBuf, String> {
    let length = request.body_length().ok_or("The length of the bundle was not said.")? as u64;
    let ground = shared.ground()?;
    let place = install::place(length, ground.data)?;
    let boundary = head(request, "Content-Type").and_then(|kind| form::boundary(&kind));
    let stored = store(request.as_reader(), boundary.as_deref(), &place);
    match stored {
        Ok(0) => Err("No file was chosen.".into()),
        Ok(_) => Ok(place),
        Err(error) => {
            let _ = std::fs::remove_file(&place);
            Err(format!("The bundle did not arrive: {error}."))
        }
    }
}

fn store(mut body: &mut dyn Read, boundary: Option<&str>, place: &PathBuf) -> io::Result<u64> {
    let mut file = File::create(place)?;
    let length = match boundary {
        Some(boundary) => form::file(&mut body, boundary, &mut file)?,
        None => io::copy(&mut body, &mut file)?,
    };
    file.sync_all()?;
    Ok(length)
}

fn head(request: &Request, name: &'static str) -> Option<String> {
    let header = request.headers().iter().find(|header| header.field.equiv(name))?;
    Some(header.value.as_str().to_owned())
}

/// Whether what changes something comes from our own page, or from no page at all.
fn is_own(origin: Option<String>, host: Option<String>) -> bool {
    match (origin, host) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin == format!("http://{host}"),
        (Some(_), None) => false,
    }
}

fn html(shared: &Shared) -> Answer {
    let answer = Response::from_data(page::html(&shared.view()).into_bytes());
    guarded(answer, "text/html; charset=utf-8")
}

fn text(status: u16, sentence: &str) -> Answer {
    guarded(Response::from_data(format!("{sentence}\n").into_bytes()), "text/plain; charset=utf-8")
        .with_status_code(status)
}

fn to_page() -> Answer {
    let answer = text(303, "See the page.");
    header("Location", "/").into_iter().fold(answer, Response::with_header)
}

fn guarded(answer: Answer, kind: &str) -> Answer {
    let kind = header("Content-Type", kind);
    let headers = SECURITY.iter().filter_map(|(name, value)| header(name, value)).chain(kind);
    headers.fold(answer, Response::with_header)
}

fn header(name: &str, value: &str) -> Option<Header> {
    Header::from_bytes(name, value).ok()
}

#[cfg(test)]
mod tests {
    use std::{io::Write, net::TcpStream};

    use super::*;
    use crate::recovery::page::Job;

    /// What a visitor gets who sends this.
    fn visit(door: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(door).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ask(door: SocketAddr, first: &str, more: &str) -> String {
        visit(door, &format!("{first} HTTP/1.1\r\nHost: box\r\nConnection: close\r\n{more}\r\n"))
    }

    #[test]
    fn a_visitor_sees_the_page_and_is_led_to_it_from_everywhere() {
        let shared = Arc::new(Shared::new("0.1.0".into(), false));
        let door = open(&shared, &["127.0.0.1:0"]).unwrap().unwrap();
        let page = ask(door, "GET /", "");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("<h1>Homebolt recovery</h1>"), "{page}");
        assert!(page.contains("default-src 'none'") && page.contains("text/html; charset=utf-8"), "{page}");
        let led = ask(door, "GET /sign-in", "");
        assert!(led.starts_with("HTTP/1.1 303") && led.contains("Location: /\r\n"), "{led}");
        assert!(ask(door, "DELETE /", "").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn before_the_disk_is_found_a_bundle_is_refused_with_the_reason() {
        let shared = Arc::new(Shared::new("0.1.0".into(), false));
        let door = open(&shared, &["127.0.0.1:0"]).unwrap().unwrap();
        let answer = ask(door, "PUT /bundle", "Content-Length: 4\r\n\r\nbare");
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        assert!(ask(door, "GET /", "").contains("The disk is still being looked for."));
        shared.change(|view| view.disk = Some("Nothing can be installed: it is gone.".into()));
        ask(door, "POST /again", "Content-Length: 0\r\n");
        assert_eq!(shared.view().job, Job::Failed("Nothing can be installed: it is gone.".into()));
    }

    #[test]
    fn one_thing_goes_on_at_a_time_and_a_page_of_somebody_else_begins_none() {
        let shared = Arc::new(Shared::new("0.1.0".into(), false));
        let door = open(&shared, &["127.0.0.1:0"]).unwrap().unwrap();
        let foreign = ask(door, "POST /again", "Origin: http://evil.example\r\nContent-Length: 0\r\n");
        assert!(foreign.starts_with("HTTP/1.1 403"), "{foreign}");
        assert_eq!(shared.view().job, Job::None);
        let _busy = shared.begin("Something goes on.");
        let second = ask(door, "PUT /bundle", "Content-Length: 4\r\n\r\nbare");
        assert!(second.starts_with("HTTP/1.1 409"), "{second}");
    }

    #[test]
    fn only_what_is_offered_can_be_asked_for() {
        assert_eq!(Wish::of(&Method::Get, "/?from=bookmark"), Wish::Page);
        assert_eq!(Wish::of(&Method::Put, "/bundle"), Wish::Bundle);
        assert_eq!(Wish::of(&Method::Get, "/again"), Wish::Nothing);
        assert_eq!(Wish::of(&Method::Post, "/"), Wish::Nothing);
    }

    #[test]
    fn a_page_of_somebody_else_changes_nothing() {
        let own = |origin: Option<&str>, host: Option<&str>| is_own(origin.map(Into::into), host.map(Into::into));
        assert!(own(None, Some("10.0.0.7")) && own(Some("http://10.0.0.7"), Some("10.0.0.7")));
        assert!(!own(Some("http://evil.example"), Some("10.0.0.7")) && !own(Some("null"), Some("10.0.0.7")));
        assert!(!own(Some("http://10.0.0.7"), None));
    }

    #[test]
    fn a_bundle_is_stored_bare_or_out_of_a_form() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("bundle");
        assert_eq!(store(&mut &b"bare"[..], None, &place).unwrap(), 4);
        assert_eq!(std::fs::read(&place).unwrap(), b"bare");
        let form = b"--X\r\nContent-Disposition: form-data; name=\"bundle\"; filename=\"b\"\r\n\r\nformed\r\n--X--\r\n";
        assert_eq!(store(&mut &form[..], Some("X"), &place).unwrap(), 6);
        assert_eq!(std::fs::read(&place).unwrap(), b"formed");
    }
}
