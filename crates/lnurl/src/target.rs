//! What a person types or scans to pay somebody without an invoice.

use std::{fmt, str::FromStr};

use bech32::{Bech32, primitives::decode::CheckedHrpstring};
use url::Url;

/// Longer ones are no addresses of people; browsers and servers end near this, too.
const LONGEST: usize = 2000;

/// Where to ask for the terms of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `ann@example.com` (LUD-16).
    Address(Address),
    /// An LNURL (LUD-01), or a link that begins with `lnurlp:` (LUD-17).
    Url(Url),
}

/// A Lightning address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    user: String,
    /// A host name, with a port where it is not 443.
    host: String,
}

/// What is neither. A sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// It does not look like one at all.
    #[error("this is no Lightning address and no LNURL")]
    Other,
    #[error("the LNURL is damaged: copy it again as a whole")]
    Damaged,
    #[error("the LNURL does not lead to an address that begins with https://")]
    NotHttps,
}

impl Target {
    /// What is asked first.
    pub fn url(&self) -> Url {
        match self {
            Self::Address(address) => address.url(),
            Self::Url(url) => url.clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            // The rest of it may be a secret of the receiver's.
            Self::Url(url) => formatter.write_str(url.host_str().unwrap_or_default()),
        }
    }
}

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(NoTarget::Other);
        }
        let text = strip(text, "lightning:").unwrap_or(text);
        if let Some(rest) = strip(text, "lnurlp:") {
            return https(&format!("https://{}", rest.trim_start_matches('/'))).map(Self::Url);
        }
        if strip(text, "lnurl1").is_some() {
            return bech32_url(text).map(Self::Url);
        }
        if strip(text, "https:").is_some() {
            // A link for browsers that has the LNURL in it (LUD-01).
            let url = Url::parse(text).map_err(|_| NoTarget::Other)?;
            let inside = url.query_pairs().find(|(name, _)| name.eq_ignore_ascii_case("lightning"));
            let (_, inside) = inside.ok_or(NoTarget::Other)?;
            return bech32_url(&inside).map(Self::Url);
        }
        text.parse().map(Self::Address)
    }
}

impl Address {
    fn url(&self) -> Url {
        // Both parts were checked by making this very address.
        Url::parse(&well_known(&self.user, &self.host)).unwrap_or_else(|_| unreachable_url())
    }
}

fn well_known(user: &str, host: &str) -> String {
    format!("https://{host}/.well-known/lnurlp/{user}")
}

/// Leads nowhere: `.invalid` is reserved for that.
fn unreachable_url() -> Url {
    #[expect(clippy::expect_used, reason = "a constant")]
    Url::parse("https://homebolt.invalid/").expect("an address")
}

impl FromStr for Address {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        let (user, host) = text.trim().split_once('@').ok_or(NoTarget::Other)?;
        let (user, host) = (user.to_lowercase(), host.to_lowercase());
        let is_user = (1..=64).contains(&user.len())
            && user.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.+".contains(&byte))
            && user != "."
            && user != "..";
        let is_host = !host.is_empty()
            && host.len() <= 260
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
        if !is_user || !is_host {
            return Err(NoTarget::Other);
        }
        let url = Url::parse(&well_known(&user, &host)).map_err(|_| NoTarget::Other)?;
        // `1` would be read as an address of the Internet's first days, `a:443` as `a`.
        let read = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let plain = host.strip_suffix(":443").unwrap_or(&host);
        if read != plain || url.path() != format!("/.well-known/lnurlp/{user}") {
            return Err(NoTarget::Other);
        }
        Ok(Self { user, host: read })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.user, self.host)
    }
}

fn bech32_url(text: &str) -> Result<Url, NoTarget> {
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| NoTarget::Damaged)?;
    if !checked.hrp().as_str().eq_ignore_ascii_case("lnurl") {
        return Err(NoTarget::Other);
    }
    let url = String::from_utf8(checked.byte_iter().collect()).map_err(|_| NoTarget::Damaged)?;
    https(&url)
}

