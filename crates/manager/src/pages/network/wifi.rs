//! The radio on the network page: what there is, what it sees, and the form that has it join.

use maud::{Markup, html};
use netconf::{Country, Ssid};
use rust_i18n::t;
use twin::{
    State,
    net::{Blocked, Security, Station},
};

use crate::{
    network::{Join, plan_of, stations, unfit},
    pages::{complaint, csrf},
    session::Current,
};

/// `refused`: what was typed, and why it cannot be.
pub(super) fn section(session: &Current, path: &str, state: &State, refused: Option<(&Join, &str)>) -> Markup {
    let wifi = &state.wifi;
    html! {
        section.card aria-labelledby="wifi-heading" {
            h2 #wifi-heading { (t!("wifi.title")) }
            @if wifi.radios.is_empty() {
                p { (t!("wifi.none")) }
            } @else {
                p { (t!("wifi.cable_better")) }
                ul.plain {
                    @for radio in &wifi.radios {
                        li {
                            (t!("wifi.radio", name = radio.name, driver = radio.driver))
                            @match radio.blocked {
                                Blocked::No => {},
                                Blocked::Soft => { p.notice { (t!("wifi.blocked.soft")) } },
                                Blocked::Hard => { p.notice { (t!("wifi.blocked.hard")) } },
                            }
                        }
                    }
                }
                @if wifi.stations.is_none() { p.notice { (t!("wifi.away")) } }
                @for station in stations(state) {
                    (of_station(session, path, state, station, refused.filter(|(join, _)| join.card == station.mac)))
                }
            }
        }
    }
}

fn of_station(
    session: &Current,
    path: &str,
    state: &State,
    station: &Station,
    refused: Option<(&Join, &str)>,
) -> Markup {
    let joined = station.networks.iter().find(|reach| reach.connected);
    let kept = station.mac.parse().ok().and_then(|mac| plan_of(state, mac).wifi);
    let id = |name: &str| format!("wifi-{name}-{}", station.card);
    let chosen = refused.map(|(join, _)| join.ssid.as_str());
    let typed = refused.map(|(join, _)| join.typed.as_str()).unwrap_or_default();
    html! {
        h3 { (station.card) }
        @match (joined, &kept) {
            (Some(reach), _) => p { (t!("wifi.joined", name = shown(&reach.ssid), signal = reach.signal)) },
            (None, Some(wifi)) => p.notice { (t!("wifi.not_joined", name = wifi.ssid.shown())) },
            (None, None) => p { (t!("wifi.joins_none")) },
        }
        form method="post" action={ (path) "/wifi/scan" } {
            (csrf(session))
            button.second { (t!("wifi.scan")) }
            @if station.scanning { " " span.small role="status" { (t!("wifi.scanning")) } }
        }
        form method="post" action={ (path) "/wifi" } {
            (csrf(session))
            input type="hidden" name="card" value=(station.mac);
            (complaint(&id("complaint"), refused.map(|(_, text)| text)))
            fieldset {
                legend { (t!("wifi.networks")) }
                @if station.networks.is_empty() { p { (t!("wifi.empty")) } }
                @for (number, reach) in station.networks.iter().enumerate() {
                    @if reach.security == Security::Personal {
                        @let id = id(&format!("network-{number}"));
                        p.check {
                            input id=(id) name="ssid" type="radio" value=(reach.ssid)
                                checked[chosen == Some(reach.ssid.as_str()) || chosen.is_none() && reach.connected];
                            label for=(id) { (shown(&reach.ssid)) " " span.small { (t!("wifi.signal", signal = reach.signal)) } }
                        }
                    } @else {
                        p { (shown(&reach.ssid)) " " span.small { (unfit(reach.security)) } }
                    }
                }
                @let other = id("other");
                p.check {
                    input id=(other) name="ssid" type="radio" value=""
                        checked[chosen == Some("") || chosen.is_none() && joined.is_none()];
                    label for=(other) { (t!("wifi.other")) }
                }
                @let name = id("typed");
                p.field {
                    label for=(name) { (t!("wifi.name")) }
                    input id=(name) name="typed" type="text" value=(typed) maxlength="32" autocomplete="off"
                        autocapitalize="none" autocorrect="off" spellcheck="false";
                }
            }
            @let password = id("password");
            @let hint = id("password-hint");
            p.field {
                label for=(password) { (t!("wifi.password")) }
                input id=(password) name="passphrase" type="password" maxlength="64" autocomplete="off"
                    aria-describedby=(hint);
            }
            p.hint id=(hint) { (t!("wifi.password_hint")) }
            (country(&id("country"), state, refused.map(|(join, _)| join.country.as_str())))
            p.row {
                button { (t!("wifi.join")) }
                button.second name="what" value="country" { (t!("wifi.country.alone")) }
            }
        }
        @if let Some(wifi) = &kept {
            form method="post" action={ (path) "/wifi" } {
                (csrf(session))
                input type="hidden" name="card" value=(station.mac);
                input type="hidden" name="what" value="forget";
                button.second { (t!("wifi.forget", name = wifi.ssid.shown())) }
            }
        }
    }
}

/// `sent`: what was chosen in a form that cannot be.
fn country(id: &str, state: &State, sent: Option<&str>) -> Markup {
    let kept = state.netconf.country;
    let chosen = sent.map_or(kept, |text| Country::new(text).ok());
    let hint = format!("{id}-hint");
    html! {
        p.field {
            label for=(id) { (t!("wifi.country.title")) }
            select id=(id) name="country" autocomplete="country" aria-describedby=(hint) {
                // What is kept can be changed, and no more taken away: every box stands somewhere.
                @if kept.is_none() { option value="" selected[chosen.is_none()] { (t!("wifi.country.none")) } }
                @for (country, name) in Country::all() {
                    option value=(country) selected[chosen == Some(country)] { (country) " " (name) }
                }
            }
        }
        p.hint id=(hint) { (t!("wifi.country.hint")) }
    }
}

/// Names come through the air, from anybody.
fn shown(name: &str) -> String {
    Ssid::new(name).map(|ssid| ssid.shown()).unwrap_or_default()
}
