//! The terms of a payment (LUD-06, LUD-12).

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use twin::MilliSat;
use url::Url;

use crate::{Error, text::cleaned};

/// Bytes of an answer: two pictures of 136,536 characters, which are not shown, and some text.
pub const MAX_METADATA: usize = 320 * 1024;
/// Characters of a text that are shown.
const SHOWN: usize = 640;
/// Longer comments are not offered: services cut them, too.
const COMMENT: u64 = 500;
/// All bitcoin there will ever be, in millisatoshi.
const MOST: u64 = 2_100_000_000_000_000_000;

/// What a service is ready to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    callback: Url,
    pub min: MilliSat,
    pub max: MilliSat,
    /// What the payment is for, cleaned.
    pub description: String,
    /// More of it, with line breaks, cleaned; empty where there is none.
    pub long: String,
    /// Who is paid, as the service says: `ann@example.com`; empty where it does not.
    pub identifier: String,
    /// How many characters a comment may have; 0 where none is taken.
    pub comment: u16,
    /// SHA-256 of the metadata as they came, lower-case hexadecimal.
    hash: String,
}

/// Why an invoice is not the one that was asked for. A sentence; such an invoice is not paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("the service's invoice asks for {asked}, not for the {chosen} that you chose. It was not paid")]
    Amount { asked: MilliSat, chosen: MilliSat },
    #[error("the service's invoice names no amount. It was not paid")]
    NoAmount,
    #[error("the service's invoice is for something else than the service said. It was not paid")]
    Hash,
}

#[derive(Deserialize)]
struct Wire {
    tag: Option<String>,
    callback: Option<String>,
    #[serde(rename = "minSendable")]
    min: Option<u64>,
    #[serde(rename = "maxSendable")]
    max: Option<u64>,
    metadata: Option<String>,
    #[serde(rename = "commentAllowed")]
    comment: Option<Value>,
    #[serde(rename = "payerData")]
    payer: Option<Value>,
    #[serde(flatten)]
    fault: Fault,
}

/// How all answers say that something is wrong.
#[derive(Deserialize)]
pub(crate) struct Fault {
    status: Option<String>,
    reason: Option<Value>,
}

impl Fault {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("error")) {
            return Ok(());
        }
        let reason = self.reason.as_ref().and_then(Value::as_str).map(|reason| cleaned(reason, 200, false));
        Err(Error::Refused(reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| "no".into())))
    }
}

pub(crate) fn malformed(what: impl Into<String>) -> Error {
    Error::Malformed(what.into())
}

impl Offer {
    /// Reads the answer to the first question.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let wire: Wire = serde_json::from_slice(json).map_err(|_| malformed("it is not the JSON of an offer"))?;
        wire.fault.check()?;
        match wire.tag.as_deref() {
            Some("payRequest") => {}
            Some(tag) => return Err(Error::OtherKind(cleaned(tag, 40, false))),
            None => return Err(malformed("there is no tag in it")),
        }
        if let Some(name) = wire.payer.as_ref().and_then(mandatory) {
            return Err(Error::WantsPayer(name));
        }
        let callback = wire.callback.and_then(|text| Url::parse(&text).ok());
        let callback = callback.filter(|url| url.scheme() == "https" && url.host_str().is_some());
        let callback = callback.ok_or_else(|| malformed("it does not say where to ask for the invoice"))?;
        let (min, max) = wire.min.zip(wire.max).ok_or_else(|| malformed("the amounts are missing"))?;
        if min == 0 || min > max || min > MOST {
            return Err(malformed("the amounts make no sense"));
        }
        let metadata = wire.metadata.ok_or_else(|| malformed("it does not say what is paid for"))?;
        let entries: Vec<Vec<Value>> =
            serde_json::from_str(&metadata).map_err(|_| malformed("what it says of itself cannot be read"))?;
        let find = |kind: &str| {
            let entry = entries.iter().find(|entry| entry.first().and_then(Value::as_str) == Some(kind));
            entry.and_then(|entry| entry.get(1)).and_then(Value::as_str)
        };
        let description = find("text/plain").ok_or_else(|| malformed("it does not say what is paid for"))?;
        let identifier = find("text/identifier").or(find("text/email")).unwrap_or_default();
        let comment = wire.comment.as_ref().and_then(Value::as_u64).unwrap_or_default().min(COMMENT);
        Ok(Self {
            callback,
            min: MilliSat::new(min),
            max: MilliSat::new(max.min(MOST)),
            description: cleaned(description, SHOWN, false),
            long: cleaned(find("text/long-desc").unwrap_or_default(), SHOWN, true),
            identifier: cleaned(identifier, 320, false),
            comment: u16::try_from(comment).unwrap_or_default(),
            hash: hex::encode(Sha256::digest(metadata.as_bytes())),
        })
    }

    /// Where the invoice comes from.
    pub fn host(&self) -> &str {
        self.callback.host_str().unwrap_or_default()
    }

    pub fn takes(&self, amount: MilliSat) -> bool {
        (self.min..=self.max).contains(&amount)
    }

    /// What to ask for an invoice of this amount. A comment that is too long is cut.
    pub fn question(&self, amount: MilliSat, comment: &str) -> Url {
        let mut url = self.callback.clone();
        let comment: String = comment.trim().chars().take(usize::from(self.comment)).collect();
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("amount", &amount.get().to_string());
        if !comment.is_empty() {
            pairs.append_pair("comment", &comment);
        }
        drop(pairs);
        url
    }

    /// Whether an invoice is the one that was asked for: for this amount, and committing to what this offer said.
    /// `hash` is the invoice's description hash, hexadecimal.
    pub fn check(&self, chosen: MilliSat, asked: Option<MilliSat>, hash: &str) -> Result<(), Mismatch> {
        match asked {
            Some(asked) if asked != chosen => Err(Mismatch::Amount { asked, chosen }),
            None => Err(Mismatch::NoAmount),
            Some(_) if !hash.eq_ignore_ascii_case(&self.hash) => Err(Mismatch::Hash),
            Some(_) => Ok(()),
        }
    }
}

