//! RAUC, which keeps the slots, over D-Bus.

use std::collections::HashMap;

use zbus::{Connection, wire::OwnedVariant};

use crate::{Error, bus};

/// RAUC's slots: name (`rootfs.0`) and status properties.
pub type SlotStatus = Vec<(String, HashMap<String, OwnedVariant>)>;

/// RAUC's own interface, see its `src/de.pengutronix.rauc.Installer.xml`.
#[zbus::proxy(interface = "de.pengutronix.rauc.Installer", default_service = "de.pengutronix.rauc", default_path = "/")]
pub trait Installer {
    /// Marks `slot` (`booted`, `other` or a name) as `state` (`good`, `bad` or `active`).
    /// Answers with the slot's name and a sentence.
    fn mark(&self, state: &str, slot: &str) -> zbus::Result<(String, String)>;
    /// Name of the slot that the boot loader prefers.
    fn get_primary(&self) -> zbus::Result<String>;
    fn get_slot_status(&self) -> zbus::Result<SlotStatus>;
}

/// Tells RAUC on the system bus that the booted slot works. Idempotent. Answers with RAUC's own sentence.
pub async fn mark_good() -> Result<String, Error> {
    let connection = bus::connect().await?;
    mark_good_on(&connection).await
}

/// As [`mark_good`], on a given connection.
pub async fn mark_good_on(connection: &Connection) -> Result<String, Error> {
    let rauc = |action| move |source| Error::Rauc { action, source };
    let installer = InstallerProxy::new(connection).await.map_err(Error::Bus)?;
    let (slot, said) = installer.mark("good", "booted").await.map_err(rauc("mark the booted slot good"))?;
    Ok(if said.is_empty() { format!("marked slot {slot} as good") } else { said })
}
