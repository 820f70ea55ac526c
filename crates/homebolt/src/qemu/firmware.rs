//! UEFI firmware for virtual machines, as distributions install it.

use std::path::{Path, PathBuf};

use super::Error;

/// The firmware's code and an empty set of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    pub code: PathBuf,
    pub variables: PathBuf,
}

/// Code and variables, in the order in which they are looked for. Never the variant with Secure Boot: it would refuse
/// an unsigned boot loader.
const PLACES: [(&str, &str); 5] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
];

impl Firmware {
    pub fn find() -> Result<Self, Error> {
        Self::below(Path::new("/")).ok_or(Error::NoFirmware)
    }

    fn below(root: &Path) -> Option<Self> {
        let place = |path: &str| root.join(path.trim_start_matches('/'));
        PLACES
            .iter()
            .map(|(code, variables)| Self { code: place(code), variables: place(variables) })
            .find(|firmware| firmware.code.is_file() && firmware.variables.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_debians_names_are_found_and_the_larger_is_preferred() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Firmware::below(root.path()), None);
        let folder = root.path().join("usr/share/OVMF");
        std::fs::create_dir_all(&folder).unwrap();
        let put = |name: &str| std::fs::write(folder.join(name), "").unwrap();
        put("OVMF_CODE_4M.fd");
        put("OVMF_CODE.fd");
        put("OVMF_VARS.fd");
        assert_eq!(Firmware::below(root.path()).unwrap().code, folder.join("OVMF_CODE.fd"), "code without variables");
        put("OVMF_VARS_4M.fd");
        assert_eq!(Firmware::below(root.path()).unwrap().code, folder.join("OVMF_CODE_4M.fd"));
    }
}
