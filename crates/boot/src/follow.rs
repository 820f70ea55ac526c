//! From the booted disk's data partition to the live one: it says itself where its data went.
//!
//! ```text
//! home ── live ───────────────────────────────► use it
//!   │ moved 7 to X
//!   X ─── live ───────────────────────────────► use it
//!   │ ─── arriving 7 ──► write 'live' ────────► use it
//!   │ ─── moved 8 to Y ─► Y …, and home is told of Y
//!   │ ─── not there ──────────────────────────► Away: no wallet starts, and never the old copy
//! ```

use std::path::{Path, PathBuf};

use nix::mount::umount;
use twin::{Data, DataState};

use crate::{
    data::{self, Fault},
    disks::{self, Identity},
    error::{At, Error},
    gpt::Guid,
    marker::{Marker, Moved},
};

/// More moves than this are never between home and the live data: home is told of each at the next start.
const HOPS: usize = 8;

/// The partitions as this module needs them; in tests they are values.
pub trait World {
    /// A partition.
    type At: Clone + PartialEq;

    /// Checks the partition and, when it is ours and sound, opens it and gives its marker.
    fn open(&mut self, at: &Self::At) -> Result<Result<Marker, Fault>, Error>;
    /// Closes the one that is open.
    fn close(&mut self) -> Result<(), Error>;
    /// Writes the marker of the one that is open.
    fn mark(&mut self, marker: &Marker) -> Result<(), Error>;
    /// Waits for the partition; `None` when it does not come.
    fn find(&mut self, partition: Guid) -> Option<Self::At>;
}

/// The end of the way: the partition that was judged last, and what was found. It is open when it is live.
#[derive(Debug, PartialEq, Eq)]
pub struct Reached<T> {
    /// `None` when it is not there.
    pub at: Option<T>,
    pub judged: Result<(), Fault>,
}

/// Goes from `home` to the live data and leaves that open.
///
/// # Errors
/// Only what is this system's own fault.
pub fn follow<W: World>(world: &mut W, home: &W::At) -> Result<Reached<W::At>, Error> {
    let mut at = home.clone();
    let mut via: Option<Moved> = None;
    for hop in 0..HOPS {
        let marker = match world.open(&at)? {
            Ok(marker) => marker,
            Err(fault) => return Ok(Reached { at: Some(at), judged: Err(on_other_disk(fault, via.as_ref())) }),
        };
        let is_meant = via.as_ref().is_some_and(|via| marker.arriving() == Some(&via.id));
        if is_meant {
            world.mark(&Marker::Live)?;
        }
        let to = match marker {
            marker if is_meant || marker == Marker::Live => {
                if let Some(via) = via.filter(|_| hop > 1 && at != *home) {
                    shorten(world, home, &at, via)?;
                }
                return Ok(Reached { at: Some(at), judged: Ok(()) });
            }
            Marker::Moved { to, .. } => to,
            _ => {
                world.close()?;
                let text = "The data partition holds a copy that was never finished. It is not used.";
                return Ok(Reached { at: Some(at), judged: Err((DataState::Foreign, text.into())) });
            }
        };
        world.close()?;
        match to.partition().and_then(|partition| world.find(partition)) {
            Some(next) => at = next,
            None => return Ok(Reached { at: None, judged: Err(away(&to)) }),
        }
        via = Some(to);
    }
    let text = "The data partitions name each other as the one in use. Nothing is used before somebody has looked.";
    Ok(Reached { at: None, judged: Err((DataState::Damaged, text.into())) })
}

/// Tells home where the data is after more than one move, so that the disk in between is not needed any more. Cut off by a
/// lost power the way is only as long as before.
fn shorten<W: World>(world: &mut W, home: &W::At, at: &W::At, via: Moved) -> Result<(), Error> {
    world.close()?;
    if world.open(home)?.is_ok() {
        let marked = world.mark(&Marker::Moved { to: via, arriving: None });
        world.close()?;
        marked?;
    }
    match world.open(at)? {
        Ok(_) => Ok(()),
        Err((_, sentence)) => Err(Error::Refused(sentence)),
    }
}

fn away(to: &Moved) -> Fault {
    let text = format!(
        "The data of this box was moved to the disk {}, which is not connected. The old copy on this disk is out of date \
         and is not used.",
        to.disk()
    );
    (DataState::Away, text)
}

