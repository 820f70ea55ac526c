//! The kernel's archive of an initrd ("newc"): taken apart, and put together without some of its files.

/// Bytes of an entry's head.
const HEAD: usize = 110;
const MAGIC: &[u8] = b"070701";
/// The entry behind the last one.
const END: &str = "TRAILER!!!";

/// One entry, head and all, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    bytes: &'a [u8],
}

/// All entries of an archive; `None` when it is none.
pub(super) fn entries(archive: &[u8]) -> Option<Vec<Entry<'_>>> {
    let (mut entries, mut rest) = (Vec::new(), archive);
    loop {
        let head = rest.get(..HEAD).filter(|head| head.starts_with(MAGIC))?;
        let field = |place: usize| {
            let digits = str::from_utf8(&head[6 + 8 * place..][..8]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (content, name) = (field(6)?, field(11)?);
        let text = rest.get(HEAD..HEAD + name)?.strip_suffix(&[0])?;
        let length = (HEAD + name).next_multiple_of(4) + content.next_multiple_of(4);
        let bytes = rest.get(..length)?;
        let name = str::from_utf8(text).ok()?;
        if name == END {
            return Some(entries);
        }
        entries.push(Entry { name, bytes });
        rest = &rest[length..];
    }
}

/// An archive of these entries.
pub(super) fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive: Vec<u8> = entries.iter().flat_map(|entry| entry.bytes.iter().copied()).collect();
    archive.extend(MAGIC);
    let lengths = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, END.len() + 1, 0];
    lengths.iter().for_each(|number| archive.extend(format!("{number:08X}").bytes()));
    archive.extend(END.bytes());
    archive.resize((archive.len() + 1).next_multiple_of(4), 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &str) -> Vec<u8> {
        let mut entry = b"070701".to_vec();
        for number in [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            entry.extend(format!("{number:08X}").bytes());
        }
        entry.extend(name.bytes());
        entry.resize((entry.len() + 1).next_multiple_of(4), 0);
        entry.extend(content.bytes());
        entry.resize(entry.len().next_multiple_of(4), 0);
        entry
    }

    #[test]
    fn an_archive_without_a_file_has_all_others() {
        let files = [entry("init", "12345"), entry("lib/dm-verity.ko", "module"), entry("empty", "")];
        let whole = [files.concat(), archive(&[])].concat();
        let entries = entries(&whole).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["init", "lib/dm-verity.ko", "empty"]);
        assert_eq!(archive(&entries), whole);
        let kept: Vec<_> = entries.into_iter().filter(|entry| !entry.name.ends_with("dm-verity.ko")).collect();
        assert_eq!(archive(&kept), [files[0].clone(), files[2].clone(), archive(&[])].concat());
    }

    #[test]
    fn what_is_no_archive_is_none() {
        assert_eq!(entries(b""), None);
        assert_eq!(entries(b"070701"), None);
        let mut broken = entry("init", "12345");
        broken.truncate(broken.len() - 1);
        assert_eq!(entries(&broken), None);
        assert_eq!(entries(&entry("init", "12345")), None, "without its end");
    }

    #[test]
    fn the_linux_tool_reads_what_is_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let whole = [entry("init", "12345"), archive(&[])].concat();
        let path = folder.path().join("archive");
        std::fs::write(&path, archive(&entries(&whole).unwrap())).unwrap();
        let output =
            std::process::Command::new("cpio").args(["--list", "--quiet", "--file"]).arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "init\n");
    }
}
