//! The boot state as GRUB finds it on the EFI partition. All that the sweep knows of how it is kept stands here.

use std::ops::Range;

use bootstate::{COPIES, LENGTH, State, Step, TEXT, choose};
use twin::Slot;

use super::bytes::{Bytes, Cursor};
use crate::{disk::find_in_fat, report::Fault};

/// The slots that GRUB comes to, in this order, as long as none of them gets as far as its health gate.
pub(crate) fn taken(state: &State) -> Vec<Slot> {
    let (mut state, mut taken) = (*state, Vec::new());
    loop {
        match state.step() {
            Step::Start(slot) if !taken.contains(&slot) => taken.push(slot),
            Step::Start(_) | Step::Again => {}
            Step::Recover | Step::Broken => return taken,
        }
    }
}

/// Reads it from the disk whose EFI partition begins at `esp`. That neither copy is whole is a fault: GRUB would try both slots.
pub(crate) fn read(disk: &impl Bytes, esp: u64) -> Result<State, String> {
    let blocks = COPIES.map(|copy| {
        let mut block = [0; TEXT];
        disk.read(place(disk, esp, copy)?, &mut block).map_err(|error| error.to_string())?;
        Ok::<_, String>(block)
    });
    let [first, second] = blocks.each_ref().map(|block| block.as_ref().ok().map(|block| &block[..]));
    let known = choose([first, second]);
    match (known.copy, blocks) {
        (Some(_), _) => Ok(known.state),
        (None, [Err(why), _]) => Err(format!("neither copy of the boot state is whole: {why}")),
        (None, _) => Err("neither copy of the boot state is whole".into()),
    }
}

/// The bytes of the disk that it stands in, as far as they are found.
pub(crate) fn places(disk: &impl Bytes, esp: u64) -> Vec<Range<u64>> {
    COPIES.iter().filter_map(|copy| place(disk, esp, *copy).ok()).map(|start| start..start + LENGTH as u64).collect()
}

fn place(disk: &impl Bytes, esp: u64, copy: [&str; 2]) -> Result<u64, String> {
    find_in_fat(&mut Cursor::new(disk), esp, &copy).map_err(|fault| match fault {
        Fault::Fails(why) | Fault::Skip(why) => format!("the boot state is not found: {why}"),
    })
}

#[cfg(test)]
mod tests {
    use bootstate::Counter;

    use super::*;

    #[test]
    fn slots_are_taken_in_their_order_and_one_that_is_switched_off_only_when_both_are() {
        let state = |first, ok: [bool; 2], tries: [u8; 2]| {
            let [a, b] = [0, 1].map(|slot| Counter { ok: ok[slot], tries: tries[slot] });
            taken(&State { first, a, b, ..State::LOST })
        };
        let (first, second) = ([Slot::A, Slot::B], [Slot::B, Slot::A]);
        assert_eq!(state(Slot::A, [true, true], [0, 0]), first);
        assert_eq!(state(Slot::B, [true, true], [0, 0]), second);
        assert_eq!(state(Slot::B, [true, true], [0, 3]), first);
        assert_eq!(state(Slot::B, [true, true], [3, 3]), second);
        assert_eq!(state(Slot::B, [true, false], [3, 0]), [Slot::A]);
        assert_eq!(state(Slot::A, [false, false], [0, 0]), first);
    }
}