/// Says which disk is meant when it is not the one the box was started from.
fn on_other_disk((state, sentence): Fault, via: Option<&Moved>) -> Fault {
    match via {
        Some(via) => (state, format!("On the disk {}, to which the data was moved: {sentence}", via.disk())),
        None => (state, sentence),
    }
}

/// The partitions of this machine, one of them mounted on `target`.
pub struct Machine<'a> {
    pub target: &'a Path,
    /// Waits for a partition of that GUID and gives its disk and its device.
    pub wait: &'a mut dyn FnMut(Guid) -> Option<(disks::Disk, PathBuf)>,
    /// Of the disk that was found last.
    found: Identity,
}

impl<'a> Machine<'a> {
    pub fn new(target: &'a Path, wait: &'a mut dyn FnMut(Guid) -> Option<(disks::Disk, PathBuf)>) -> Self {
        Self { target, wait, found: Identity::default() }
    }
}

impl World for Machine<'_> {
    type At = PathBuf;

    fn open(&mut self, at: &PathBuf) -> Result<Result<Marker, Fault>, Error> {
        data::open(at, self.target)
    }

    fn close(&mut self) -> Result<(), Error> {
        umount(self.target).at("unmount", self.target)
    }

    fn mark(&mut self, marker: &Marker) -> Result<(), Error> {
        marker.write(self.target)
    }

    fn find(&mut self, partition: Guid) -> Option<PathBuf> {
        let (disk, device) = (self.wait)(partition)?;
        self.found = disk.identity();
        Some(device)
    }
}