/// The first thing that must be told of the payer (LUD-18).
fn mandatory(payer: &Value) -> Option<String> {
    let found =
        payer.as_object()?.iter().find(|(_, terms)| terms.get("mandatory").and_then(Value::as_bool) == Some(true));
    found.map(|(name, _)| cleaned(name, 40, false))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const METADATA: &str = r#"[["text/plain","Eggs \u0026 milk"],["text/identifier","ann@example.com"],["x",{}]]"#;

    pub(crate) fn offer() -> Value {
        json!({ "tag": "payRequest", "callback": "https://example.com/cb?id=7", "minSendable": 1000,
                "maxSendable": 5_000_000, "metadata": METADATA, "commentAllowed": 12 })
    }

    fn parse(value: &Value) -> Result<Offer, Error> {
        Offer::parse(value.to_string().as_bytes())
    }

    fn changed(name: &str, to: Value) -> Result<Offer, Error> {
        let mut value = offer();
        value[name] = to;
        parse(&value)
    }

    #[test]
    fn an_offer_is_read_and_asked_for_an_invoice() {
        let offer = parse(&offer()).unwrap();
        assert_eq!((offer.description.as_str(), offer.identifier.as_str()), ("Eggs & milk", "ann@example.com"));
        assert!(
            offer.takes(MilliSat::new(1000))
                && !offer.takes(MilliSat::new(999))
                && !offer.takes(MilliSat::new(5_000_001))
        );
        let url = offer.question(MilliSat::new(2000), " thank you & good bye ");
        assert_eq!(url.as_str(), "https://example.com/cb?id=7&amount=2000&comment=thank+you+%26+");
        assert_eq!(offer.question(MilliSat::new(2000), "").query(), Some("id=7&amount=2000"));
    }

    #[test]
    fn only_an_invoice_of_the_amount_and_of_the_offer_is_right() {
        let offer = parse(&offer()).unwrap();
        let hash = hex::encode(Sha256::digest(METADATA));
        let amount = MilliSat::new(2000);
        offer.check(amount, Some(amount), &hash).unwrap();
        let more = MilliSat::new(2001);
        assert_eq!(offer.check(amount, Some(more), &hash), Err(Mismatch::Amount { asked: more, chosen: amount }));
        assert_eq!(offer.check(amount, None, &hash), Err(Mismatch::NoAmount));
        assert_eq!(offer.check(amount, Some(amount), ""), Err(Mismatch::Hash));
        assert_eq!(offer.check(amount, Some(amount), &"00".repeat(32)), Err(Mismatch::Hash));
    }

    #[test]
    fn what_is_no_offer_says_why() {
        let refused = parse(&json!({ "status": "ERROR", "reason": "no such\nuser" }));
        assert_eq!(refused, Err(Error::Refused("no such user".into())));
        assert_eq!(changed("tag", json!("withdrawRequest")), Err(Error::OtherKind("withdrawRequest".into())));
        let payer = json!({ "name": { "mandatory": false }, "email": { "mandatory": true } });
        assert_eq!(changed("payerData", payer), Err(Error::WantsPayer("email".into())));
        for (name, value) in [
            ("callback", json!("http://example.com/")),
            ("callback", json!("nonsense")),
            ("minSendable", json!(0)),
            ("minSendable", json!(6_000_000)),
            ("minSendable", json!(-5)),
            ("minSendable", json!("1000")),
            ("metadata", json!("{}")),
            ("metadata", json!("[[\"text/long-desc\",\"x\"]]")),
            ("metadata", json!([["text/plain", "x"]])),
        ] {
            assert!(matches!(changed(name, value.clone()), Err(Error::Malformed(_))), "{name}: {value}");
        }
        assert!(matches!(Offer::parse(b"<html>"), Err(Error::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
            let _ = Offer::parse(&bytes);
        }

        #[test]
        fn no_words_and_numbers_make_it_fall_over(min: u64, max: u64, comment: i64, metadata in "\\PC{0,40}|\\[\\[\"text/plain\",\"\\PC{0,9}\"\\]\\]") {
            let mut value = offer();
            value["minSendable"] = json!(min);
            value["maxSendable"] = json!(max);
            value["commentAllowed"] = json!(comment);
            value["metadata"] = json!(metadata);
            if let Ok(offer) = parse(&value) {
                prop_assert!(offer.min <= offer.max && offer.min > MilliSat::ZERO);
                prop_assert!(offer.question(offer.min, &metadata).as_str().starts_with("https://example.com/cb?id=7&amount="));
            }
        }
    }
}
