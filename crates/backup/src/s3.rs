//! S3-compatible stores: requests signed with Signature Version 4 in their headers, path style.
//!
//! The signature is some sixty lines over ring's HMAC and checked against the examples in Amazon's documents; a library
//! for it signs URLs, whose dates a server does not compare with its clock in the same way.

use http_body_util::Full;
use hyper::{Method, Request, StatusCode, body::Bytes};
use ring::hmac;
use time::{OffsetDateTime, format_description::StaticFormatDescription};
use url::Url;

use crate::{
    Error, Hash,
    config::S3,
    http::{Client, Reply, reason},
    scb::MAX_BYTES,
    store::{Answer, Store, TestFile},
    xml,
};

/// Limit for a page of a list: 1,000 entries with their details.
const LIST_BYTES: usize = 4 << 20;
/// Limit for the pages of a list, against a server that never ends: two million copies.
const PAGES: usize = 2_000;

const STAMP: StaticFormatDescription = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");

/// The folder `prefix` in a bucket.
#[derive(Debug)]
pub(crate) struct S3Store {
    config: S3,
    client: Client,
    /// `host[:port]` as the signature has it.
    authority: String,
    /// Path of the bucket, escaped, without a slash at its end.
    base: String,
    /// Empty, or with a slash at its end.
    prefix: String,
}

impl S3Store {
    pub(crate) fn open(config: &S3) -> Result<Self, Error> {
        let setting = |what, why: &str| Error::Setting { what, why: why.to_owned() };
        let url = Url::parse(config.endpoint.trim()).map_err(|error| setting("the endpoint", &error.to_string()))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(setting("the endpoint", "it begins with neither https:// nor http://"));
        }
        let bucket = config.bucket.trim();
        if bucket.is_empty() || !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
            return Err(setting("the bucket", "it has letters that no bucket has"));
        }
        let client = Client::new(&url, config.ca.clone())?;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", client.host()),
            None => client.host().to_owned(),
        };
        let prefix = config.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let base = format!("{}/{bucket}", url.path().trim_end_matches('/'));
        Ok(Self { config: config.clone(), client, authority, base, prefix })
    }

    fn place(&self) -> String {
        format!("the bucket {}", self.config.bucket)
    }

    async fn send(
        &mut self,
        method: Method,
        name: Option<&str>,
        query: &[(&str, &str)],
        extra: &[(&'static str, &str)],
        body: &[u8],
    ) -> Result<Reply, Error> {
        let path = match name {
            Some(name) => format!("{}/{}", self.base, escape(&format!("{}{name}", self.prefix), true)),
            None => self.base.clone(),
        };
        let query = canonical_query(query);
        let now = OffsetDateTime::now_utc();
        let stamp = now.format(STAMP).map_err(|error| self.setting(&error))?;
        let hash = Hash::of(body).to_string();
        let mut headers =
            vec![("host", self.authority.as_str()), ("x-amz-content-sha256", &hash), ("x-amz-date", &stamp)];
        headers.extend(extra);
        headers.sort_unstable();
        let signing = Signing {
            region: &self.config.region,
            access_key: self.config.access_key.trim(),
            secret_key: self.config.secret_key.expose().trim(),
            stamp: &stamp,
        };
        let authorization = signing.authorization(method.as_str(), &path, &query, &headers, &hash);
        let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
        let mut request = Request::builder().method(method).uri(uri).header("authorization", authorization);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).map_err(|error| self.setting(&error))?;
        self.client.send(request, LIST_BYTES.max(MAX_BYTES)).await
    }

    fn setting(&self, error: &dyn std::error::Error) -> Error {
        Error::Setting { what: "the S3 account", why: error.to_string() }
    }

    /// The reply, if it is a success.
    fn check(&self, reply: Reply, action: &'static str) -> Result<Reply, Error> {
        if reply.status.is_success() {
            return Ok(reply);
        }
        let host = self.client.host().to_owned();
        let error = xml::s3_error(&reply.body);
        Err(match (error.code.as_str(), reply.status) {
            ("RequestTimeTooSkewed", _) => Error::ClockSkew {
                host,
                ours: OffsetDateTime::now_utc().format(STAMP).unwrap_or_default(),
                theirs: reply.header("date").unwrap_or("not said").to_owned(),
            },
            // The second is the Versity gateway's.
            ("InvalidAccessKeyId" | "XAdminUserNotFound", _) => {
                Error::Login { host, user: self.config.access_key.clone(), what: "access key" }
            }
            ("SignatureDoesNotMatch", _) => {
                Error::Login { host, user: self.config.access_key.clone(), what: "secret key" }
            }
            ("NoSuchBucket", _) => Error::NoPlace { host, place: format!("bucket {}", self.config.bucket) },
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _)
                if error.region.is_some() =>
            {
                Error::WrongRegion { bucket: self.config.bucket.clone(), region: error.region.unwrap_or_default() }
            }
            ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _)
            | (_, StatusCode::INSUFFICIENT_STORAGE) => Error::Full { place: self.place() },
            ("AccessDenied" | "AllAccessDisabled" | "MethodNotAllowed", _) | (_, StatusCode::FORBIDDEN) => {
                Error::Denied { action, place: self.place() }
            }
            ("", status) if status.is_redirection() => {
                Error::Moved { host, to: reply.header("location").unwrap_or("another address").to_owned() }
            }
            ("", _) => Error::Answer { host, action, what: reason(&reply) },
            (code, _) => Error::Answer { host, action, what: format!("{code}: {}", error.message) },
        })
    }

    async fn list(&mut self) -> Result<Vec<String>, Error> {
        let (mut names, mut next) = (Vec::new(), None::<String>);
        let prefix = self.prefix.clone();
        for _ in 0..PAGES {
            let mut query = vec![("delimiter", "/"), ("list-type", "2"), ("prefix", prefix.as_str())];
            query.extend(next.as_deref().map(|token| ("continuation-token", token)));
            let reply = self.send(Method::GET, None, &query, &[], b"").await?;
            let reply = self.check(reply, "list the files")?;
            let page = xml::page(&reply.body).map_err(|error| Error::Answer {
                host: self.client.host().to_owned(),
                action: "list the files",
                what: error.to_string(),
            })?;
            names.extend(page.keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(names)
    }

    async fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        // The store takes a body whole or not at all. Those that do not know the condition either refuse it, or ignore
        // it: then the name, which holds time and hash, must do.
        let once = [("if-none-match", "*")];
        let mut reply = self.send(Method::PUT, Some(name), &[], &once, bytes).await?;
        if reply.status == StatusCode::NOT_IMPLEMENTED {
            reply = self.send(Method::PUT, Some(name), &[], &[], bytes).await?;
        }
        if reply.status == StatusCode::PRECONDITION_FAILED {
            return Err(Error::Exists { name: name.to_owned(), place: self.place() });
        }
        self.check(reply, "write").map(drop)
    }
}

