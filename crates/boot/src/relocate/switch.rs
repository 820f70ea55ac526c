//! The end of a move: nobody writes to the old copy any more, the rest is copied, and one write makes the new copy live.

use std::{path::Path, thread, time::Duration};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use super::{SYSTEMCTL, job::Job, target::Target, tree};
use crate::{
    error::{At, Error},
    files, program,
    survey::DATA,
};

/// Who may be asked to do something while the rest is copied. The sockets first: they would start the manager again.
const WRITERS: [&str; 3] = ["homebolt-http.socket", "homebolt-https.socket", "homebolt-manager.service"];

/// So often it is tried to take the right to write away, a second apart: a file may just be open.
const TRIES: usize = 20;

/// `before`: the stamps of the bulk when it was copied.
pub fn run(job: &Job, target: &Target, before: &tree::Stamps) -> Result<(), Error> {
    let old = Path::new(DATA);
    let arguments: Vec<&str> = ["stop"].into_iter().chain(WRITERS).collect();
    program::must(SYSTEMCTL, &arguments)?;
    // The kernel grants this only when no file is open for writing: it is the proof that nothing is missed.
    read_only()?;
    let rest = tree::rest(old)?;
    tree::copy(old, target.root(), &rest, &mut |_, _| Ok(()))?;
    // Read back from the disk.
    target.reopen()?;
    for path in &rest {
        tree::compare(old, target.root(), path, &mut |_, _| Ok(()))?;
    }
    if tree::stamps(&old.join(tree::BULK))? != *before {
        return Err(Error::Refused("The wallet's data changed while it was copied. Nothing was moved.".into()));
    }
    target.close()?;
    remount(MsFlags::empty()).at("make writable", DATA)?;
    // THE write: before it the old copy is live, after it the new one.
    job.moved(target.partition.clone()).write(old)?;
    let text = format!(
        "The data of this box was moved to another disk: {} (serial number {}).\n\
         What lies here is an old copy. Do not use it: an old state of Lightning channels loses money.\n",
        job.wish.model, job.wish.serial
    );
    // For a person who looks; the box goes by the marker.
    let _ = files::write_atomic(&old.join("MOVED.txt"), text.as_bytes(), 0o644);
    Ok(())
}

fn read_only() -> Result<(), Error> {
    for _ in 0..TRIES {
        match remount(MsFlags::MS_RDONLY) {
            Err(Errno::EBUSY) => thread::sleep(Duration::from_secs(1)),
            done => return done.at("make read-only", DATA),
        }
    }
    Err(Error::Refused("Something still writes to the data. Nothing was moved; try it again.".into()))
}

/// Makes the data writable again, if it is not. A file system that is not this one's matter is left alone.
pub fn undo() -> Result<(), Error> {
    let space = nix::sys::statvfs::statvfs(DATA).at("ask for the space of", DATA)?;
    if space.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        remount(MsFlags::empty()).at("make writable", DATA)?;
    }
    Ok(())
}

fn remount(flags: MsFlags) -> nix::Result<()> {
    let always =
        MsFlags::MS_REMOUNT | MsFlags::MS_NOATIME | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(None::<&str>, DATA, None::<&str>, always | flags, Some("errors=remount-ro"))
}
