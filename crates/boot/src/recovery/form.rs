//! Takes a file out of a form as a browser sends it (`multipart/form-data`, RFC 7578), piece by piece: it may be larger than the
//! memory.

use std::io::{self, Read, Write};

/// A part's head is never longer, bytes.
const LONGEST_HEAD: usize = 8 * 1024;
const PIECE: usize = 64 * 1024;

/// The boundary named in a `Content-Type`; `None` when it is no such form.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = rest.split(';').find_map(|word| word.trim().strip_prefix("boundary="))?;
    let value = value.trim_matches('"');
    (1..=70).contains(&value.len()).then(|| value.to_owned())
}

/// Copies the first file of the form to `out`; gives its length.
pub fn file(body: impl Read, boundary: &str, out: &mut impl Write) -> io::Result<u64> {
    let mut form = Form { body, buffer: Vec::new() };
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    // The first boundary has no line before it that it could end.
    form.buffer.extend_from_slice(b"\r\n");
    form.copy_to(&delimiter, &mut io::sink())?;
    loop {
        // After the last boundary stand two dashes instead of a part.
        let mut head = Limited { text: Vec::new() };
        form.copy_to(b"\r\n\r\n", &mut head)?;
        let head = String::from_utf8_lossy(&head.text).to_ascii_lowercase();
        if head.starts_with("--") {
            return Err(broken("there is no file in it"));
        }
        let is_file = head.lines().any(|line| line.starts_with("content-disposition:") && line.contains("filename="));
        if is_file {
            return form.copy_to(&delimiter, out);
        }
        form.copy_to(&delimiter, &mut io::sink())?;
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("what was sent is no form with a file: {why}"))
}

struct Form<R> {
    body: R,
    /// Read, and not taken yet.
    buffer: Vec<u8>,
}

impl<R: Read> Form<R> {
    /// Copies all before the delimiter and passes over that; gives how much it was.
    fn copy_to(&mut self, delimiter: &[u8], out: &mut impl Write) -> io::Result<u64> {
        let mut copied = 0;
        let mut piece = vec![0; PIECE];
        loop {
            if let Some(at) = find(&self.buffer, delimiter) {
                out.write_all(&self.buffer[..at])?;
                self.buffer.drain(..at + delimiter.len());
                return Ok(copied + at as u64);
            }
            // The delimiter may have begun.
            let safe = self.buffer.len().saturating_sub(delimiter.len() - 1);
            out.write_all(&self.buffer[..safe])?;
            self.buffer.drain(..safe);
            copied += safe as u64;
            match self.body.read(&mut piece)? {
                0 => return Err(broken("it ends too early")),
                length => self.buffer.extend_from_slice(&piece[..length]),
            }
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|&byte| byte == first).map(|at| at + from) {
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

struct Limited {
    text: Vec<u8>,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > LONGEST_HEAD {
            return Err(broken("a head in it has no end"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time, as a network does.
    struct Slowly<'a>(&'a [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(into.len());
            into[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn form(content: &[u8]) -> Vec<u8> {
        let head = "--XX\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--XX\r\nContent-Disposition: form-data; \
                    name=\"bundle\"; filename=\"a.raucb\"\r\nContent-Type: application/octet-stream\r\n\r\n";
        [head.as_bytes(), content, b"\r\n--XX--\r\n"].concat()
    }

    fn taken(body: &[u8], pace: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let length = file(Slowly(body, pace), "XX", &mut out)?;
        assert_eq!(length, out.len() as u64);
        Ok(out)
    }

    #[test]
    fn the_boundary_is_read_from_the_head() {
        assert_eq!(boundary("multipart/form-data; boundary=XX").as_deref(), Some("XX"));
        assert_eq!(boundary("Multipart/Form-Data; charset=x; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("application/octet-stream; boundary=XX"), None);
        assert_eq!(boundary("multipart/form-data; boundary="), None);
    }

    #[test]
    fn a_form_without_a_file_or_without_an_end_is_refused() {
        let refused = |body: &[u8]| taken(body, 7).unwrap_err().to_string();
        assert!(refused(b"--XX--\r\n\r\n\r\n").contains("no file"));
        assert!(refused(b"").contains("too early"));
        let whole = form(b"cut off");
        assert!(refused(&whole[..whole.len() - 12]).contains("too early"));
        let endless = [b"--XX\r\n".to_vec(), vec![b'a'; 100_000]].concat();
        assert!(refused(&endless).contains("no end"));
    }

    proptest! {
        #[test]
        fn a_file_comes_out_as_it_went_in(content in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'X')], 0..300), pace in 1_usize..50) {
            prop_assume!(!content.windows(6).any(|window| window == b"\r\n--XX"));
            prop_assert_eq!(taken(&form(&content), pace).unwrap(), content);
        }

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = taken(&body, 11);
        }
    }
}
