//! What runs as root on the box before and beside the manager: the initrd's first process, and small helpers.
//!
//! Decisions are pure functions with tests; what touches the machine stands beside them and is tested in a booted image.

pub mod appear;
pub mod cmdline;
pub mod console;
pub mod data;
pub mod disks;
pub mod error;
pub mod esp;
pub mod fence;
pub mod files;
pub mod fill;
pub mod follow;
pub mod gpt;
pub mod grow;
pub mod hash_index;
pub mod init;
pub mod marker;
pub mod marks;
pub mod modules;
pub mod network;
pub mod place;
pub mod program;
pub mod recovery;
pub mod relocate;
pub mod repair;
pub mod request;
pub mod reset;
pub mod root;
pub mod seal;
pub mod slotcfg;
pub mod slots;
pub mod state;
pub mod stick;
pub mod survey;
pub mod unlock;
pub mod update;
pub mod verity;
pub mod watchdog;

use std::path::Path;

/// Leaves a mark for this boot: how far it came, in the words of [`marks::Stage`].
pub fn mark(stage: &str) -> Result<(), error::Error> {
    let boot = state::Boot::read()?;
    if boot.data.state != twin::DataState::Ok {
        console::note(&format!("no mark of '{stage}', as the data partition is not usable"));
        return Ok(());
    }
    marks::append(Path::new("/data"), boot.slot, &stage.into())
}
