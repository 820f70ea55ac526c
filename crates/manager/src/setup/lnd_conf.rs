//! LND's configuration file, made of what the owner chose and shown as it is.

use std::{fmt::Write, net::SocketAddr, path::Path};

use super::{
    bitcoin::{Backend, Bitcoin, Chain, Database},
    headers::Shipped,
};
use crate::node::ADMIN_MACAROON;

/// Where systemd puts the opened credential for LND's unit.
const PASSWORD_FILE: &str = "/run/credentials/lnd.service/lnd.wallet-password";

/// What does not come from the owner's choices.
pub(crate) struct Given<'a> {
    /// The name that other nodes see.
    pub(crate) alias: &'a str,
    /// LND's folder.
    pub(crate) dir: &'a Path,
    pub(crate) rpc: SocketAddr,
    /// On loopback, too: phones come to it through the manager's gate.
    pub(crate) rest: SocketAddr,
    /// There is a wallet, and its password is sealed for LND's unit.
    pub(crate) unlock: bool,
    /// What the system brings.
    pub(crate) headers: Option<&'a Shipped>,
}

/// The text of `lnd.conf`.
pub(crate) fn render(bitcoin: &Bitcoin, given: &Given<'_>) -> String {
    let Given { alias, rpc, rest, unlock, .. } = given;
    let dir = given.dir.display();
    let mut text = format!(
        "; Made by Homebolt of what was chosen in the wizard; changes here are lost with the next choice.\n\
         [Application Options]\n\
         lnddir={dir}\n\
         alias={alias}\n\
         rpclisten={rpc}\n\
         restlisten={rest}\n\
         listen=127.0.0.1:9735\n\
         adminmacaroonpath={dir}/{ADMIN_MACAROON}\n\
         tlsautorefresh=true\n\
         logging.file.disable=true\n\
         debuglevel=info\n\
         accept-keysend=true\n"
    );
    if *unlock {
        let _ = writeln!(text, "wallet-unlock-password-file={PASSWORD_FILE}");
    }
    let _ = write!(text, "\n[Bitcoin]\n{}=true\n", bitcoin.chain.option());
    match &bitcoin.backend {
        Backend::Neutrino { peers, fee_url, .. } => {
            text.push_str("bitcoin.node=neutrino\n\n[neutrino]\n");
            // Where nobody can be found, nobody is to be looked for.
            let option = if matches!(bitcoin.chain, Chain::Regtest | Chain::Simnet) { "connect" } else { "addpeer" };
            for peer in peers {
                let _ = writeln!(text, "neutrino.{option}={peer}");
            }
            if let Some(shipped) = given.headers.filter(|shipped| shipped.serves(bitcoin)) {
                let (block, filter) = (shipped.block.display(), shipped.filter.display());
                let _ = write!(
                    text,
                    "; to block {}: LND checks each of them, and takes them once\n\
                     neutrino.blockheaderssource={block}\nneutrino.filterheaderssource={filter}\n",
                    shipped.last
                );
            }
            let _ = write!(text, "\n[fee]\nfee.url={fee_url}\n");
        }
        Backend::Bitcoind(own) => {
            let _ = write!(
                text,
                "bitcoin.node=bitcoind\n\n[bitcoind]\nbitcoind.rpchost={}\nbitcoind.rpcuser={}\nbitcoind.rpcpass={}\n",
                own.rpc, own.user, own.password
            );
            match &own.zmq {
                Some(zmq) => {
                    let _ = write!(
                        text,
                        "bitcoind.zmqpubrawblock=tcp://{}\nbitcoind.zmqpubrawtx=tcp://{}\n",
                        zmq.blocks, zmq.transactions
                    );
                }
                None => text.push_str("bitcoind.rpcpolling=true\n"),
            }
        }
    }
    match &bitcoin.database {
        Database::Sqlite => text.push_str("\n[db]\ndb.backend=sqlite\n"),
        Database::Postgres { dsn } => {
            let _ = write!(text, "\n[db]\ndb.backend=postgres\n\n[postgres]\ndb.postgres.dsn={dsn}\n");
        }
    }
    text.push_str("\n[healthcheck]\nhealthcheck.diskspace.diskrequired=0.05\nhealthcheck.diskspace.attempts=2\n");
    text
}

