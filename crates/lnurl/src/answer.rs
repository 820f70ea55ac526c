//! The invoice, and what to show once it is paid (LUD-06, LUD-09).

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    Error, Offer,
    offer::{Fault, malformed},
    text::cleaned,
};

/// Characters of a success action's text.
const SHOWN: usize = 144;

/// What came when an invoice was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// BOLT 11, not looked at yet.
    pub invoice: String,
    pub success: Option<Success>,
}

/// What the service wants the payer to see once the payment arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Success {
    Message(String),
    /// A link to the very host that the invoice came from; others are not shown.
    Link {
        description: String,
        url: Url,
    },
    /// Readable with the proof of payment (LUD-10), which this box does not do.
    Sealed(String),
}

#[derive(Deserialize)]
struct Wire {
    pr: Option<String>,
    #[serde(rename = "successAction")]
    success: Option<Value>,
    #[serde(flatten)]
    fault: Fault,
}

impl Answer {
    pub fn parse(json: &[u8], offer: &Offer) -> Result<Self, Error> {
        let wire: Wire = serde_json::from_slice(json).map_err(|_| malformed("it is not the JSON of an invoice"))?;
        wire.fault.check()?;
        let invoice = wire.pr.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let invoice = invoice.ok_or_else(|| malformed("there is no invoice in it"))?;
        let success = wire.success.as_ref().and_then(|value| success(value, offer.host()));
        Ok(Self { invoice, success })
    }
}

/// One that breaks its rules is left out: the payment is what matters.
fn success(value: &Value, host: &str) -> Option<Success> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(|text| cleaned(text, SHOWN, false));
    match value.get("tag")?.as_str()? {
        "message" => text("message").filter(|text| !text.is_empty()).map(Success::Message),
        "url" => {
            let url = Url::parse(value.get("url")?.as_str()?).ok()?;
            let is_theirs = url.scheme() == "https"
                && url.host_str() == Some(host)
                && url.username().is_empty()
                && url.password().is_none()
                && url.as_str().len() <= 2000;
            is_theirs.then(|| Success::Link { description: text("description").unwrap_or_default(), url })
        }
        "aes" => Some(Success::Sealed(text("description").unwrap_or_default())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::offer::tests::offer;

    fn parse(value: &Value) -> Result<Answer, Error> {
        Answer::parse(value.to_string().as_bytes(), &Offer::parse(offer().to_string().as_bytes()).unwrap())
    }

    fn shown(action: Value) -> Option<Success> {
        parse(&json!({ "pr": "lnbc1", "routes": [], "successAction": action })).unwrap().success
    }

    #[test]
    fn what_is_shown_after_the_payment_is_text_or_a_link_to_the_same_host() {
        let message = shown(json!({ "tag": "message", "message": "Thank\u{202e} you\n<b>!" }));
        assert_eq!(message, Some(Success::Message("Thank you <b>!".into())));
        let link = shown(json!({ "tag": "url", "description": "Your ticket", "url": "https://example.com/t/7" }));
        assert!(matches!(link, Some(Success::Link { url, .. }) if url.path() == "/t/7"));
        for url in [
            "https://evil.example/t",
            "http://example.com/t",
            "javascript:alert(1)",
            "https://example.com.evil.example/",
            "https://example.com@evil.example/",
            "https://u:p@example.com/",
        ] {
            assert_eq!(shown(json!({ "tag": "url", "description": "x", "url": url })), None, "{url}");
        }
        assert_eq!(shown(json!({ "tag": "other" })), None);
        assert_eq!(shown(json!("message")), None);
    }

    #[test]
    fn what_holds_no_invoice_says_why() {
        assert_eq!(parse(&json!({ "status": "ERROR", "reason": "sold out" })), Err(Error::Refused("sold out".into())));
        assert!(matches!(parse(&json!({ "pr": "" })), Err(Error::Malformed(_))));
        assert!(matches!(parse(&json!({ "pr": 7 })), Err(Error::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_words_make_it_fall_over(tag in "message|url|aes|x", text: String, url in "\\PC{0,30}|https?://[a-z.@:]{0,20}") {
            let action = json!({ "tag": tag, "message": text, "description": text, "url": url });
            if let Some(Success::Link { url, .. }) = shown(action) {
                prop_assert_eq!(url.host_str(), Some("example.com"));
            }
        }
    }
}
