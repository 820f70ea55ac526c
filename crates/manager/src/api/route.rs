//! The table of the API's routes. Router, access, document and the page /api are made from it.

use std::sync::Arc;

use axum::{
    handler::Handler,
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};

use super::{
    access, backups, bitcoin, channels, copies,
    describe::{Described, Operation, Schemas},
    disks, events,
    keys::Scope,
    metrics, money, network, node, once, openapi, owner, payments, preferences, services, setup, system, updates,
    wallet, wifi,
};
use crate::{
    http::routes::{Access, Route},
    shared::House,
};

/// A route and what the document says of it.
pub(crate) struct Documented {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// What it does, in a few words.
    pub(crate) summary: &'static str,
    pub(crate) describe: fn(&mut Operation, &mut Schemas),
    handler: MethodRouter<Arc<House>>,
}

impl From<Documented> for Route<Arc<House>> {
    fn from(documented: Documented) -> Self {
        let Documented { method, path, access, handler, .. } = documented;
        Self { method, path, access, handler }
    }
}

impl Documented {
    /// The scope that a key needs; `None` where any key will do.
    pub(crate) fn scope(&self) -> Option<Scope> {
        match self.access {
            Access::Key(scope) => Some(scope),
            _ => None,
        }
    }
}

fn route<H, M, D>(method: Method, path: &'static str, access: Access, summary: &'static str, handler: H) -> Documented
where
    H: Handler<M, Arc<House>> + Described<D>,
    M: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Documented { method, path, access, summary, describe: H::describe, handler: on(filter, handler) }
}

macro_rules! table {
    ($($method:ident $path:literal $scope:ident $summary:literal $handler:path),* $(,)?) => {
        vec![$(route(Method::$method, $path, table!(@ $scope), $summary, $handler)),*]
    };
    (@ AnyKey) => { Access::AnyKey };
    (@ $scope:ident) => { Access::Key(Scope::$scope) };
}

