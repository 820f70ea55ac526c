//! What is wrong with each slot, and which of them a new system goes to.

use std::path::Path;

use bootstate::{Slot, State};
use release::Version;

use super::page::System;
use crate::{
    esp, marks, slots,
    verity::{self, Check},
};

/// A slot that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub system: System,
    /// There is nothing in it that could start.
    pub is_lost: bool,
}

/// Looks at both slots, which takes as long as reading them does. `data` is where the data partition is mounted.
pub fn look(data: Option<&Path>) -> Vec<Looked> {
    let marks = data.map(marks::read);
    match esp::read() {
        Ok(state) => state.order().map(|slot| look_at(slot, &state, marks.as_deref())).into(),
        Err(error) => Slot::ALL.map(|slot| unknown(slot, &error.to_string())).into(),
    }
}

fn look_at(slot: Slot, state: &State, marks: Option<&[marks::Mark]>) -> Looked {
    let boot = slots::boot_partition(slot);
    let root = match &boot {
        Ok(cfg) => verity::check(&slots::link("root", slot), &cfg.root_hash, cfg.root_size),
        Err(_) => Check::Unknown("without its boot partition it has no root hash".into()),
    };
    let is_lost = boot.is_err() || root == Check::Damaged;
    let version = boot.as_ref().ok().and_then(|cfg| cfg.version.clone());
    let boot = boot.as_ref().map_err(String::as_str);
    let problem = if state.fill == Some(slot) {
        format!("Slot {slot} is empty: this box had not yet made its second copy of the system.")
    } else {
        slots::explain(&slots::Evidence { slot, counter: state.slot(slot), boot, root, marks })
    };
    Looked { system: System { slot, version, problem }, is_lost }
}

fn unknown(slot: Slot, reason: &str) -> Looked {
    let problem = format!("Why slot {slot} does not start is not known: {reason}.");
    Looked { system: System { slot, version: None, problem }, is_lost: true }
}

/// Versions of the systems, as far as they say them.
pub fn versions(looked: &[Looked]) -> Vec<Version> {
    looked.iter().filter_map(|looked| Version::parse(looked.system.version.as_deref()?).ok()).collect()
}

/// The slot for a new system: one in which nothing is lost by it, the less wanted one first; else the less wanted one.
pub fn target(looked: &[Looked], state: &State) -> Slot {
    let [first, last] = state.order();
    let is_lost = |slot| looked.iter().any(|looked| looked.system.slot == slot && looked.is_lost);
    if is_lost(first) && !is_lost(last) { first } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_system_goes_where_nothing_is_lost() {
        let looked = |a, b| [(Slot::A, a), (Slot::B, b)].map(|(slot, is_lost)| Looked { is_lost, ..unknown(slot, "") });
        let state = State { first: Slot::B, ..State::LOST };
        assert_eq!(target(&looked(false, false), &state), Slot::A);
        assert_eq!(target(&looked(true, true), &state), Slot::A);
        assert_eq!(target(&looked(true, false), &state), Slot::A);
        assert_eq!(target(&looked(false, true), &state), Slot::B);
        assert_eq!(target(&looked(true, false), &State::LOST), Slot::A);
    }

    #[test]
    fn only_versions_that_can_be_compared_count() {
        let with = |version: &str| {
            let mut looked = unknown(Slot::A, "");
            looked.system.version = Some(version.into());
            looked
        };
        assert_eq!(versions(&[with("0.1.0"), with("new"), unknown(Slot::B, "")]), [Version::new(0, 1, 0)]);
    }
}
