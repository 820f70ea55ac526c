//! The kinds of machines that QEMU makes: one for each board that has one.

use std::path::{Path, PathBuf};

use super::Error;

/// What is special about the machine of a board.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// QEMU's program for its processor.
    pub program: &'static str,
    /// Debian's package with that.
    pub package: &'static str,
    /// Debian's package with UEFI firmware.
    pub firmware_package: &'static str,
    /// The firmware's code and an empty set of its variables, in the order in which they are looked for. Never the
    /// variant with Secure Boot: it would refuse an unsigned boot loader.
    places: &'static [(&'static str, &'static str)],
    /// U-Boot, and Debian's package with it, where it starts on this machine.
    pub u_boot: Option<(&'static str, &'static str)>,
    pub(super) machine: &'static str,
    /// The processor that is emulated.
    pub(super) cpu: &'static str,
    /// Words for a screen that the firmware and the kernel find without a driver of its own.
    pub(super) screen: &'static str,
    /// Words for the first serial line, the box's console.
    pub(super) console: &'static str,
    /// Words for the second one.
    pub(super) second: &'static str,
    /// What the guest calls that.
    pub(super) second_line: &'static str,
    /// QEMU's device for a security chip.
    pub(super) chip: &'static str,
}

/// A PC.
pub static X86_64: Kind = Kind {
    program: "qemu-system-x86_64",
    package: "qemu-system-x86",
    firmware_package: "ovmf",
    places: &[
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ],
    u_boot: None,
    machine: "q35",
    // Each feature costs time: with all of them (`max`) a start takes two fifths more, and a model of a maker whose
    // processors leak has the kernel guard against that.
    cpu: "qemu64",
    screen: "-vga std",
    console: "-device isa-serial,chardev=console",
    second: "-device isa-serial,chardev=shell",
    second_line: "ttyS1",
    chip: "tpm-crb",
};

/// A 64-bit ARM server as QEMU thinks of it.
pub static AARCH64: Kind = Kind {
    program: "qemu-system-aarch64",
    package: "qemu-system-arm",
    firmware_package: "qemu-efi-aarch64",
    places: &[
        ("/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        ("/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
        ("/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"),
    ],
    u_boot: Some(("/usr/lib/u-boot/qemu_arm64/u-boot.bin", "u-boot-qemu")),
    machine: "virt",
    // Has instructions for AES and SHA-256, and no pointers that are signed, which costs time.
    cpu: "cortex-a72",
    screen: "-device ramfb",
    // The board has one line of its own.
    console: "-serial chardev:console",
    second: "-device pci-serial,chardev=shell",
    second_line: "ttyS0",
    chip: "tpm-tis-device",
};

impl Kind {
    /// The machine for images of that board.
    pub fn of_board(board: &str) -> Option<&'static Self> {
        match board {
            "x86-64" => Some(&X86_64),
            "aarch64" => Some(&AARCH64),
            _ => None,
        }
    }

    /// The firmware's code and an empty set of its variables.
    pub fn firmware(&'static self) -> Result<(PathBuf, PathBuf), Error> {
        self.firmware_below(Path::new("/")).ok_or(Error::NoFirmware(self))
    }

    /// U-Boot, to start the machine in the firmware's place.
    pub(super) fn u_boot(&'static self) -> Result<PathBuf, Error> {
        let (path, package) = self.u_boot.ok_or(Error::NoUBoot(self))?;
        let path = PathBuf::from(path);
        if path.is_file() { Ok(path) } else { Err(Error::UBootMissing(package)) }
    }

    fn firmware_below(&self, root: &Path) -> Option<(PathBuf, PathBuf)> {
        let place = |path: &str| root.join(path.trim_start_matches('/'));
        let mut places = self.places.iter().map(|(code, variables)| (place(code), place(variables)));
        places.find(|(code, variables)| code.is_file() && variables.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_debians_names_are_found_and_the_larger_is_preferred() {
        let root = tempfile::tempdir().unwrap();
        let found = || X86_64.firmware_below(root.path());
        assert_eq!(found(), None);
        let folder = root.path().join("usr/share/OVMF");
        std::fs::create_dir_all(&folder).unwrap();
        let put = |name: &str| std::fs::write(folder.join(name), "").unwrap();
        put("OVMF_CODE_4M.fd");
        put("OVMF_CODE.fd");
        put("OVMF_VARS.fd");
        assert_eq!(found().unwrap().0, folder.join("OVMF_CODE.fd"), "code without variables");
        put("OVMF_VARS_4M.fd");
        assert_eq!(found().unwrap().0, folder.join("OVMF_CODE_4M.fd"));
        assert_eq!(AARCH64.firmware_below(root.path()), None);
    }

    #[test]
    fn only_boards_with_a_machine_have_one() {
        assert_eq!(Kind::of_board("aarch64"), Some(&AARCH64));
        assert_eq!(Kind::of_board("rpi5"), None);
    }
}
