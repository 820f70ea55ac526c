//! What the page of disks is put together from: names, contents, progress.

use maud::{Markup, html};
use rust_i18n::t;
use twin::disks::{DataPart, Disk, Move, MovePhase, Obstacle, Part, Standing};

use crate::pages::words::{bytes, moment, sentence};

/// The disk by what is printed on it.
pub(super) fn name(disk: &Disk) -> String {
    let model = if disk.model.is_empty() { t!("setup.disk.no_model").into_owned() } else { disk.model.clone() };
    match disk.serial.as_str() {
        "" => model,
        serial => t!("setup.disk.name", model = model, serial = serial).into_owned(),
    }
}

/// The disk with the data that is in use.
pub(super) fn live(disk: &Disk, used: u64) -> Markup {
    html! {
        section.card aria-labelledby="disk-live" {
            h2 #disk-live { (t!("setup.disk.live")) }
            p { strong { (name(disk)) } }
            p {
                @if disk.booted { (t!("setup.disk.live_booted")) } @else { (t!("setup.disk.live_other")) }
                " " (t!("setup.disk.live_size", used = bytes(used), size = bytes(disk.size)))
            }
        }
    }
}

pub(super) fn contents(disk: &Disk) -> Markup {
    html! {
        p.small { (t!("setup.disk.size", size = bytes(disk.size))) @if disk.booted { " " (t!("setup.disk.booted")) } }
        @if disk.empty {
            p { (t!("setup.disk.empty")) }
        } @else if disk.parts.is_empty() {
            p { (t!("setup.disk.only_table")) }
        } @else if disk.booted {
            @for part in disk.parts.iter().filter(|part| part.data.is_some()) { p { (content(part)) } }
        } @else {
            p { (t!("setup.disk.holds")) }
            ul { @for part in &disk.parts { li { (content(part)) } } }
        }
    }
}

fn content(part: &Part) -> Markup {
    html! {
        @if let Some(data) = &part.data {
            strong { (t!("setup.disk.data_part")) } ", " (bytes(part.size)) ": " (standing(data))
        } @else {
            @if part.content.is_empty() { (t!("setup.disk.unknown_content")) } @else { (part.content) }
            @if !part.label.is_empty() { " (" (part.label) ")" }
            ", " (bytes(part.size))
        }
    }
}

fn standing(data: &DataPart) -> Markup {
    let host = if data.host.is_empty() { "homelab" } else { &data.host };
    html! {
        @match data.standing {
            Standing::Live if data.own => (t!("setup.disk.standing_copy")),
            Standing::Live if data.wallet => (t!("setup.disk.standing_wallet", host = host)),
            Standing::Live => (t!("setup.disk.standing_other", host = host)),
            Standing::Moved => (t!("setup.disk.standing_moved", disk = data.moved_to, at = moment(data.moved_at.unwrap_or_default()))),
            Standing::Arriving => (t!("setup.disk.standing_arriving")),
            Standing::Unknown => (t!("setup.disk.standing_unknown")),
        }
    }
}

/// Whether the owner is offered to use that data. The root program looks once more.
pub(crate) fn is_adoptable(data: &DataPart) -> bool {
    data.standing == Standing::Live && !data.own
}

/// Whether data can come back to the disk that the box starts from.
pub(super) fn has_old_copy(disk: &Disk) -> bool {
    disk.parts.iter().any(|part| part.data.as_ref().is_some_and(|data| data.standing == Standing::Moved))
}

pub(super) fn obstacle(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Busy => t!("setup.disk.obstacle_busy"),
        Obstacle::ReadOnly => t!("setup.disk.obstacle_readonly"),
        Obstacle::Small(needed) => t!("setup.disk.obstacle_small", size = bytes(needed)),
        Obstacle::Unreadable => t!("setup.disk.obstacle_unreadable"),
    }
    .into_owned()
}

/// How far the move is.
pub(super) fn progress(moving: &Move) -> Markup {
    let share = (moving.done * 100).checked_div(moving.total);
    html! {
        p.lead role="status" { (t!("setup.disk.moving", disk = moving.disk)) }
        ol.phases {
            @for phase in MovePhase::WAY {
                @let (class, word) = if phase < moving.phase { ("good", "done") } else if phase == moving.phase { ("busy", "running") } else { ("off", "waiting") };
                li {
                    span.badge.(class) { (t!(format!("setup.apply.progress.{word}"))) }
                    " " strong { (t!(format!("setup.disk.phase_{}", phase.name()))) }
                    @if phase == moving.phase {
                        @if let Some(share) = share {
                            p.small { (t!("setup.disk.done_of", done = bytes(moving.done), total = bytes(moving.total), percent = share)) }
                            progress aria-label=(t!(format!("setup.disk.phase_{}", phase.name()))) max="100" value=(share) {}
                        }
                    }
                }
            }
        }
        p.aside { (t!("setup.disk.moving_aside")) }
    }
}

/// What became of the last move since the start.
pub(super) fn outcome(moving: &Move) -> Markup {
    html! {
        @match moving.phase {
            MovePhase::Failed => {
                div.notice.bad role="status" {
                    h2 { (t!("setup.disk.failed")) }
                    p { (sentence(&moving.error)) }
                    p { (t!("setup.disk.failed_kept")) }
                }
            }
            MovePhase::Cancelled => p.notice role="status" { (t!("setup.disk.cancelled")) },
            _ => {}
        }
    }
}