/// Opens the live data and mounts it on `machine.target`; `home` is the booted disk's partition, `None` for none. Gives what
/// to tell the owner, and the device that was judged.
pub fn open(mut machine: Machine, home: Option<&Path>, disk: Identity) -> Result<(Data, Option<PathBuf>), Error> {
    let Some(home) = home else {
        let detail = "The disk has no data partition.".into();
        let data = Data { state: DataState::Missing, detail, serial: disk.serial, model: disk.model, elsewhere: false };
        return Ok((data, None));
    };
    let reached = follow(&mut machine, &home.to_owned())?;
    let elsewhere = reached.at.as_deref().is_some_and(|at| at != home);
    // What the owner may be asked to type is the serial number of the disk that would be erased.
    let identity = if elsewhere { machine.found } else { disk };
    let (state, detail) = reached.judged.err().unwrap_or((DataState::Ok, String::new()));
    let data = Data { state, detail, serial: identity.serial, model: identity.model, elsewhere };
    Ok((data, Some(reached.at.unwrap_or_else(|| home.to_owned()))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Partitions by a letter; what is not in the map is not connected. Power goes after so many writes.
    #[derive(Clone)]
    struct Toy {
        markers: BTreeMap<char, Marker>,
        open: Option<char>,
        writes: usize,
    }

    fn guid(letter: char) -> Guid {
        format!("00000000-0000-0000-0000-0000000000{:02x}", letter as u32).parse().unwrap()
    }

    fn moved(id: &str, to: char) -> Moved {
        Moved { id: id.into(), at: 7, to: guid(to).to_string(), model: "SSD".into(), serial: format!("S-{to}") }
    }

    fn left(id: &str, to: char) -> Marker {
        Marker::Moved { to: moved(id, to), arriving: None }
    }

    impl Toy {
        fn new(markers: &[(char, Marker)]) -> Self {
            Self { markers: markers.iter().cloned().collect(), open: None, writes: usize::MAX }
        }

        fn live(&self) -> Vec<char> {
            self.markers.iter().filter(|(_, marker)| **marker == Marker::Live).map(|(letter, _)| *letter).collect()
        }
    }

    impl World for Toy {
        type At = char;

        fn open(&mut self, at: &char) -> Result<Result<Marker, Fault>, Error> {
            assert_eq!(self.open, None, "two are open at once");
            self.open = Some(*at);
            Ok(Ok(self.markers[at].clone()))
        }

        fn close(&mut self) -> Result<(), Error> {
            assert!(self.open.take().is_some());
            Ok(())
        }

        fn mark(&mut self, marker: &Marker) -> Result<(), Error> {
            self.writes = self.writes.checked_sub(1).ok_or_else(|| Error::Refused("the power went".into()))?;
            self.markers.insert(self.open.unwrap(), marker.clone());
            Ok(())
        }

        fn find(&mut self, partition: Guid) -> Option<char> {
            self.markers.keys().copied().find(|letter| guid(*letter) == partition)
        }
    }

    fn reach(toy: &mut Toy) -> Reached<char> {
        follow(toy, &'h').unwrap()
    }

    #[test]
    fn live_data_at_home_is_used_whatever_else_is_connected() {
        let mut toy = Toy::new(&[('h', Marker::Live), ('x', Marker::Live), ('y', Marker::Arriving("7".into()))]);
        assert_eq!(reach(&mut toy), Reached { at: Some('h'), judged: Ok(()) });
        assert_eq!(toy.open, Some('h'));
    }

    #[test]
    fn the_old_copy_is_never_used_when_the_new_disk_is_missing() {
        let mut toy = Toy::new(&[('h', left("7", 'x'))]);
        let reached = reach(&mut toy);
        let (state, sentence) = reached.judged.unwrap_err();
        assert_eq!((reached.at, state, toy.open), (None, DataState::Away, None));
        assert!(sentence.contains("SSD (serial number S-x)"), "{sentence}");
    }

    #[test]
    fn a_copy_becomes_live_only_by_its_own_move() {
        let mut toy = Toy::new(&[('h', left("7", 'x')), ('x', Marker::Arriving("7".into()))]);
        assert_eq!(reach(&mut toy), Reached { at: Some('x'), judged: Ok(()) });
        assert_eq!(toy.live(), ['x']);
        let mut toy = Toy::new(&[('h', left("8", 'x')), ('x', Marker::Arriving("7".into()))]);
        assert_eq!(reach(&mut toy).judged.unwrap_err().0, DataState::Foreign);
        assert!(toy.live().is_empty() && toy.open.is_none());
    }

    /// All that a move writes to markers, in its order, and then starts; the power goes after each write.
    #[test]
    fn a_power_cut_at_any_write_of_any_move_leaves_exactly_one_live_copy() {
        let at_home = Toy::new(&[('h', Marker::Live)]);
        let at_x = Toy::new(&[('h', left("1", 'x')), ('x', Marker::Live)]);
        for (start, from, to) in [(at_home, 'h', 'x'), (at_x.clone(), 'x', 'y'), (at_x, 'x', 'h')] {
            let arriving = match start.markers.get(&to) {
                Some(Marker::Moved { to, .. }) => Marker::Moved { to: to.clone(), arriving: Some("9".into()) },
                _ => Marker::Arriving("9".into()),
            };
            let writes = [(to, arriving), (from, left("9", to))];
            for cut in 0..=writes.len() {
                let mut toy = start.clone();
                toy.markers.extend(writes[..cut].iter().cloned());
                let expected = if cut == writes.len() { to } else { from };
                // The starts afterwards are cut off, too, after none, one or two writes of their own.
                for cuts in [[0, 0], [1, 0], [1, 1], [2, 1]] {
                    let mut toy = toy.clone();
                    for cut in cuts {
                        toy.writes = cut;
                        toy.open = None;
                        if let Ok(reached) = follow(&mut toy, &'h') {
                            assert_eq!(reached, Reached { at: Some(expected), judged: Ok(()) });
                        }
                        assert!(toy.live().len() <= 1, "{:?}", toy.markers);
                    }
                    (toy.writes, toy.open) = (usize::MAX, None);
                    assert_eq!(follow(&mut toy, &'h').unwrap(), Reached { at: Some(expected), judged: Ok(()) });
                    assert_eq!((toy.live(), toy.open), (vec![expected], Some(expected)));
                }
            }
        }
    }

    #[test]
    fn after_a_second_move_the_disk_in_between_is_not_needed() {
        let mut toy = Toy::new(&[('h', left("1", 'x')), ('x', left("2", 'y')), ('y', Marker::Arriving("2".into()))]);
        assert_eq!(reach(&mut toy).at, Some('y'));
        toy.markers.remove(&'x');
        toy.open = None;
        assert_eq!(reach(&mut toy), Reached { at: Some('y'), judged: Ok(()) });
    }

    #[test]
    fn partitions_that_name_each_other_are_not_used() {
        let mut toy = Toy::new(&[('h', left("1", 'x')), ('x', left("2", 'h'))]);
        assert_eq!(reach(&mut toy).judged.unwrap_err().0, DataState::Damaged);
        assert_eq!(toy.open, None);
    }
}
