//! Invoices: how money is asked for.

use std::time::Duration;

use twin::{
    MilliSat,
    node::{Invoice, InvoiceState},
};

use super::{Client, Page, READ, ask, msat, seconds, wire};
use crate::{
    Error, Hash, Preimage,
    proto::{
        invoicesrpc::{AddHoldInvoiceRequest, CancelInvoiceMsg, SettleInvoiceMsg},
        lnrpc::{Invoice as WireInvoice, ListInvoiceRequest, PaymentHash, invoice::InvoiceState as WireState},
    },
};

/// An invoice to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvoice {
    /// `None`: the payer chooses.
    pub amount: Option<MilliSat>,
    /// What the payer reads.
    pub memo: String,
    pub expiry: Duration,
    /// Tell the payer ways through channels that are not announced.
    pub private: bool,
}

const LIST: &str = "list its invoices";

impl Client {
    pub async fn add_invoice(&self, invoice: NewInvoice) -> Result<Invoice, Error> {
        let action = "make an invoice";
        let request = WireInvoice {
            memo: invoice.memo,
            value_msat: invoice.amount.map_or(Ok(0), |amount| wire(action, amount.get()))?,
            expiry: wire(action, invoice.expiry.as_secs())?,
            private: invoice.private,
            ..WireInvoice::default()
        };
        let answer = ask!(self, READ, action, lightning.add_invoice(request))?;
        self.invoice(Hash::of(action, &answer.r_hash)?).await
    }

    /// An invoice that commits to a text told elsewhere, by its SHA-256, as services of LNURL make them.
    pub async fn add_invoice_for(
        &self,
        amount: MilliSat,
        description_hash: [u8; 32],
        expiry: Duration,
    ) -> Result<Invoice, Error> {
        let action = "make an invoice";
        let request = WireInvoice {
            description_hash: description_hash.to_vec(),
            value_msat: wire(action, amount.get())?,
            expiry: wire(action, expiry.as_secs())?,
            ..WireInvoice::default()
        };
        let answer = ask!(self, READ, action, lightning.add_invoice(request))?;
        self.invoice(Hash::of(action, &answer.r_hash)?).await
    }

    /// An invoice whose payment is held until [`Client::settle_invoice`] or [`Client::cancel_invoice`].
    pub async fn add_hold_invoice(&self, hash: Hash, invoice: NewInvoice) -> Result<Invoice, Error> {
        let action = "make an invoice";
        let request = AddHoldInvoiceRequest {
            memo: invoice.memo,
            hash: hash.bytes().to_vec(),
            value_msat: invoice.amount.map_or(Ok(0), |amount| wire(action, amount.get()))?,
            expiry: wire(action, invoice.expiry.as_secs())?,
            private: invoice.private,
        };
        ask!(self, READ, action, invoices.add_hold_invoice(request))?;
        self.invoice(hash).await
    }

    /// Takes the money of a held payment.
    pub async fn settle_invoice(&self, preimage: &Preimage) -> Result<(), Error> {
        let request = SettleInvoiceMsg { preimage: preimage.bytes().to_vec() };
        ask!(self, READ, "settle the invoice", invoices.settle_invoice(request)).map(drop)
    }

    /// Makes an invoice void, and gives back what a held payment brought.
    pub async fn cancel_invoice(&self, hash: Hash) -> Result<(), Error> {
        let request = CancelInvoiceMsg { payment_hash: hash.bytes().to_vec() };
        ask!(self, READ, "cancel the invoice", invoices.cancel_invoice(request)).map(drop)
    }

    pub async fn invoice(&self, hash: Hash) -> Result<Invoice, Error> {
        let action = "look up the invoice";
        let request = PaymentHash { r_hash: hash.bytes().to_vec() };
        self::invoice(action, ask!(self, READ, action, lightning.lookup_invoice(request))?)
    }

    /// A page of at most `count`, newest first, of those before the number `before` (`None`: from the newest on).
    pub async fn newest_invoices(&self, before: Option<u64>, count: u32) -> Result<Page<Invoice>, Error> {
        let mut items = self.list_invoices(before.unwrap_or_default(), count, true).await?;
        items.sort_by_key(|invoice| std::cmp::Reverse(invoice.index));
        let last = items.last().map(|invoice| invoice.index).filter(|index| *index > 1);
        let before = last.filter(|_| items.len() == count as usize);
        Ok(Page { items, before })
    }

    /// At most `count` invoices, oldest first, of those after the number `after` (0: from the first on).
    pub async fn invoices_after(&self, after: u64, count: u32) -> Result<Vec<Invoice>, Error> {
        self.list_invoices(after, count, false).await
    }

    async fn list_invoices(&self, offset: u64, count: u32, reversed: bool) -> Result<Vec<Invoice>, Error> {
        let request = ListInvoiceRequest {
            pending_only: false,
            index_offset: offset,
            num_max_invoices: u64::from(count),
            reversed,
        };
        let answer = ask!(self, READ, LIST, lightning.list_invoices(request))?;
        answer.invoices.into_iter().map(|wire| invoice(LIST, wire)).collect()
    }
}

fn invoice(action: &'static str, wire: WireInvoice) -> Result<Invoice, Error> {
    let state = match wire.state() {
        WireState::Open => InvoiceState::Open,
        WireState::Accepted => InvoiceState::Accepted,
        WireState::Settled => InvoiceState::Settled,
        WireState::Canceled => InvoiceState::Canceled,
    };
    let amount = msat(action, wire.value_msat)?;
    Ok(Invoice {
        index: wire.add_index,
        hash: hex::encode(&wire.r_hash),
        amount: (amount > MilliSat::ZERO).then_some(amount),
        paid: msat(action, wire.amt_paid_msat)?,
        state,
        created: seconds(wire.creation_date),
        expires: seconds(wire.creation_date.saturating_add(wire.expiry)),
        settled: Some(seconds(wire.settle_date)).filter(|time| *time > 0),
        keysend: wire.is_keysend,
        memo: wire.memo,
        request: wire.payment_request,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_invoice_without_amount_leaves_it_to_the_payer() {
        let wire = WireInvoice { creation_date: 1000, expiry: 60, ..WireInvoice::default() };
        let invoice = invoice("test", wire).unwrap();
        assert_eq!((invoice.amount, invoice.expires, invoice.settled), (None, 1060, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
            use prost::Message;
            if let Ok(wire) = WireInvoice::decode(bytes.as_slice()) {
                let _ = invoice("test", wire);
            }
        }

        #[test]
        fn no_numbers_make_it_fall_over(value: i64, paid: i64, created: i64, expiry: i64, state: i32) {
            let wire = WireInvoice {
                value_msat: value, amt_paid_msat: paid, creation_date: created, expiry, state,
                ..WireInvoice::default()
            };
            prop_assert_eq!(invoice("test", wire).is_ok(), value >= 0 && paid >= 0);
        }
    }
}
