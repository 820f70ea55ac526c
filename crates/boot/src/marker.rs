//! The marker of a data partition, `system/format.json`: whether its data is the live one, where it went, whence it comes.
//!
//! Data is moved by one write. Until then the old partition is live and the new one `arriving`; after it the old one is
//! `moved` and names the new one, which the next start follows. The mark and the way are the same file, so there is no
//! moment with two live copies and none without one:
//!
//! ```text
//!                 old                        new
//!  before         live                       -
//!  copying        live                       arriving 7
//!  THE WRITE      moved 7 to new             arriving 7      the old one is never used again by itself
//!  next start     moved 7 to new             live
//! ```
//! All but `live` have form 2: a system older than this one does not know it and starts no wallet.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};
use twin::DataState;

use crate::{data::Fault, error::Error, files, gpt::Guid};

/// The marker, below the root of the data partition.
pub const PATH: &str = "system/format.json";

/// The form of a data partition that is in use.
const LIVE: u32 = 1;
/// The form of one that is not: left behind, or not finished.
const RESTING: u32 = 2;

/// The file as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Form {
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moved: Option<Moved>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arriving: Option<String>,
}

/// Where the data went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Of this move; the new copy names it, too, until it is live.
    pub id: String,
    /// Seconds since 1970.
    pub at: u64,
    /// GUID of the partition.
    pub to: String,
    /// For the owner: the disk with that partition.
    pub model: String,
    pub serial: String,
}

impl Moved {
    pub fn partition(&self) -> Option<Guid> {
        self.to.parse().ok()
    }

    /// What the owner knows the disk by.
    pub fn disk(&self) -> String {
        named(&self.model, &self.serial)
    }
}

/// A disk by what is printed on it.
pub fn named(model: &str, serial: &str) -> String {
    match (model, serial) {
        ("", "") => "without a name".into(),
        ("", serial) => format!("with the serial number {serial}"),
        (model, "") => model.to_owned(),
        (model, serial) => format!("{model} (serial number {serial})"),
    }
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    Live,
    /// An old copy. `arriving`: the data is on its way back into it, by the move of that id.
    Moved {
        to: Moved,
        arriving: Option<String>,
    },
    /// A copy that is not live before the old one says so.
    Arriving(String),
}

impl Marker {
    /// The move that this partition waits for to become live.
    pub fn arriving(&self) -> Option<&str> {
        match self {
            Self::Live => None,
            Self::Moved { arriving, .. } => arriving.as_deref(),
            Self::Arriving(id) => Some(id),
        }
    }

    fn file(&self) -> Form {
        match self.clone() {
            Self::Live => Form { format: LIVE, moved: None, arriving: None },
            Self::Moved { to, arriving } => Form { format: RESTING, moved: Some(to), arriving },
            Self::Arriving(id) => Form { format: RESTING, moved: None, arriving: Some(id) },
        }
    }

    /// Reads the marker's bytes. An error is what to tell the owner.
    pub fn parse(content: &[u8]) -> Result<Self, Fault> {
        let damaged = || (DataState::Damaged, "The data partition's marker file is damaged.".to_owned());
        let file: Form = serde_json::from_slice(content).map_err(|_| damaged())?;
        match file {
            Form { format: LIVE, moved: None, arriving: None } => Ok(Self::Live),
            Form { format: RESTING, moved: Some(to), arriving } if to.partition().is_some() => {
                Ok(Self::Moved { to, arriving })
            }
            Form { format: RESTING, moved: None, arriving: Some(id) } => Ok(Self::Arriving(id)),
            // Live and yet moved: nobody wrote that, and nothing is guessed.
            Form { format: LIVE | RESTING, .. } => Err(damaged()),
            Form { format, .. } => Err((
                DataState::Foreign,
                format!(
                    "The data partition has form {format} of a newer system; this one knows the forms {LIVE} and \
                     {RESTING}. Nothing is lost."
                ),
            )),
        }
    }

    /// Writes it to the partition mounted at `root`, at once or not at all.
    pub fn write(&self, root: &Path) -> Result<(), Error> {
        files::write_json(&root.join(PATH), &self.file())
    }

