//! Macaroons: LND's keys for programs.
//!
//! This program has one of its own, baked with a root key of its own, so that revoking an app's key never breaks it and
//! the admin macaroon is needed once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tonic::metadata::{Ascii, MetadataValue};

use crate::{
    Client, Config, Error, Secret,
    client::{READ, ask},
    proto::lnrpc::{
        BakeMacaroonRequest, CheckMacPermRequest, DeleteMacaroonIdRequest, ListMacaroonIDsRequest, MacaroonPermission,
    },
};

/// Root key of this program's macaroon: `homebolt` read as a number.
pub const OWN_ROOT_KEY: u64 = u64::from_be_bytes(*b"homebolt");
/// Root key of the macaroons that LND makes itself, the admin's among them.
const LND_ROOT_KEY: u64 = 0;

/// What a macaroon permits: an entity and an action, in LND's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub entity: String,
    pub action: String,
}

impl Permission {
    pub fn new(entity: &str, action: &str) -> Self {
        Self { entity: entity.into(), action: action.into() }
    }

    /// One method by its path, for example `/lnrpc.Lightning/GetInfo`.
    pub fn method(path: &str) -> Self {
        Self::new("uri", path)
    }

    /// Reading everything.
    pub fn read_only() -> Vec<Self> {
        ENTITIES.map(|entity| Self::new(entity, "read")).to_vec()
    }

    /// Asking for money and seeing whether it came, and nothing else.
    pub fn invoices() -> Vec<Self> {
        vec![Self::new("invoices", "read"), Self::new("invoices", "write"), Self::new("address", "write")]
    }

    /// Everything but macaroons: what a phone needs that manages the node.
    pub fn manage() -> Vec<Self> {
        let read = Self::read_only();
        let write = ENTITIES.iter().filter(|entity| **entity != "macaroon").map(|entity| Self::new(entity, "write"));
        read.into_iter().filter(|permission| permission.entity != "macaroon").chain(write).collect()
    }

    fn own() -> Vec<Self> {
        let mut all = Self::read_only();
        all.extend(ENTITIES.map(|entity| Self::new(entity, "write")));
        all.push(Self::new("macaroon", "generate"));
        all
    }
}

const ENTITIES: [&str; 8] = ["onchain", "offchain", "address", "message", "peers", "info", "invoices", "macaroon"];

fn wire(permissions: &[Permission]) -> Vec<MacaroonPermission> {
    let wire = |permission: &Permission| MacaroonPermission {
        entity: permission.entity.clone(),
        action: permission.action.clone(),
    };
    permissions.iter().map(wire).collect()
}

/// Makes sure that LND accepts the macaroon in `own` for all that this program does; otherwise bakes one with the admin
/// macaroon and writes it there, readable by this user alone. Run it whenever LND's RPC has become active.
pub async fn ensure_own_macaroon(config: &Config, admin: &Path, own: &Path) -> Result<(), Error> {
    match check(config, own).await {
        Ok(()) => return Ok(()),
        Err(
            Error::NoMacaroon { .. }
            | Error::ReadMacaroon { .. }
            | Error::MacaroonRejected { .. }
            | Error::NotPermitted { .. },
        ) => {}
        Err(error) => return Err(error),
    }
    let baked = Client::new(config.clone(), Some(admin.to_owned())).bake(&Permission::own(), OWN_ROOT_KEY).await?;
    write(own, &baked).map_err(|source| Error::WriteMacaroon { path: own.to_owned(), source })?;
    check(config, own).await
}

/// LND itself checks the macaroon, by a call that carries it.
async fn check(config: &Config, own: &Path) -> Result<(), Error> {
    let action = "check this program's macaroon";
    let macaroon = read(own)?.expose().to_vec();
    let request = CheckMacPermRequest { macaroon, permissions: wire(&Permission::own()) };
    let client = Client::new(config.clone(), Some(own.to_owned()));
    let answer = ask!(client, READ, action, lightning.check_macaroon_permissions(request))?;
    if answer.valid { Ok(()) } else { Err(Error::NotPermitted { action }) }
}

impl Client {
    /// Bakes a macaroon for someone else. Each app or phone gets a root key of its own, so that revoking one leaves the
    /// others alone.
    pub async fn bake_for(&self, permissions: &[Permission], root_key: u64) -> Result<Secret, Error> {
        not_reserved(root_key)?;
        self.bake(permissions, root_key).await
    }

    async fn bake(&self, permissions: &[Permission], root_key_id: u64) -> Result<Secret, Error> {
        let action = "bake a macaroon";
        let request = BakeMacaroonRequest { permissions: wire(permissions), root_key_id };
        let text = ask!(self, READ, action, lightning.bake_macaroon(request))?.macaroon;
        let bytes = hex::decode(text).map_err(|error| Error::Answer { action, what: error.to_string() })?;
        Ok(Secret::new(bytes))
    }

    /// Makes all macaroons of that root key useless. That there was none is no fault.
    pub async fn revoke(&self, root_key: u64) -> Result<(), Error> {
        not_reserved(root_key)?;
        let request = DeleteMacaroonIdRequest { root_key_id: root_key };
        ask!(self, READ, "revoke the macaroon", lightning.delete_macaroon_id(request)).map(drop)
    }

