//! Whether LND could keep its wallet in a Postgres of the owner.

use std::time::Duration;

use rust_i18n::t;
use tokio::time;
use tokio_postgres::{Client, Config, Error, NoTls, config::SslMode, error::SqlState};

use super::bitcoin::Line;
use crate::pages::words::Mood;

/// For all questions together.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found, as far as it matters to LND.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Ready,
    /// LND's own from an earlier start, with this many tables.
    Known(i64),
    /// Tables of someone else: perhaps another node's wallet.
    Used(i64),
    /// The user may not make tables.
    ReadOnly,
    BadAddress(String),
    /// TLS is asked for, which this test does not speak.
    Tls,
    Unreachable(String),
    Silent,
    Denied(String),
    NoDatabase(String),
    Other(String),
}

/// Asks the Postgres at `dsn` (`postgres://user:password@host:port/database`). Its tables are only `known` when LND was told
/// to use it before.
pub(super) async fn examine(dsn: &str, known: bool) -> Line {
    let found = match dsn.parse::<Config>() {
        Err(error) => Found::BadAddress(reason(&error)),
        Ok(config) if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) => Found::Tls,
        Ok(config) => time::timeout(LIMIT, ask(&config, known)).await.unwrap_or(Found::Silent),
    };
    found.line()
}

async fn ask(config: &Config, known: bool) -> Found {
    let (client, connection) = match config.connect(NoTls).await {
        Ok(both) => both,
        Err(error) => return refused(&error),
    };
    // Ends with the client.
    tokio::spawn(connection);
    look(&client, known).await.unwrap_or_else(|error| Found::Other(reason(&error)))
}

async fn look(client: &Client, known: bool) -> Result<Found, Error> {
    let may = client.query_one("SELECT has_schema_privilege(current_user, 'public', 'CREATE')", &[]).await?;
    if !may.try_get::<_, bool>(0)? {
        return Ok(Found::ReadOnly);
    }
    let tables =
        "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let count = client.query_one(tables, &[]).await?.try_get::<_, i64>(0)?;
    Ok(match count {
        0 => Found::Ready,
        count if known => Found::Known(count),
        count => Found::Used(count),
    })
}

fn refused(error: &Error) -> Found {
    match error.code() {
        Some(code) if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) => {
            Found::Denied(reason(error))
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Found::NoDatabase(reason(error)),
        Some(_) => Found::Other(reason(error)),
        None => Found::Unreachable(reason(error)),
    }
}

/// The server's own words or the innermost cause; neither names the password.
fn reason(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => said.message().to_owned(),
        None => std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string),
    }
}

impl Found {
    fn line(&self) -> Line {
        let (mood, sentence, advice) = match self {
            Self::Ready => (Mood::Good, t!("database.ready"), None),
            Self::Known(tables) => (Mood::Good, t!("database.known", tables = tables), None),
            Self::Used(tables) => (Mood::Bad, t!("database.used", tables = tables), Some(t!("database.used_advice"))),
            Self::ReadOnly => (Mood::Bad, t!("database.read_only"), Some(t!("database.read_only_advice"))),
            Self::BadAddress(why) => {
                (Mood::Bad, t!("database.bad_address", why = why), Some(t!("database.bad_address_advice")))
            }
            Self::Tls => (Mood::Busy, t!("database.tls"), Some(t!("database.tls_advice"))),
            Self::Unreachable(why) => {
                (Mood::Bad, t!("database.unreachable", why = why), Some(t!("database.unreachable_advice")))
            }
            Self::Silent => {
                (Mood::Bad, t!("database.silent", seconds = LIMIT.as_secs()), Some(t!("database.unreachable_advice")))
            }
            Self::Denied(why) => (Mood::Bad, t!("database.denied", why = why), Some(t!("database.denied_advice"))),
            Self::NoDatabase(why) => {
                (Mood::Bad, t!("database.missing", why = why), Some(t!("database.missing_advice")))
            }
            Self::Other(why) => (Mood::Bad, t!("database.other", why = why), None),
        };
        Line {
            mood,
            name: t!("database.name").into_owned(),
            sentence: sentence.into_owned(),
            advice: advice.map(std::borrow::Cow::into_owned),
            // Two nodes on one wallet lose money.
            forbids: matches!(self, Self::Used(_)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_listen_and_what_is_no_address_is_said_without_the_password() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let closed = format!("postgres://lnd:hush-hush@127.0.0.1:{port}/lnd");
        for dsn in [closed.as_str(), "postgres://lnd:hush-hush@127.0.0.1:port/lnd"] {
            let line = examine(dsn, false).await;
            assert!(line.mood == Mood::Bad && line.advice.is_some() && !line.forbids);
            assert!(!format!("{line:?}").contains("hush-hush"), "{line:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_has_a_limit() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dsn = format!("postgres://lnd@{}/lnd", listener.local_addr().unwrap());
        let config: Config = dsn.parse().unwrap();
        let asked = time::timeout(Duration::from_millis(300), ask(&config, false)).await;
        assert!(asked.is_err(), "{asked:?}");
    }

    #[test]
    fn only_tables_of_someone_else_forbid_it() {
        assert!(Found::Used(3).line().forbids);
        assert!(!Found::Known(3).line().forbids && Found::Known(3).line().mood == Mood::Good);
    }
}
