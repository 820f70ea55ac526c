//! What a bitcoin costs, asked of whom the owner chose, and of nobody by default.

use std::time::Duration;

use fetch::Reach;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::watch, time};
use twin::{
    Money, Update,
    fiat::Rate,
    source::{Backoff, Health, TwinGone, now},
};
use url::Url;

use crate::payments::Preferences;

/// So often the rate is asked for.
const PACE: Duration = Duration::from_secs(10 * 60);
/// Waits after a failure: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10 * 60));
/// Bytes of an answer; the longest is some 20,000.
const LIMIT: usize = 128 * 1024;
/// The name of the source in the twin.
pub(crate) const NAME: &str = "rates";
/// More hundredths than any currency has for a bitcoin, and far from an overflow.
const MOST: f64 = 1e16;

/// Whom to ask, and for which currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) source: Source,
    /// ISO 4217, capitals.
    pub(crate) currency: String,
    /// Of [`Source::Own`] alone.
    pub(crate) url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RateSource")]
pub(crate) enum Source {
    Mempool,
    Coinbase,
    Kraken,
    /// The owner's own mempool, or what answers as it does: `{"EUR": 80000}`.
    Own,
}

impl Source {
    pub(crate) const ALL: [Self; 4] = [Self::Mempool, Self::Coinbase, Self::Kraken, Self::Own];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mempool => "mempool",
            Self::Coinbase => "coinbase",
            Self::Kraken => "kraken",
            Self::Own => "own",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    /// Who learns that this box asks; empty where the owner says.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Mempool => "mempool.space",
            Self::Coinbase => "api.coinbase.com",
            Self::Kraken => "api.kraken.com",
            Self::Own => "",
        }
    }
}

/// Why there is no rate. A sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    #[error("{host} answers with HTTP status {status}")]
    Status { host: String, status: u16 },
    #[error("{host} tells no rate for {currency}")]
    Unknown { host: String, currency: String },
    #[error("{0} is no address that begins with https://")]
    BadUrl(String),
}

impl Choice {
    fn address(&self) -> String {
        let currency = &self.currency;
        match self.source {
            Source::Mempool => "https://mempool.space/api/v1/prices".into(),
            Source::Coinbase => format!("https://api.coinbase.com/v2/prices/BTC-{currency}/spot"),
            Source::Kraken => format!("https://api.kraken.com/0/public/Ticker?pair=XBT{currency}"),
            Source::Own => self.url.trim().to_owned(),
        }
    }

    pub(crate) fn url(&self) -> Result<Url, Error> {
        let address = self.address();
        let url = Url::parse(&address).ok().filter(|url| url.scheme() == "https" && url.host_str().is_some());
        url.ok_or(Error::BadUrl(address))
    }

    /// Asks now.
    pub(crate) async fn ask(&self, reach: &Reach) -> Result<Rate, Error> {
        let url = self.url()?;
        let reply = fetch::ask(&url, reach, LIMIT).await?;
        let host = reply.url.host_str().unwrap_or_default().to_owned();
        if !reply.status.is_success() {
            return Err(Error::Status { host, status: reply.status.as_u16() });
        }
        match self.parse(&reply.body) {
            Some(hundredths) => {
                let source = url.host_str().unwrap_or_default().to_owned();
                Ok(Rate { currency: self.currency.clone(), hundredths, source, at: now() })
            }
            None => Err(Error::Unknown { host, currency: self.currency.clone() }),
        }
    }

    fn parse(&self, json: &[u8]) -> Option<u64> {
        let value: Value = serde_json::from_slice(json).ok()?;
        let price = match self.source {
            Source::Mempool | Source::Own => value.get(&self.currency)?,
            Source::Coinbase => {
                let data = value.get("data")?;
                // It answers in another currency where it does not know one.
                (data.get("currency")?.as_str()? == self.currency).then(|| data.get("amount"))??
            }
            Source::Kraken => value.get("result")?.as_object()?.values().next()?.get("c")?.get(0)?,
        };
        let price = match price {
            Value::String(text) => text.parse::<f64>().ok()?,
            number => number.as_f64()?,
        };
        let hundredths = (price * 100.0).round();
        // Neither nothing nor nonsense; NaN is in no range.
        (1.0..=MOST).contains(&hundredths).then_some(hundredths as u64)
    }
}

