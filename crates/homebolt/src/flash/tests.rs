use std::fs;
use std::process::Command;

use super::copy::STEP;
use super::*;
use crate::verify::tests::make;

/// What a stick pulled or broken in the middle does. Not a device: memory that fails on purpose.
struct FakeStick {
    bytes: Vec<u8>,
    /// Writes from this many bytes on fail, counted over all writes.
    fails_after: u64,
    /// Whether it is gone then, or only answers with an error.
    gone_then: bool,
    /// Writes to this place are taken and lost, as on a stick that claims more than it has.
    loses: std::ops::Range<u64>,
    can_discard: bool,
    written: u64,
    failed: bool,
}

impl FakeStick {
    /// Full of old data.
    fn new(size: usize) -> Self {
        let bytes = (0..size).map(|n| (n % 253) as u8 + 1).collect();
        Self {
            bytes,
            fails_after: u64::MAX,
            gone_then: false,
            loses: 0..0,
            can_discard: false,
            written: 0,
            failed: false,
        }
    }
}

impl Medium for FakeStick {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(512) && buffer.len().is_multiple_of(512), "a device reads whole sectors");
        buffer.copy_from_slice(&self.bytes[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(512) && data.len().is_multiple_of(512), "a device writes whole sectors");
        self.written += data.len() as u64;
        if self.written > self.fails_after {
            self.failed = true;
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        if !self.loses.contains(&offset) {
            self.bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        }
        Ok(())
    }

    fn discard(&mut self, offset: u64, length: u64) {
        if self.can_discard {
            self.bytes[offset as usize..(offset + length) as usize].fill(0);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn present(&self) -> bool {
        !(self.failed && self.gone_then)
    }
}

const MIB: usize = 1 << 20;

/// An image of 18 MiB and 512 bytes: the start, a hole, data over a step's border, a hole, the last sector.
fn disk_image() -> Vec<u8> {
    let mut image = vec![0; 18 * MIB + 512];
    image[..40_000].fill(0xaa);
    image[7 * MIB..9 * MIB].fill(0xbb);
    *image.last_mut().unwrap() = 0xcc;
    image
}

fn copy_to(stick: &mut FakeStick, image: &[u8], stop_after: usize) -> Result<Done, Error> {
    let map = Bmap::of(image, vec![]).unwrap();
    let mut asked = 0;
    let mut stopped = || {
        asked += 1;
        asked > stop_after
    };
    let size = stick.bytes.len() as u64;
    let copy = Copy { medium: stick, size, map: &map, stopped: &mut stopped };
    let mut source = image;
    copy.run(&mut source).map_err(|fault| explain(fault, &disk(None), image.len() as u64))
}

fn disk(serial: Option<&str>) -> Disk {
    let json = serde_json::json!({"name": "sdx", "path": "/dev/sdx", "maj:min": "8:0", "type": "disk",
        "size": 32 * MIB, "log-sec": 512, "serial": serial, "rm": true, "ro": false});
    serde_json::from_value(json).unwrap()
}

#[test]
fn the_stick_holds_exactly_the_image_whatever_was_on_it_before() {
    for can_discard in [false, true] {
        let image = disk_image();
        let mut stick = FakeStick { can_discard, ..FakeStick::new(32 * MIB) };
        let old = stick.bytes.clone();
        let done = copy_to(&mut stick, &image, usize::MAX).unwrap();
        assert!(stick.bytes[..image.len()] == image);
        assert!(stick.bytes[31 * MIB..].iter().all(|byte| *byte == 0), "the old end is still there");
        assert!(stick.bytes[19 * MIB..31 * MIB] == old[19 * MIB..31 * MIB], "more was written than needed");
        assert_eq!(done.swept > 0, !can_discard, "{} bytes swept", done.swept);
    }
}

#[test]
fn holes_are_not_written_where_the_stick_zeroes_them_itself() {
    let mut stick = FakeStick { can_discard: true, ..FakeStick::new(32 * MIB) };
    copy_to(&mut stick, &disk_image(), usize::MAX).unwrap();
    // Cleared head and end, the data, and the head once more.
    assert_eq!(stick.written as usize, STEP + MIB + 2 * MIB + 512 + STEP);
}

#[test]
fn an_image_smaller_than_one_step_and_a_stick_of_its_very_size_work() {
    let image = vec![7; 3 * 512];
    let mut stick = FakeStick::new(3 * 512);
    copy_to(&mut stick, &image, usize::MAX).unwrap();
    assert_eq!(stick.bytes, image);
}

#[test]
fn a_pulled_stick_says_how_far_it_got_and_what_to_do() {
    let mut stick = FakeStick { fails_after: 6 * MIB as u64, gone_then: true, ..FakeStick::new(32 * MIB) };
    let error = copy_to(&mut stick, &disk_image(), usize::MAX).unwrap_err();
    assert_eq!(error.to_string(), "the device vanished at 8 MB of 18 MB: plug it in and run the same command again");
}

#[test]
fn a_stick_that_only_answers_with_an_error_is_not_called_vanished() {
    let mut stick = FakeStick { fails_after: 6 * MIB as u64, ..FakeStick::new(32 * MIB) };
    let error = copy_to(&mut stick, &disk_image(), usize::MAX).unwrap_err();
    let line = crate::error::sentence(&error);
    assert!(line.starts_with("/dev/sdx failed writing at 8 MB of 18 MB") && line.contains("os error 5"), "{line}");
}

#[test]
fn a_stick_that_loses_what_is_written_is_found_out_and_stays_without_a_partition_table() {
    let mut stick = FakeStick { loses: 8 * MIB as u64..12 * MIB as u64, ..FakeStick::new(32 * MIB) };
    let error = copy_to(&mut stick, &disk_image(), usize::MAX).unwrap_err();
    assert!(
        matches!(error, Error::Differs { first, end, .. } if (first, end) == (7 * MIB as u64, 9 * MIB as u64)),
        "{error}"
    );
    assert!(stick.bytes[..STEP].iter().all(|byte| *byte == 0), "it looks like a whole disk");
}

#[test]
fn old_data_that_cannot_be_zeroed_is_found_out() {
    let mut stick = FakeStick { loses: 12 * MIB as u64..16 * MIB as u64, ..FakeStick::new(32 * MIB) };
    assert!(matches!(copy_to(&mut stick, &disk_image(), usize::MAX), Err(Error::Differs { .. })));
}

#[test]
fn ctrl_c_leaves_a_disk_that_does_not_look_whole_and_says_so() {
    for (steps, line) in
        [(2, "stopped writing /dev/sdx at 8 MB of 18 MB"), (7, "stopped reading back /dev/sdx at 8 MB of 18 MB")]
    {
        let mut stick = FakeStick::new(32 * MIB);
        let error = copy_to(&mut stick, &disk_image(), steps).unwrap_err();
        assert!(error.to_string().starts_with(line), "{error}");
        assert!(stick.bytes[..STEP].iter().all(|byte| *byte == 0));
        assert_eq!(crate::Error::from(error).exit_code(), 130);
    }
}

#[test]
fn an_image_that_ends_early_is_an_error_of_the_image() {
    let image = disk_image();
    let map = Bmap::of(&image[..], vec![]).unwrap();
    let mut stick = FakeStick::new(32 * MIB);
    let copy = Copy { medium: &mut stick, size: 32 * MIB as u64, map: &map, stopped: &mut || false };
    assert!(matches!(copy.run(&mut &image[..9 * MIB]), Err(Fault::Source(_))));
}

#[test]
fn a_disk_is_empty_only_if_it_is_blank_all_over() {
    let size = 32 * MIB;
    let holds = |bytes: Vec<u8>| holdings(&disk(None), &mut FakeStick { bytes, ..FakeStick::new(0) }).unwrap();
    assert_eq!(holds(vec![0; size]), None);
    assert_eq!(holds(vec![0xff; size]), None);
    for at in [0, 513, 16 * MIB, size - 1] {
        let mut bytes = vec![0; size];
        bytes[at] = 1;
        assert_eq!(holds(bytes).as_deref(), Some("data of an unknown kind"), "byte {at}");
    }
}

/// Answers what a test lets it answer, and keeps the questions.
struct Scripted(Option<&'static str>, Vec<String>);

impl Person for Scripted {
    fn ask(&mut self, question: &str) -> Option<String> {
        self.1.push(question.to_owned());
        self.0.map(str::to_owned)
    }
}

fn asked(holds: Option<&str>, serial: Option<&str>, yes: bool, answer: Option<&'static str>) -> Result<(), Error> {
    let args = Args { image: "a".into(), device: None, manifest: None, serial: serial.map(str::to_owned), yes };
    permit(&disk(Some("ABC1")), holds, &args, &mut Scripted(answer, vec![]))
}

#[test]
fn a_disk_that_holds_something_takes_its_serial_number_and_yes_does_not_replace_it() {
    let holds = Some("sdx1 vfat");
    assert!(matches!(asked(holds, None, true, None), Err(Error::SerialNeeded { .. })));
    for answer in ["y", "yes", "", "abc1", "ABC"] {
        assert!(matches!(asked(holds, None, true, Some(answer)), Err(Error::WrongSerial { .. })), "{answer}");
    }
    assert!(asked(holds, None, false, Some("ABC1")).is_ok());
    assert!(asked(holds, Some("ABC1"), false, None).is_ok());
}

#[test]
fn an_empty_disk_takes_a_yes_but_never_a_wrong_serial_number() {
    assert!(asked(None, None, true, None).is_ok());
    assert!(asked(None, None, false, Some("y")).is_ok());
    for answer in [None, Some("n"), Some("")] {
        assert!(matches!(asked(None, None, false, answer), Err(Error::NotConfirmed)));
    }
    assert!(matches!(asked(None, Some("OTHER"), true, Some("y")), Err(Error::WrongSerial { .. })));
}

#[test]
fn whoever_is_about_to_overwrite_a_box_is_told_of_the_wallet_on_it() {
    let mut box_disk = disk(None);
    box_disk.children =
        ["boot-a", "root-a", "data"].map(|label| Disk { partition: Some(label.into()), ..disk(None) }).into();
    let args = Args { image: "a".into(), device: None, manifest: None, serial: None, yes: true };
    let mut person = Scripted(Some("sdx"), vec![]);
    permit(&box_disk, box_disk.holdings().as_deref(), &args, &mut person).unwrap();
    assert!(person.1[0].contains("A wallet and its channels may be on it"), "{}", person.1[0]);
    assert!(person.1[0].contains("Type its name (sdx)"), "{}", person.1[0]);
}

#[test]
fn the_list_shows_what_could_be_meant_and_why_the_others_are_not() {
    let (big, small) = (disk(Some("ABC1")), Disk { path: "/dev/sdy".into(), size: 4096, ..disk(None) });
    let looped = Disk { kind: "loop".into(), path: "/dev/loop9".into(), ..disk(None) };
    let text = candidates(vec![big, small.clone(), looped], Path::new("a.img.zst"), MIB as u64);
    assert!(text.contains("/dev/sdx") && text.contains("serial ABC1"), "{text}");
    assert!(text.contains("Not these:\n  /dev/sdy: it has 4 kB and the image needs 1 MB\n"), "{text}");
    assert!(!text.contains("loop9"), "{text}");
    assert!(
        candidates(vec![small], Path::new("a"), MIB as u64).starts_with("No disk that could take the image (1 MB)")
    );
}

/// A real block device over a file; detached at the end.
struct Loop {
    device: PathBuf,
}

impl Loop {
    fn over(file: &Path) -> Self {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { device: String::from_utf8(output.stdout).unwrap().trim().into() }
    }

    fn name(&self) -> String {
        self.device.file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

fn command(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}

fn flash(image: &Path, device: &Loop, serial: Option<String>, yes: bool) -> Result<(), crate::Error> {
    run(Args { image: image.into(), device: Some(device.device.clone()), manifest: None, serial, yes })
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_loop_device_full_of_old_data_takes_the_image_only_by_its_name_and_then_holds_it() {
    let made = make();
    let file = made.folder.path().join("stick");
    fs::write(&file, vec![0x77; 40 * MIB]).unwrap();
    let device = Loop::over(&file);
    let refused = flash(&made.image, &device, None, true).unwrap_err();
    assert!(matches!(&refused, crate::Error::Flash(Error::SerialNeeded { .. })), "{refused}");
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == 0x77), "it was written to");

    flash(&made.image, &device, Some(device.name()), false).unwrap();
    let found = fs::read(&file).unwrap();
    assert!(found[..made.disk.len()] == made.disk, "it holds something else");
    assert!(found[39 * MIB..].iter().all(|byte| *byte == 0));
    assert!(found[made.disk.len()..39 * MIB].iter().all(|byte| *byte == 0x77));
}

#[test]
#[ignore = "needs root and loop devices"]
fn an_empty_loop_device_takes_the_image_with_yes_and_a_damaged_image_is_never_written() {
    let made = make();
    let file = made.folder.path().join("stick");
    fs::File::create(&file).unwrap().set_len(16 * MIB as u64).unwrap();
    let device = Loop::over(&file);
    let sound = fs::read(&made.image).unwrap();
    fs::write(&made.image, &sound[..sound.len() - 9]).unwrap();
    assert!(matches!(flash(&made.image, &device, None, true), Err(crate::Error::Verify(_))));
    assert!(fs::read(&file).unwrap().iter().all(|byte| *byte == 0), "it was written to");

    fs::write(&made.image, sound).unwrap();
    flash(&made.image, &device, None, true).unwrap();
    assert!(fs::read(&file).unwrap()[..made.disk.len()] == made.disk);
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_mounted_device_is_refused_by_name_and_by_the_kernel() {
    let made = make();
    let file = made.folder.path().join("stick");
    fs::File::create(&file).unwrap().set_len(40 * MIB as u64).unwrap();
    let device = Loop::over(&file);
    command("mkfs.ext4", &["-q"], &device.device);
    let at = made.folder.path().join("mounted");
    fs::create_dir(&at).unwrap();
    command("mount", &[device.device.to_str().unwrap()], &at);
    let refused = flash(&made.image, &device, Some(device.name()), true);
    let alone = open(&disks::find(&device.device).unwrap());
    command("umount", &[], &at);
    let refused = refused.unwrap_err();
    let expected = Refusal::Mounted { device: device.device.clone(), at: at.to_string_lossy().into_owned() };
    assert!(matches!(&refused, crate::Error::Flash(Error::Refused { source, .. }) if *source == expected), "{refused}");
    assert!(matches!(alone, Err(Error::Busy(_))), "{alone:?}");
}

#[test]
#[ignore = "needs root and loop devices"]
fn a_device_too_small_and_one_whose_storage_runs_out_each_say_so() {
    let made = make();
    let file = made.folder.path().join("stick");
    fs::File::create(&file).unwrap().set_len(11 * MIB as u64).unwrap();
    let small = Loop::over(&file);
    let error = flash(&made.image, &small, None, true).unwrap_err();
    assert_eq!(
        crate::error::sentence(&error),
        format!("nothing is written to {}: it has 11 MB and the image needs 12 MB", small.device.display())
    );

    // A file that claims 16 MiB in a file system with room for 5: real writes fail in the kernel.
    let at = made.folder.path().join("small");
    fs::create_dir(&at).unwrap();
    command("mount", &["-t", "tmpfs", "-o", "size=5m", "none"], &at);
    let inside = at.join("stick");
    fs::File::create(&inside).unwrap().set_len(16 * MIB as u64).unwrap();
    let device = Loop::over(&inside);
    let error = flash(&made.image, &device, None, true).unwrap_err();
    drop(device);
    command("umount", &["--lazy"], &at);
    assert!(matches!(&error, crate::Error::Flash(Error::Medium { doing: Doing::Writing, .. })), "{error}");
}