    /// The root keys in use, LND's and this program's among them.
    pub async fn root_keys(&self) -> Result<Vec<u64>, Error> {
        let answer = ask!(self, READ, "list its macaroons", lightning.list_macaroon_i_ds(ListMacaroonIDsRequest {}))?;
        Ok(answer.root_key_ids)
    }
}

/// The root key that a macaroon says to be made with; `None` where it is no macaroon of LND's. Whether it is true only
/// LND can tell, which alone has the keys.
pub fn root_key_of(macaroon: &[u8]) -> Option<u64> {
    use prost::Message;
    /// Field kinds of libmacaroons' binary form, version 2.
    const VERSION: u8 = 2;
    const LOCATION: u8 = 1;
    const IDENTIFIER: u8 = 2;
    /// Of the bakery's identifiers, before a protobuf message.
    const BAKERY: u8 = 3;
    #[derive(Clone, PartialEq, Message)]
    struct Identifier {
        #[prost(bytes = "vec", tag = "2")]
        storage: Vec<u8>,
    }
    let (version, mut rest) = macaroon.split_first()?;
    let mut field = |kind: u8| {
        let (found, mut after) = rest.split_first().filter(|(found, _)| **found == kind)?;
        let length = usize::try_from(prost::decode_length_delimiter(&mut after).ok()? as u64).ok()?;
        let content = after.get(..length)?;
        rest = after.get(length..)?;
        Some((*found, content))
    };
    if *version != VERSION {
        return None;
    }
    field(LOCATION);
    let (_, identifier) = field(IDENTIFIER)?;
    let message = identifier.strip_prefix(&[BAKERY])?;
    std::str::from_utf8(&Identifier::decode(message).ok()?.storage).ok()?.parse().ok()
}

fn not_reserved(root_key: u64) -> Result<(), Error> {
    if [LND_ROOT_KEY, OWN_ROOT_KEY].contains(&root_key) { Err(Error::ReservedKey(root_key)) } else { Ok(()) }
}

/// Of a file, as LND writes it: bytes.
pub(crate) fn read(path: &Path) -> Result<Secret, Error> {
    fs::read(path).map(Secret::new).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoMacaroon { path: path.to_owned() },
        _ => Error::ReadMacaroon { path: path.to_owned(), source },
    })
}

/// As LND wants it beside each call.
pub(crate) fn metadata(macaroon: &Secret) -> MetadataValue<Ascii> {
    let text = hex::encode(macaroon.expose());
    // Hexadecimal digits are always a header's value.
    let mut value = MetadataValue::try_from(text).unwrap_or_else(|_| MetadataValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Whole or not at all, also through a power cut.
fn write(path: &Path, macaroon: &Secret) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(macaroon.expose())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_macaroon_is_written_for_this_user_alone_over_what_a_power_cut_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own.macaroon");
        fs::write(folder.path().join(".own.macaroon.new"), "half").unwrap();
        write(&path, &Secret::new([1, 2])).unwrap();
        assert_eq!(read(&path).unwrap().expose(), [1, 2]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn beside_a_call_it_is_hexadecimal_and_does_not_show_in_debug_output() {
        let value = metadata(&Secret::new([0xab, 1]));
        assert_eq!(value.to_str().unwrap(), "ab01");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }

    #[test]
    fn the_keys_of_lnd_and_of_this_program_are_not_given_away() {
        assert!(matches!(not_reserved(0), Err(Error::ReservedKey(0))));
        assert!(not_reserved(OWN_ROOT_KEY).is_err());
        assert!(not_reserved(7).is_ok());
    }

    /// As LND bakes it: location `lnd`, an identifier, no caveat, a signature.
    fn baked(root_key: &str) -> Vec<u8> {
        let mut identifier = vec![3, 0x0a, 2, 7, 7, 0x12, u8::try_from(root_key.len()).unwrap()];
        identifier.extend(root_key.as_bytes());
        let mut macaroon = vec![2, 1, 3, b'l', b'n', b'd', 2, u8::try_from(identifier.len()).unwrap()];
        macaroon.extend(identifier);
        macaroon.extend([0, 0, 6, 1, 9]);
        macaroon
    }

    #[test]
    fn the_root_key_stands_in_a_macaroon_and_in_nothing_else() {
        assert_eq!(root_key_of(&baked("18446744073709551615")), Some(u64::MAX));
        assert_eq!(root_key_of(&baked("0")), Some(0));
        assert_eq!(root_key_of(&baked("x")), None);
        assert_eq!(root_key_of(b""), None);
        let whole = baked("12345");
        assert!((0..15).all(|length| root_key_of(&whole[..length]).is_none()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80), at in 0_usize..30, with: u8) {
            root_key_of(&bytes);
            let mut near = baked("7");
            if let Some(byte) = near.get_mut(at) {
                *byte = with;
            }
            root_key_of(&near);
        }
    }

    #[test]
    fn a_managing_phone_cannot_make_macaroons() {
        assert!(Permission::manage().iter().all(|permission| permission.entity != "macaroon"));
    }
}