/// Three capitals.
pub(crate) fn currency(typed: &str) -> Option<String> {
    let text = typed.trim().to_uppercase();
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(text)
}

/// Tells the twin how amounts are to be shown, and keeps the rate fresh, for as long as the twin lives.
pub(crate) async fn run(mut preferences: watch::Receiver<Preferences>, twin: twin::Sender) {
    let mut money = Money::default();
    loop {
        let now = preferences.borrow_and_update().clone();
        let is_same = |rate: &Rate| now.shown.rates.as_ref().is_some_and(|choice| choice.currency == rate.currency);
        money = Money { unit: now.shown.unit, rate: money.rate.filter(is_same) };
        if twin.send(Update::Money(money.clone())).await.is_err() {
            return;
        }
        let reach = now.reach();
        let ended = match &now.shown.rates {
            None if twin.send(Update::Gone(NAME)).await.is_err() => return,
            None => preferences.changed().await.is_err(),
            Some(choice) => tokio::select! {
                changed = changes(&mut preferences, &now) => changed.is_err(),
                TwinGone = follow(choice, &reach, &twin, &mut money) => true,
            },
        };
        if ended {
            return;
        }
    }
}

/// Waits for other preferences that matter here.
async fn changes(
    preferences: &mut watch::Receiver<Preferences>,
    was: &Preferences,
) -> Result<(), watch::error::RecvError> {
    let differs = |now: &Preferences| now.shown != was.shown || now.servers != was.servers;
    preferences.wait_for(differs).await.map(drop)
}

async fn follow(choice: &Choice, reach: &Reach, twin: &twin::Sender, money: &mut Money) -> TwinGone {
    let mut health = Health::new(NAME, twin.clone());
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let (told, wait) = match choice.ask(reach).await {
            Ok(rate) => {
                money.rate = Some(rate);
                backoff.reset();
                let sent = health.send(Update::Money(money.clone())).await;
                (sent.and(health.connected().await), PACE)
            }
            Err(error) => {
                let told = health.lost(&error).await;
                if told == Ok(true) {
                    tracing::info!(%error, "no exchange rate");
                }
                (told.map(drop), backoff.wait())
            }
        };
        if let Err(gone) = told {
            return gone;
        }
        time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(source: Source, json: &str) -> Option<u64> {
        Choice { source, currency: "EUR".into(), url: String::new() }.parse(json.as_bytes())
    }

    #[test]
    fn each_source_is_read_in_its_own_form() {
        assert_eq!(parse(Source::Mempool, r#"{"time":1,"USD":9,"EUR":80123.45}"#), Some(8_012_345));
        assert_eq!(parse(Source::Own, r#"{"EUR":"80123"}"#), Some(8_012_300));
        let coinbase = r#"{"data":{"amount":"80123.455","base":"BTC","currency":"EUR"}}"#;
        assert_eq!(parse(Source::Coinbase, coinbase), Some(8_012_346));
        assert_eq!(parse(Source::Coinbase, &coinbase.replace("EUR", "USD")), None);
        let kraken = r#"{"error":[],"result":{"XXBTZEUR":{"a":["1"],"c":["80123.40000","0.1"]}}}"#;
        assert_eq!(parse(Source::Kraken, kraken), Some(8_012_340));
    }

    #[test]
    fn what_is_no_price_is_none() {
        for wrong in
            ["", "[]", "{}", r#"{"EUR":0}"#, r#"{"EUR":-1}"#, r#"{"EUR":1e300}"#, r#"{"EUR":"NaN"}"#, r#"{"EUR":{}}"#]
        {
            assert_eq!(parse(Source::Own, wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_answer_makes_it_fall_over_and_no_price_is_out_of_range(
            json in "\\PC*|\\{\"(EUR|data|result)\":(\\{\"[a-z]{1,8}\":)?[\\[\\]{}0-9eE.\", -]{0,20}\\}?\\}",
        ) {
            for source in [Source::Mempool, Source::Coinbase, Source::Kraken, Source::Own] {
                let price = parse(source, &json);
                proptest::prop_assert!(price.is_none_or(|price| price >= 1 && price as f64 <= MOST));
            }
        }
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert_eq!(currency(" eur "), Some("EUR".into()));
        for wrong in ["", "EU", "EURO", "E1R", "€€€"] {
            assert_eq!(currency(wrong), None, "{wrong}");
        }
    }
}
