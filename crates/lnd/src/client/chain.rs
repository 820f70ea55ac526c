//! Money on the chain.

use std::collections::HashMap;

use twin::{
    Sat,
    node::{Direction, Transaction},
};

use super::{Client, READ, SLOW, ask, sat, seconds, wire};
use crate::{
    Error,
    proto::lnrpc::{
        AddressType, EstimateFeeRequest, GetTransactionsRequest, NewAddressRequest, SendCoinsRequest,
        Transaction as WireTransaction,
    },
    types::FeeRate,
};

/// Height of what is not confirmed.
const MEMPOOL: i32 = -1;

impl Client {
    /// A taproot address of the wallet that was never shown before.
    pub async fn new_address(&self) -> Result<String, Error> {
        let request = NewAddressRequest { r#type: AddressType::TaprootPubkey.into() };
        Ok(ask!(self, READ, "make an address", lightning.new_address(request))?.address)
    }

    /// What it would cost to send `amount` to `address` within so many blocks.
    pub async fn estimate_fee(&self, address: &str, amount: Sat, blocks: u16) -> Result<Sat, Error> {
        let action = "estimate the fee";
        let addr_to_amount = HashMap::from([(address.to_owned(), wire(action, amount.get())?)]);
        let request = EstimateFeeRequest { addr_to_amount, target_conf: i32::from(blocks) };
        sat(action, ask!(self, READ, action, lightning.estimate_fee(request))?.fee_sat)
    }

    /// Sends to a bitcoin address; `None` sends everything. Gives the transaction's id. After [`Error::Timeout`] or
    /// [`Error::Ended`] look at the transactions before trying again: it may have been sent. `label` comes back there.
    pub async fn send_coins(
        &self,
        address: &str,
        amount: Option<Sat>,
        fee: FeeRate,
        label: &str,
    ) -> Result<String, Error> {
        let action = "send the money";
        let (target_conf, sat_per_vbyte) = fee.fields();
        let request = SendCoinsRequest {
            addr: address.to_owned(),
            amount: amount.map_or(Ok(0), |amount| wire(action, amount.get()))?,
            target_conf,
            sat_per_vbyte,
            send_all: amount.is_none(),
            label: label.to_owned(),
        };
        Ok(ask!(self, SLOW, action, lightning.send_coins(request))?.txid)
    }

    /// At most `count` of the wallet's transactions after skipping `skip` of them: oldest first, unconfirmed last. (LND can
    /// turn the order around, but on SQLite it then finds none.)
    pub async fn transactions(&self, skip: u32, count: u32) -> Result<Vec<Transaction>, Error> {
        let action = "list the wallet's transactions";
        let request = GetTransactionsRequest {
            start_height: 0,
            end_height: MEMPOOL,
            index_offset: skip,
            max_transactions: count,
        };
        let answer = ask!(self, SLOW, action, lightning.get_transactions(request))?;
        // Pages come oldest first, what is in them newest first.
        answer.transactions.into_iter().rev().map(|wire| transaction(action, wire)).collect()
    }
}

fn transaction(action: &'static str, wire: WireTransaction) -> Result<Transaction, Error> {
    let direction = if wire.amount < 0 { Direction::Out } else { Direction::In };
    Ok(Transaction {
        txid: wire.tx_hash,
        direction,
        amount: Sat::new(wire.amount.unsigned_abs()),
        fee: sat(action, wire.total_fees)?,
        height: u32::try_from(wire.block_height).ok().filter(|_| wire.num_confirmations > 0),
        time: seconds(wire.time_stamp),
        label: wire.label,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_sent_is_negative_on_the_wire_and_what_has_no_confirmation_has_no_height() {
        let wire = WireTransaction { amount: -700, total_fees: 200, ..WireTransaction::default() };
        let sent = transaction("test", wire).unwrap();
        assert_eq!((sent.direction, sent.amount, sent.height), (Direction::Out, Sat::new(700), None));
    }

    proptest! {
        #[test]
        fn no_transaction_makes_it_fall_over(amount: i64, fee: i64, height: i32, confirmations: i32, time: i64) {
            let wire = WireTransaction {
                amount, total_fees: fee, block_height: height, num_confirmations: confirmations, time_stamp: time,
                ..WireTransaction::default()
            };
            prop_assert_eq!(transaction("test", wire).is_ok(), fee >= 0);
        }
    }
}
