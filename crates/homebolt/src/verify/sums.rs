//! SHA256SUMS beside an image, as `sha256sum` writes it.

use std::path::Path;

use super::{AGAIN, Outcome};
use crate::image::{self, Sum};

/// Checks every file of the list that is there; the image itself, whose sum is known, must be listed.
pub(super) fn check(image: &Path, known: &Sum) -> Result<Outcome, image::Error> {
    let path = image.with_file_name("SHA256SUMS");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Outcome::Skipped("none beside the image".into()));
        }
        Err(source) => return Err(image::Error::Beside { path, source }),
    };
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let (mut right, mut absent, mut listed) = (0, 0, false);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let Some((expected, file)) = parse(line) else {
            return Ok(Outcome::Failed(format!("this line is not understood: {line:?}; {AGAIN}")));
        };
        let found = if file == name {
            listed = true;
            known.sha256.clone()
        } else {
            let path = image.with_file_name(file);
            match image::sum(&path) {
                Ok(sum) => sum.sha256,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    absent += 1;
                    continue;
                }
                Err(source) => return Err(image::Error::Beside { path, source }),
            }
        };
        if found != expected {
            return Ok(Outcome::Failed(format!("{file} has sha256 {found} instead of {expected}; {AGAIN}")));
        }
        right += 1;
    }
    Ok(match (listed, absent) {
        (false, _) => Outcome::Skipped(format!("it does not list {name}")),
        (true, 0) => Outcome::Passed(format!("all {right} files")),
        (true, _) => Outcome::Passed(format!("{right} files; {absent} more are not here")),
    })
}

/// `<64 hexadecimal digits><space><space or *><name without a folder>`
fn parse(line: &str) -> Option<(&str, &str)> {
    let (digest, name) = line.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    let hex = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && !name.is_empty() && !name.contains('/')).then_some((digest, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// What the check says of `list` in a folder with an empty file `other` and an image with the sum `EMPTY`.
    fn outcome(list: &str) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("SHA256SUMS"), list).unwrap();
        std::fs::write(folder.path().join("other"), "").unwrap();
        check(&folder.path().join("a.img.zst"), &Sum { size: 0, sha256: EMPTY.into() }).unwrap()
    }

    #[test]
    fn every_file_that_is_there_is_compared() {
        let both = format!("{EMPTY}  a.img.zst\n{EMPTY} *other\n");
        assert_eq!(outcome(&both), Outcome::Passed("all 2 files".into()));
        let absent = format!("{both}{EMPTY}  gone\n");
        assert_eq!(outcome(&absent), Outcome::Passed("2 files; 1 more are not here".into()));
        let wrong = format!("{EMPTY}  a.img.zst\n{}  other\n", "0".repeat(64));
        assert!(matches!(outcome(&wrong), Outcome::Failed(text) if text.starts_with("other has sha256 e3b0")));
    }

    #[test]
    fn a_list_without_the_image_proves_nothing_and_a_broken_line_fails() {
        assert!(matches!(outcome(&format!("{EMPTY}  other\n")), Outcome::Skipped(_)));
        for line in ["nonsense", &format!("{EMPTY}  ../up"), &format!("{EMPTY} x"), &format!("{EMPTY}  ")] {
            assert!(matches!(outcome(line), Outcome::Failed(_)), "{line:?}");
        }
    }
}
