//! The form of the settings.

use maud::{Markup, html};
use rust_i18n::t;

use super::{PATH, Typed};
use crate::{
    pages::{complaint, csrf, setup::field},
    session::Current,
    shared::House,
    updates::settings::Automatic,
};

pub(super) fn section(house: &House, session: &Current, typed: &Typed, bad: Option<&str>) -> Markup {
    let zone = house.shared.place();
    let own = house.updates.of_image().map(|source| source.url.clone());
    let hint = match &own {
        Some(url) => t!("updates.set.url_image", url = url),
        None => t!("updates.set.url_hint"),
    };
    html! {
        details #set open[bad.is_some()] {
            summary { (t!("updates.set.title")) }
            form method="post" action=(PATH) {
                (csrf(session))
                (complaint("set-complaint", bad))
                (field("url", &t!("updates.set.url"), &typed.url, Some(&hint)))
                (field("name", &t!("updates.set.name"), &typed.name, Some(&t!("updates.set.name_hint"))))
                (check("home", typed.home == "yes", &t!("updates.set.home")))
                fieldset {
                    legend { (t!("updates.set.automatic")) }
                    @for one in Automatic::ALL {
                        @let id = format!("automatic-{}", one.name());
                        p.check {
                            input id=(id) name="automatic" type="radio" value=(one.name()) checked[typed.automatic == one.name()];
                            label for=(id) { (t!(format!("updates.set.{}", one.name()))) }
                        }
                    }
                }
                (number("start", &t!("updates.set.start", zone = zone.zone_name()), &typed.start, "0", "23"))
                (number("hours", &t!("updates.set.hours"), &typed.hours, "1", "24"))
                (check("keep", typed.keep == "yes", &t!("updates.set.keep")))
                button { (t!("place.save")) }
            }
        }
    }
}

fn check(id: &str, is_on: bool, label: &str) -> Markup {
    html! {
        p.check {
            input id=(id) name=(id) type="checkbox" value="yes" checked[is_on];
            label for=(id) { (label) }
        }
    }
}

fn number(id: &str, label: &str, value: &str, least: &str, most: &str) -> Markup {
    html! {
        p.field {
            label for=(id) { (label) }
            input id=(id) name=(id) type="number" min=(least) max=(most) step="1" required value=(value);
        }
    }
}