impl Store for S3Store {
    /// A bucket is the owner's to make, with its rules.
    fn prepare(&mut self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn names(&mut self) -> Answer<'_, Vec<String>> {
        Box::pin(self.list())
    }

    fn read<'a>(&'a mut self, name: &'a str) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            let reply = self.send(Method::GET, Some(name), &[], &[], b"").await?;
            self.check(reply, "read").map(|reply| reply.body.into())
        })
    }

    fn create<'a>(&'a mut self, name: &'a str, bytes: &'a [u8]) -> Answer<'a, ()> {
        Box::pin(self.put(name, bytes))
    }

    fn remove<'a>(&'a mut self, test: &'a TestFile) -> Answer<'a, ()> {
        Box::pin(async move {
            let reply = self.send(Method::DELETE, Some(test.name()), &[], &[], b"").await?;
            self.check(reply, "remove").map(drop)
        })
    }
}

/// What a signature is made with.
struct Signing<'a> {
    region: &'a str,
    access_key: &'a str,
    secret_key: &'a str,
    /// `20130524T000000Z`
    stamp: &'a str,
}

impl Signing<'_> {
    /// The `Authorization` header. `headers` are sorted, in lower case; `path` and `query` escaped; `hash` is the body's.
    fn authorization(&self, method: &str, path: &str, query: &str, headers: &[(&str, &str)], hash: &str) -> String {
        let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{hash}");
        let day = self.stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.stamp, Hash::of(request.as_bytes()));
        let first = format!("AWS4{}", self.secret_key);
        let key = [day, self.region, "s3", "aws4_request"]
            .iter()
            .fold(first.into_bytes(), |key, part| sign(&key, part.as_bytes()));
        let signature = hex::encode(sign(&key, text.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={signed},Signature={signature}", self.access_key)
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// Escapes as the signature wants it: all but letters, digits and `-._~`.
fn escape(text: &str, keep_slash: bool) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        b'/' if keep_slash => "/".to_owned(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut parts: Vec<(String, String)> =
        query.iter().map(|(name, value)| (escape(name, false), escape(value, false))).collect();
    parts.sort_unstable();
    parts.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the examples in Amazon's 'Authenticating Requests: Using the Authorization Header (Signature V4)'.
    const EXAMPLE: Signing<'_> = Signing {
        region: "us-east-1",
        access_key: "AKIAIOSFODNN7EXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        stamp: "20130524T000000Z",
    };
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");

    #[test]
    fn signatures_are_those_of_the_documents() {
        let get = [HOST, ("range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY), ("x-amz-date", EXAMPLE.stamp)];
        let header = EXAMPLE.authorization("GET", "/test.txt", "", &get, EMPTY);
        assert_eq!(
            header,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let plain = [HOST, ("x-amz-content-sha256", EMPTY), ("x-amz-date", EXAMPLE.stamp)];
        let query = canonical_query(&[("prefix", "J"), ("max-keys", "2")]);
        let header = EXAMPLE.authorization("GET", "/", &query, &plain, EMPTY);
        let signature = header.rsplit('=').next();
        assert_eq!(signature, Some("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
    }

    #[test]
    fn names_are_escaped_as_the_signature_wants_it() {
        assert_eq!(escape("a b/\u{e9}+~.bin", true), "a%20b/%C3%A9%2B~.bin");
        assert_eq!(canonical_query(&[("prefix", "a/b"), ("delimiter", "/")]), "delimiter=%2F&prefix=a%2Fb");
    }
}
