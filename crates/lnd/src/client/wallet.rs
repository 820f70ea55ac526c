//! Making, opening and renaming the key of the wallet.

use twin::LndState;

use super::{Client, QUICK, SLOW, ask};
use crate::{
    Error, Secret, SeedFault,
    proto::lnrpc::{
        ChanBackupSnapshot, ChangePasswordRequest, GenSeedRequest, GetStateRequest, InitWalletRequest, MultiChanBackup,
        UnlockWalletRequest, state_client::StateClient,
    },
    types::Seed,
    watch::state,
};

/// A wallet to be made, new or from words written down.
#[derive(Debug)]
pub struct NewWallet {
    /// At least 8 characters.
    pub password: Secret,
    /// From [`Client::new_seed`], or the owner's. The words carry the wallet's birthday, from which the chain is searched.
    pub seed: Seed,
    /// The passphrase of the words, if they have one.
    pub passphrase: Option<Secret>,
    pub recovery: Option<Recovery>,
}

/// For words that were used before.
#[derive(Debug)]
pub struct Recovery {
    /// How many unused addresses in a row end the search; 2,500 is what LND recommends.
    pub window: u16,
    /// The newest static channel backup (SCB): its peers are asked to close their channels.
    pub backup: Option<Vec<u8>>,
}

impl Client {
    /// The state that LND reports; answers at any time and without a macaroon.
    pub async fn state(&self) -> Result<LndState, Error> {
        let action = "tell its state";
        let call =
            |service: super::Service| async move { StateClient::new(service.0).get_state(GetStateRequest {}).await };
        let number = self.call(action, QUICK, call).await?.state;
        state::of_number(number).ok_or(Error::UnknownState { address: self.config().address, number })
    }

    /// New words. LND keeps nothing of them until [`Client::init_wallet`].
    pub async fn new_seed(&self, passphrase: Option<&Secret>) -> Result<Seed, Error> {
        let aezeed_passphrase = passphrase.map(|secret| secret.expose().to_vec()).unwrap_or_default();
        let answer = ask!(self, SLOW, "make a seed", unlocker.gen_seed(GenSeedRequest { aezeed_passphrase }))?;
        Ok(Seed::new(answer.cipher_seed_mnemonic))
    }

    /// Makes the wallet and opens it; gives the admin macaroon, which LND also writes to its folder.
    pub async fn init_wallet(&self, wallet: NewWallet) -> Result<Secret, Error> {
        // LND would take a missing word for an unknown one.
        if wallet.seed.expose().len() != 24 {
            return Err(Error::BadSeed(SeedFault::Count));
        }
        let (window, backup) = match wallet.recovery {
            None => (0, None),
            Some(recovery) => (recovery.window, recovery.backup),
        };
        let request = InitWalletRequest {
            wallet_password: wallet.password.expose().to_vec(),
            cipher_seed_mnemonic: wallet.seed.expose().to_vec(),
            aezeed_passphrase: wallet.passphrase.map(|secret| secret.expose().to_vec()).unwrap_or_default(),
            recovery_window: i32::from(window),
            channel_backups: backup.map(snapshot),
        };
        let answer = ask!(self, SLOW, "make the wallet", unlocker.init_wallet(request))?;
        Ok(Secret::new(answer.admin_macaroon))
    }

    pub async fn unlock(&self, password: &Secret) -> Result<(), Error> {
        self.unlock_searching(password, 0).await
    }

    /// The same, and looks on the chain for money of the wallet, `window` addresses ahead of the last one known. LND forgets
    /// at each stop that it was looking.
    pub async fn unlock_searching(&self, password: &Secret, window: u16) -> Result<(), Error> {
        let request =
            UnlockWalletRequest { wallet_password: password.expose().to_vec(), recovery_window: i32::from(window) };
        ask!(self, SLOW, "open the wallet", unlocker.unlock_wallet(request)).map(drop)
    }

    /// Changes the password of a locked wallet and opens it.
    pub async fn change_password(&self, current: &Secret, new: &Secret) -> Result<(), Error> {
        let request =
            ChangePasswordRequest { current_password: current.expose().to_vec(), new_password: new.expose().to_vec() };
        ask!(self, SLOW, "change the wallet's password", unlocker.change_password(request)).map(drop)
    }
}

/// A blob as LND takes it.
pub(super) fn snapshot(multi_chan_backup: Vec<u8>) -> ChanBackupSnapshot {
    let multi = MultiChanBackup { multi_chan_backup, ..MultiChanBackup::default() };
    ChanBackupSnapshot { multi_chan_backup: Some(multi) }
}