/// Whether a value can stand in the file: one line, and not read as something else by LND.
pub(crate) fn is_value(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.trim() == text && !text.starts_with(['"', '\'', ';', '#'])
}

/// The same text with its secrets covered, for the page.
pub(crate) fn covered(text: &str) -> String {
    text.lines()
        .map(|line| match line.split_once('=') {
            Some((name @ ("bitcoind.rpcpass" | "db.postgres.dsn"), _)) => format!("{name}=********\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bitcoind::Zmq;

    use super::{super::bitcoin::Own, *};

    fn own(zmq: Option<Zmq>) -> Bitcoin {
        let own = Own { rpc: "192.168.1.5:8332".parse().unwrap(), user: "alice".into(), password: "p;w#=".into(), zmq };
        Bitcoin { chain: Chain::Mainnet, backend: Backend::Bitcoind(own), database: Database::Sqlite }
    }

    fn text(bitcoin: &Bitcoin, unlock: bool) -> String {
        let [rpc, rest] = [10009, 8080].map(|port| ([127, 0, 0, 1], port).into());
        let headers = Shipped {
            chain: Chain::Mainnet,
            last: 899_999,
            block: "/headers/block_headers.bin".into(),
            filter: "/headers/filter_headers.bin".into(),
        };
        let given = Given { alias: "box", dir: Path::new("/data/lnd"), rpc, rest, unlock, headers: Some(&headers) };
        render(bitcoin, &given)
    }

    #[test]
    fn headers_of_the_system_are_named_for_neutrino_on_their_chain_and_both_together() {
        let neutrino = |chain, headers| {
            let backend = Backend::Neutrino { peers: vec![], fee_url: "https://fees.example".into(), headers };
            text(&Bitcoin { chain, backend, database: Database::Sqlite }, false)
        };
        let made = neutrino(Chain::Mainnet, true);
        let lines = "neutrino.blockheaderssource=/headers/block_headers.bin\n\
                     neutrino.filterheaderssource=/headers/filter_headers.bin\n";
        // Within their section, which ends where the next begins.
        let section = made.split_once("[neutrino]\n").unwrap().1.split_once("\n[").unwrap().0;
        assert!(format!("{section}\n").contains(lines), "{made}");
        for without in [neutrino(Chain::Mainnet, false), neutrino(Chain::Signet, true), text(&own(None), false)] {
            assert!(!without.contains("headerssource"), "{without}");
        }
    }

    #[test]
    fn a_bitcoind_with_and_without_zmq() {
        let zmq = Zmq {
            blocks: "192.168.1.5:28332".parse().unwrap(),
            transactions: "192.168.1.5:28333".parse().unwrap(),
            sequence: None,
        };
        let made = text(&own(Some(zmq)), false);
        for line in [
            "bitcoin.mainnet=true",
            "restlisten=127.0.0.1:8080",
            "bitcoin.node=bitcoind",
            "bitcoind.rpchost=192.168.1.5:8332",
            "bitcoind.rpcpass=p;w#=",
            "bitcoind.zmqpubrawtx=tcp://192.168.1.5:28333",
            "db.backend=sqlite",
        ] {
            assert!(made.lines().any(|there| there == line), "{line} is not in\n{made}");
        }
        assert!(!made.contains("rpcpolling") && !made.contains("wallet-unlock"));
        assert!(text(&own(None), false).contains("\nbitcoind.rpcpolling=true\n"));
    }

    #[test]
    fn the_password_file_is_named_only_when_there_is_a_wallet() {
        assert!(text(&own(None), true).contains(PASSWORD_FILE));
        assert!(!text(&own(None), true).contains("allow-create"), "who reaches the port could inject a seed");
    }

    #[test]
    fn what_would_begin_another_line_or_a_comment_is_no_value() {
        assert!(is_value("p;w#= x"));
        for bad in ["a\nb", "a\r", " a", "a ", "\"a\"", ";a", "#a", "\u{7}"] {
            assert!(!is_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let shown = covered(&text(&own(None), false));
        assert!(!shown.contains("p;w#=") && shown.contains("bitcoind.rpcuser=alice"));
    }
}