    /// The marker of the partition mounted at `root`; an error is what to tell the owner.
    pub fn read(root: &Path) -> Result<Self, Fault> {
        judge(&bytes(root), false)
    }
}

/// The marker's bytes, `None` when there is no such file.
pub fn bytes(root: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match File::open(root.join(PATH)) {
        Ok(file) => file.take(4096).read_to_end(&mut content).map(|_| Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Decides by the marker file: its bytes, `None` when there is no such file, or an error. `lost` says that an earlier repair
/// put files into `lost+found`: then a missing marker is no reason to offer nothing but a new beginning.
pub fn judge(marker: &io::Result<Option<Vec<u8>>>, lost: bool) -> Result<Marker, Fault> {
    match marker {
        Ok(Some(content)) => Marker::parse(content),
        Ok(None) if lost => {
            let text = "The data partition lost its folders. What a repair could save lies in its folder lost+found; the \
                        wallet may be among it. Do not erase it before somebody has looked.";
            Err((DataState::Damaged, text.into()))
        }
        Ok(None) => {
            let text = "The data partition was not set up by this box, or setting it up was interrupted.";
            Err((DataState::Foreign, text.into()))
        }
        Err(error) => Err((DataState::Damaged, format!("The data partition cannot be read: {error}."))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TO: &str = "11111111-2222-3333-4444-555555555555";

    fn moved() -> Moved {
        Moved { id: "7".into(), at: 9, to: TO.into(), model: "SSD".into(), serial: "S1".into() }
    }

    #[test]
    fn the_marker_decides() {
        let judged = |text: &str| judge(&Ok(Some(text.into())), true);
        let state = |judged: Result<Marker, Fault>| judged.unwrap_err().0;
        assert_eq!(judged(r#"{"format":1}"#), Ok(Marker::Live));
        assert_eq!(judged(r#"{"format":1,"later":true}"#), Ok(Marker::Live));
        assert_eq!(state(judged(r#"{"format":3}"#)), DataState::Foreign);
        assert_eq!(state(judged("")), DataState::Damaged);
        assert_eq!(state(judged(r#"{"format":2}"#)), DataState::Damaged);
        assert_eq!(state(judge(&Ok(None), false)), DataState::Foreign);
        assert_eq!(state(judge(&Ok(None), true)), DataState::Damaged);
        assert_eq!(state(judge(&Err(io::Error::other("checksum")), false)), DataState::Damaged);
    }

    #[test]
    fn every_marker_survives_the_way_through_its_file_and_only_live_has_the_form_that_older_systems_know() {
        for marker in [
            Marker::Live,
            Marker::Moved { to: moved(), arriving: None },
            Marker::Moved { to: moved(), arriving: Some("8".into()) },
            Marker::Arriving("7".into()),
        ] {
            let file = serde_json::to_vec(&marker.file()).unwrap();
            assert_eq!(Marker::parse(&file).unwrap(), marker);
            assert_eq!(marker.file().format == 1, marker == Marker::Live, "{marker:?}");
        }
    }

    #[test]
    fn what_is_live_and_moved_at_once_is_not_used() {
        let mut file = Marker::Moved { to: moved(), arriving: None }.file();
        file.format = LIVE;
        assert_eq!(Marker::parse(&serde_json::to_vec(&file).unwrap()).unwrap_err().0, DataState::Damaged);
        let nowhere = Marker::Moved { to: Moved { to: "sda1".into(), ..moved() }, arriving: None };
        assert!(Marker::parse(&serde_json::to_vec(&nowhere.file()).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn only_form_1_alone_is_live(format in 0_u32..4, moved_ in any::<bool>(), arriving in any::<bool>()) {
            let file = Form { format, moved: moved_.then(moved), arriving: arriving.then(|| "7".into()) };
            let live = Marker::parse(&serde_json::to_vec(&file).unwrap()) == Ok(Marker::Live);
            prop_assert_eq!(live, format == 1 && !moved_ && !arriving);
        }
    }
}