fn https(text: &str) -> Result<Url, NoTarget> {
    let url = Url::parse(text).map_err(|_| NoTarget::Damaged)?;
    if url.scheme() == "https" && url.host_str().is_some() { Ok(url) } else { Err(NoTarget::NotHttps) }
}

fn strip<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.get(..start.len())?.eq_ignore_ascii_case(start).then(|| text.get(start.len()..)).flatten()
}

#[cfg(test)]
mod tests {
    use bech32::Hrp;
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Result<String, NoTarget> {
        text.parse::<Target>().map(|target| target.url().to_string())
    }

    fn encoded(url: &str) -> String {
        bech32::encode::<Bech32>(Hrp::parse("lnurl").unwrap(), url.as_bytes()).unwrap()
    }

    #[test]
    fn an_address_is_asked_at_its_well_known_place() {
        assert_eq!(url(" Ann.B+tips@Example.com ").unwrap(), "https://example.com/.well-known/lnurlp/ann.b+tips");
        assert_eq!(url("lightning:ann@example.com:8443").unwrap(), "https://example.com:8443/.well-known/lnurlp/ann");
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        // LUD-01's own.
        let text = "LNURL1DP68GURN8GHJ7UM9WFMXJCM99E3K7MF0V9CXJ0M385EKVCENXC6R2C35XVUKXEFCV5MKVV34X5EKZD3EV56NYD3HXQURZEPEXEJXXEPNXSCRVWFNV9NXZCN9XQ6XYEFHVGCXXCMYXYMNSERXFQ5FNS";
        let read = "https://service.com/api?q=3fc3645b439ce8e7f2553a69e5267081d96dcd340693afabe04be7b0ccd178df";
        assert_eq!(url(text).unwrap(), read);
        assert_eq!(url(&format!("lightning:{text}")).unwrap(), read);
        assert_eq!(url(&format!("https://service.com/giftcard/redeem?id=123&lightning={text}")).unwrap(), read);
    }

    #[test]
    fn a_link_of_the_scheme_for_payments_is_read() {
        assert_eq!(url("lnurlp://example.com/pay?x=1").unwrap(), "https://example.com/pay?x=1");
    }

    #[test]
    fn what_is_damaged_or_leads_elsewhere_is_refused() {
        let whole = encoded("https://example.com/pay");
        let mut damaged = whole.clone();
        damaged.replace_range(10..11, if &whole[10..11] == "q" { "p" } else { "q" });
        assert_eq!(url(&damaged), Err(NoTarget::Damaged));
        assert_eq!(url(&encoded("http://example.com/pay")), Err(NoTarget::NotHttps));
        assert_eq!(url(&encoded("file:///etc/passwd")), Err(NoTarget::NotHttps));
        let other = bech32::encode::<bech32::Bech32m>(Hrp::parse("lnurl").unwrap(), b"https://example.com").unwrap();
        assert_eq!(url(&other), Err(NoTarget::Damaged), "another checksum");
        for wrong in [
            "",
            "ann",
            "@",
            "ann@",
            "@example.com",
            "a b@example.com",
            "ann@exa mple.com",
            "ann@example.com/x",
            "..@example.com",
            "ann@1",
            "ann@0x7f.1",
            "ann@b@c",
            "https://example.com/",
            "ann@example.com?x",
            "ann@[::1]",
        ] {
            assert!(url(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fall_over(text in "\\PC{0,60}|(lightning:)?lnurl1[a-z0-9]{0,80}|lnurlp:[a-z/:@.?]{0,30}|[a-z.+]{1,9}@[a-z0-9.:]{1,12}") {
            if let Ok(target) = text.parse::<Target>() {
                let url = target.url();
                prop_assert_eq!(url.scheme(), "https");
            }
        }

        #[test]
        fn an_address_is_shown_as_it_is_read(text in "[a-z0-9_.+-]{1,10}@[a-z][a-z0-9]{0,8}\\.[a-z]{2,5}(:[1-9][0-9]{1,3})?") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }

        #[test]
        fn an_https_address_survives_bech32(path in "[a-z0-9/]{0,40}") {
            let there = format!("https://example.com/{path}");
            prop_assert_eq!(url(&encoded(&there)).unwrap(), Url::parse(&there).unwrap().to_string());
        }
    }
}