/// All routes for programs, in the order of the document.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Documented> {
    table![
        GET    "/api/v1/openapi.json"            AnyKey   "This document" openapi::get,
        GET    "/api/v1/key"                     AnyKey   "What the key that is used may do" system::key,
        GET    "/api/v1/requests/{key}"          AnyKey   "What became of a request of yours with that Idempotency-Key" once::get,
        GET    "/api/v1/events"                  Read     "What changes, as server-sent events: topics to read again" events::get,
        GET    "/api/v1/system/health"           Read     "How the box and its node are, check by check" system::health,
        GET    "/api/v1/system/info"             Read     "What the box is: versions, name, addresses" system::info,
        GET    "/api/v1/system/resources"        Read     "Processor, memory, disk, temperature" system::resources,
        GET    "/api/v1/system/units"            Read     "The services of the box" system::units,
        GET    "/api/v1/system/slots"            Read     "Both copies of the system" system::slots,
        POST   "/api/v1/system/restart"          Settings "Restart the box" system::restart,
        POST   "/api/v1/system/units/{unit}/restart" Settings "Start a unit again" services::restart,
        GET    "/api/v1/system/logs"             Read     "The journal, newest first, filtered; secrets are covered" services::logs,
        POST   "/api/v1/system/support"          Settings "Make a support bundle, without secrets" services::support,
        GET    "/api/v1/updates"                 Read     "What runs, the update that goes on, and what may be installed" updates::get,
        GET    "/api/v1/updates/news"            Read     "What the channel of updates has for this box, and the checks beforehand" updates::news,
        POST   "/api/v1/updates/look"            Settings "Ask the channel now" updates::look,
        POST   "/api/v1/updates/install"         Settings "Install a version; a restart of its own follows" updates::install,
        POST   "/api/v1/updates/cancel"          Settings "End an installation that goes on" updates::cancel,
        POST   "/api/v1/updates/restart"         Settings "Restart into the version that was installed" updates::restart,
        POST   "/api/v1/updates/switch"          Settings "Go back to the other system" updates::switch,
        GET    "/api/v1/updates/history"         Read     "What became of the updates so far, newest first" updates::history,
        GET    "/api/v1/updates/settings"        Read     "What the owner set about updates" updates::settings,
        PUT    "/api/v1/updates/settings"        Settings "Set the channel, what the box does by itself, and when" updates::set,
        GET    "/api/v1/network"                 Read     "The network: cards, what was found, a change that is tried" network::get,
        POST   "/api/v1/network/trial"           Settings "Try a change of a card's addresses; it is taken back unless it is confirmed" network::begin,
        POST   "/api/v1/network/confirm"         Settings "Keep the change that is tried, by its code" network::confirm,
        POST   "/api/v1/network/withdraw"        Settings "Take the change back that is tried" network::withdraw,
        GET    "/api/v1/network/wifi"            Read     "Radios, the networks in reach, and the country" wifi::get,
        POST   "/api/v1/network/wifi/scan"       Settings "Look for networks again" wifi::scan,
        POST   "/api/v1/network/wifi/join"       Settings "Try to join a network; it is left again unless that is confirmed" wifi::join,
        POST   "/api/v1/network/wifi/forget"     Settings "Try to do without a radio's network; its password goes once that is confirmed" wifi::forget,
        POST   "/api/v1/network/wifi/country"    Settings "Try another country's rules for the radios" wifi::country,
        GET    "/api/v1/disks"                   Read     "The disks, and how far a move of the data is" disks::get,
        POST   "/api/v1/disks/scan"              Settings "Look at the disks again" disks::scan,
        POST   "/api/v1/disks/move"              Settings "Move the data to another disk; what is on that one is lost" disks::relocate,
        POST   "/api/v1/disks/cancel"            Settings "End a move of the data that is not done" disks::cancel,
        POST   "/api/v1/disks/adopt"             Wallet   "Use the data that another disk has; the box restarts with it" disks::adopt,
        GET    "/api/v1/bitcoin"                 Read     "Where the blocks come from" bitcoin::get,
        GET    "/api/v1/bitcoin/test"            Read     "What the test of another back end found" bitcoin::look,
        POST   "/api/v1/bitcoin/test"            Settings "Test another back end live; nothing is changed" bitcoin::begin,
        POST   "/api/v1/bitcoin/use"             Settings "Use the back end that was tested; LND starts again" bitcoin::take,
        GET    "/api/v1/sessions"                Settings "Who is signed in" access::list,
        DELETE "/api/v1/sessions/{name}"         Settings "End a session" access::end,
        GET    "/api/v1/phones"                  Read     "The paired phones" access::phones,
        POST   "/api/v1/phones"                  Settings "Pair a phone; its secret is told this once" access::pair,
        DELETE "/api/v1/phones/{phone}"          Settings "End a phone, at once" access::end_phone,
        PUT    "/api/v1/password"                Access   "Set another password of the owner; all sessions end" owner::set_password,
        GET    "/api/v1/second-factor"           Access   "Whether the sign-in asks for a code" owner::factor,
        POST   "/api/v1/second-factor"           Access   "Make a secret for an authenticator app" owner::factor_begin,
        POST   "/api/v1/second-factor/confirm"   Access   "Turn the second factor on, by the first code of that secret" owner::factor_confirm,
        POST   "/api/v1/second-factor/codes"     Access   "Make other recovery codes" owner::factor_codes,
        POST   "/api/v1/second-factor/off"       Access   "Turn the second factor off" owner::factor_off,
        GET    "/api/v1/keys"                    Access   "The keys of programs" owner::keys,
        POST   "/api/v1/keys"                    Access   "Make a key for a program; it is told this once" owner::make_key,
        DELETE "/api/v1/keys/{id}"               Access   "Revoke a key, at once" owner::revoke_key,
        GET    "/api/v1/setup"                   Read     "How far the setup is, and how far it is applied" setup::get,
        POST   "/api/v1/setup/steps/{step}"      Settings "Go past a step with what there is" setup::pass,
        GET    "/api/v1/setup/wallet"            Read     "Whether there is a wallet, or a seed on its way to one" wallet::get,
        POST   "/api/v1/setup/wallet/seed"       Wallet   "Make a seed; its words are told this once" wallet::seed,
        POST   "/api/v1/setup/wallet/seed/written" Wallet "Say that the words are written down; four are asked for" wallet::written,
        POST   "/api/v1/setup/wallet/seed/check" Wallet   "Give the words that are asked for" wallet::check,
        POST   "/api/v1/setup/wallet/restore"    Wallet   "Give a seed, and a channel backup, to restore a wallet" wallet::restore,
        POST   "/api/v1/setup/apply"             Wallet   "Make the node of what was chosen, or go on where that failed" setup::apply,
        POST   "/api/v1/wallet/unlock"           Wallet   "Unlock the wallet by its password" wallet::unlock,
        POST   "/api/v1/wallet/by-hand"          Wallet   "Start LND without the sealed password, so that it asks for one" wallet::by_hand,
        GET    "/api/v1/settings"                Read     "What the owner has set" system::settings,
        GET    "/api/v1/settings/payments"       Read     "Limits, how amounts are shown, servers at home" preferences::payments,
        PUT    "/api/v1/settings/payments/limits" Settings "Set the pages' limits of payments" preferences::set_limits,
        PUT    "/api/v1/settings/payments/shown" Settings "Set how the pages show amounts, and who tells the rate" preferences::set_shown,
        PUT    "/api/v1/settings/payments/servers" Settings "Set the servers at home that may be asked for invoices" preferences::set_servers,
        GET    "/api/v1/rate"                    Read     "What a bitcoin costs, where the owner chose somebody to ask" preferences::rate,
        GET    "/api/v1/settings/place"          Read     "Language, time zone and name of the box" preferences::place,
        PUT    "/api/v1/settings/place"          Settings "Set language, time zone and name of the box" preferences::set_place,
        GET    "/api/v1/audit"                   Read     "Who did what, newest first" system::audit,
        GET    "/api/v1/backups"                 Read     "The channel backup as the node has it" backups::get,
        GET    "/api/v1/backups/current"         Read     "The channel backup itself" backups::current,
        GET    "/api/v1/backups/copies"          Read     "The copies of the channel backup at the owner's place" copies::get,
        POST   "/api/v1/backups/verify"          Settings "Read the newest copy back and show it to LND" copies::verify,
        POST   "/api/v1/backups/retry"           Settings "Try now to save what waits" copies::retry,
        POST   "/api/v1/backups/seen"            Settings "Say why channels are missing in the newest backup: you know it" copies::seen,
        POST   "/api/v1/backups/restore"         Wallet   "Give a restored wallet a channel backup" wallet::give_backup,
        GET    "/api/v1/backups/place/ssh-key"   Settings "The box's own SSH key, for an SFTP server" copies::ssh_key,
        POST   "/api/v1/backups/place/sticks"    Settings "Look for USB sticks" copies::sticks,
        GET    "/api/v1/backups/place/test"      Read     "What the test of another place found" copies::look,
        POST   "/api/v1/backups/place/test"      Settings "Test another place for copies live; nothing is changed" copies::begin,
        POST   "/api/v1/backups/place/host-key"  Settings "Confirm the SSH key that the server of a place showed" copies::host_key,
        POST   "/api/v1/backups/place/code"      Settings "Give the code of the test mail" copies::code,
        POST   "/api/v1/backups/place/use"       Settings "Use the place that was tested" copies::take,
        GET    "/api/v1/node"                    Read     "The node: key, name, chain, whether it is in step" node::info,
        GET    "/api/v1/node/balances"           Read     "What the node has, on the chain and in channels" node::balances,
        GET    "/api/v1/node/alerts"             Read     "What needs the owner's attention" system::alerts,
        GET    "/api/v1/node/channels"           Read     "The open channels" channels::list,
        POST   "/api/v1/node/channels"           Channels "Open a channel, once for each Idempotency-Key" channels::open,
        GET    "/api/v1/node/channels/pending"   Read     "Channels that open or close" channels::pending,
        POST   "/api/v1/node/channels/{point}/close" Channels "Close a channel, once for each Idempotency-Key" channels::close,
        GET    "/api/v1/node/peers"              Read     "The connected peers" channels::peers,
        POST   "/api/v1/node/peers"              Channels "Connect a peer" channels::connect,
        DELETE "/api/v1/node/peers/{node}"       Channels "Disconnect a peer" channels::disconnect,
        GET    "/api/v1/node/htlcs"              Read     "Payments on their way through the channels" node::htlcs,
        GET    "/api/v1/node/transactions"       Read     "The wallet's transactions on the chain, newest first" money::transactions,
        POST   "/api/v1/node/addresses"          Invoices "Make an address of the wallet" money::address,
        GET    "/api/v1/node/invoices"           Read     "Invoices, newest first" money::invoices,
        POST   "/api/v1/node/invoices"           Invoices "Make an invoice" money::make_invoice,
        GET    "/api/v1/node/invoices/{hash}"    Read     "One invoice, by its payment hash" money::invoice,
        GET    "/api/v1/node/payments"           Read     "Payments, newest first" payments::list,
        POST   "/api/v1/node/payments/terms"     Pay      "Ask the service of a Lightning address or an LNURL for its terms" payments::terms,
        POST   "/api/v1/node/payments/previews"  Pay      "Read what is to be paid and get a ticket for it" payments::preview,
        POST   "/api/v1/node/payments"           Pay      "Pay a ticket, once for each Idempotency-Key" payments::pay,
        GET    "/api/v1/node/forwards"           Read     "Payments of others that went through this node, oldest first" payments::forwards,
        GET    "/metrics"                        Read     "Figures for Prometheus" metrics::get,
    ]
}
