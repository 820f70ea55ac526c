//! Payments. LND keeps them by their hash and takes no hash twice unless the first try has failed for good, so the same
//! invoice, or the same keysend with its preimage, is never paid twice: the second call fails with
//! [`Error::AlreadyPaid`] or [`Error::InTransition`].

use std::{collections::BTreeMap, time::Duration};

use tonic::Streaming;
use twin::{
    MilliSat, UnixSeconds,
    node::{Payment, PaymentFailure, PaymentState},
};

use super::{Client, Page, READ, ask, msat, seconds, wire};
use crate::{
    Error, Hash, NodeId, Preimage,
    proto::{
        lnrpc::{
            ListPaymentsRequest, PayReq, PayReqString, Payment as WirePayment, PaymentFailureReason,
            payment::PaymentStatus,
        },
        routerrpc::{SendPaymentRequest, TrackPaymentRequest},
    },
};

/// The custom record in which a keysend carries its preimage.
const KEYSEND: u64 = 5_482_373_484;
/// Into how many parts LND may split a payment.
const PARTS: u32 = 16;

/// A payment to be made.
#[derive(Debug, Clone)]
pub struct Pay {
    pub to: PayTo,
    pub fee_limit: MilliSat,
    /// How long ways are sought. A part on its way is waited for all the same.
    pub timeout: Duration,
}

#[derive(Debug, Clone)]
pub enum PayTo {
    /// A BOLT 11 invoice. `amount` only where the invoice leaves it to the payer.
    Invoice { request: String, amount: Option<MilliSat> },
    /// To a node, without an invoice.
    Keysend {
        node: NodeId,
        amount: MilliSat,
        /// Random, and made before the owner confirms: sent again with the same one, it is the same payment.
        preimage: Preimage,
        /// Custom records for the receiver; their types are 65,536 or more.
        records: BTreeMap<u64, Vec<u8>>,
    },
}

/// How a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub payment: Payment,
    /// Once it succeeded.
    pub preimage: Option<Preimage>,
    /// Parts tried so far.
    pub attempts: usize,
}

/// Follows one payment. Dropping it does not stop the payment.
#[derive(Debug)]
pub struct Paying {
    client: Client,
    stream: Streaming<WirePayment>,
}

/// What a BOLT 11 invoice asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub hash: Hash,
    pub destination: NodeId,
    /// `None`: the payer chooses.
    pub amount: Option<MilliSat>,
    pub description: String,
    /// SHA-256 of a description told elsewhere, hexadecimal; empty without one.
    pub description_hash: String,
    pub created: UnixSeconds,
    pub expires: UnixSeconds,
    /// Ways to a node that is not announced.
    pub route_hints: usize,
}

const PAY: &str = "pay";
const LIST: &str = "list its payments";
const DECODE: &str = "read the payment request";

impl Client {
    /// Begins to pay. After [`Error::Timeout`] or [`Error::Ended`], here or later, the payment may be under way:
    /// [`Client::track`] tells.
    pub async fn pay(&self, pay: &Pay) -> Result<Paying, Error> {
        let request = request(pay)?;
        let stream = ask!(self, READ, PAY, router.send_payment_v2(request))?;
        Ok(Paying { client: self.clone(), stream })
    }

    /// Follows a payment that was begun earlier. Fails with [`Error::NotFound`] if it never was.
    pub async fn track(&self, hash: Hash) -> Result<Paying, Error> {
        let request = TrackPaymentRequest { payment_hash: hash.bytes().to_vec() };
        let stream = ask!(self, READ, "find the payment", router.track_payment_v2(request))?;
        Ok(Paying { client: self.clone(), stream })
    }

    /// What a payment request asks for; [`Error::BadRequest`] if it is none, or one for another network.
    pub async fn decode(&self, request: &str) -> Result<Request, Error> {
        let request = PayReqString { pay_req: request.trim().to_owned() };
        let answer = ask!(self, READ, DECODE, lightning.decode_pay_req(request));
        decoded(answer.map_err(|error| match error {
            // LND does nothing but read here: whatever it objects to is in the text.
            Error::Call { what, .. } => Error::BadRequest { what },
            error => error,
        })?)
    }

    /// A page of at most `count`, newest first, of those before the number `before` (`None`: from the newest on).
    pub async fn newest_payments(&self, before: Option<u64>, count: u32) -> Result<Page<Payment>, Error> {
        let mut items = self.list_payments(before.unwrap_or_default(), count, true).await?;
        items.sort_by_key(|payment| std::cmp::Reverse(payment.index));
        let last = items.last().map(|payment| payment.index).filter(|index| *index > 1);
        let before = last.filter(|_| items.len() == count as usize);
        Ok(Page { items, before })
    }

    /// At most `count` payments, oldest first, of those after the number `after` (0: from the first on).
    pub async fn payments_after(&self, after: u64, count: u32) -> Result<Vec<Payment>, Error> {
        self.list_payments(after, count, false).await
    }

    async fn list_payments(&self, offset: u64, count: u32, reversed: bool) -> Result<Vec<Payment>, Error> {
        let request = ListPaymentsRequest {
            include_incomplete: true,
            index_offset: offset,
            max_payments: u64::from(count),
            reversed,
            count_total_payments: false,
            omit_hops: true,
        };
        let answer = ask!(self, READ, LIST, lightning.list_payments(request))?;
        answer.payments.iter().map(|wire| payment(LIST, wire)).collect()
    }
}

impl Paying {
    /// Waits for the next change; the first comes at once, and `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        self.client.next(PAY, &mut self.stream).await?.map(progress).transpose()
    }

    /// Waits until it has succeeded or failed.
    pub async fn end(mut self) -> Result<Progress, Error> {
        while let Some(progress) = self.next().await? {
            if progress.payment.state != PaymentState::InFlight {
                return Ok(progress);
            }
        }
        Err(self.client.ended())
    }
}

fn request(pay: &Pay) -> Result<SendPaymentRequest, Error> {
    let mut request = SendPaymentRequest {
        timeout_seconds: i32::try_from(pay.timeout.as_secs()).unwrap_or(i32::MAX).max(1),
        fee_limit_msat: wire(PAY, pay.fee_limit.get())?,
        max_parts: PARTS,
        ..SendPaymentRequest::default()
    };
    match &pay.to {
        PayTo::Invoice { request: text, amount } => {
            request.payment_request = text.trim().to_owned();
            request.amt_msat = amount.map_or(Ok(0), |amount| wire(PAY, amount.get()))?;
        }
        PayTo::Keysend { node, amount, preimage, records } => {
            request.dest = node.bytes().to_vec();
            request.amt_msat = wire(PAY, amount.get())?;
            request.payment_hash = preimage.hash().bytes().to_vec();
            request.dest_custom_records = records.clone().into_iter().collect();
            request.dest_custom_records.insert(KEYSEND, preimage_bytes(preimage));
        }
    }
    Ok(request)
}

fn preimage_bytes(preimage: &Preimage) -> Vec<u8> {
    preimage.bytes().to_vec()
}

fn progress(wire: WirePayment) -> Result<Progress, Error> {
    let payment = payment(PAY, &wire)?;
    let is_paid = payment.state == PaymentState::Succeeded;
    let preimage = is_paid.then(|| wire.payment_preimage.parse()).transpose()?;
    Ok(Progress { payment, preimage, attempts: wire.htlcs.len() })
}

fn payment(action: &'static str, wire: &WirePayment) -> Result<Payment, Error> {
    let state = match wire.status() {
        PaymentStatus::Unknown | PaymentStatus::Initiated | PaymentStatus::InFlight => PaymentState::InFlight,
        PaymentStatus::Succeeded => PaymentState::Succeeded,
        PaymentStatus::Failed => PaymentState::Failed(match wire.failure_reason() {
            PaymentFailureReason::FailureReasonTimeout => PaymentFailure::Timeout,
            PaymentFailureReason::FailureReasonNoRoute => PaymentFailure::NoRoute,
            PaymentFailureReason::FailureReasonIncorrectPaymentDetails => PaymentFailure::IncorrectDetails,
            PaymentFailureReason::FailureReasonInsufficientBalance => PaymentFailure::InsufficientBalance,
            PaymentFailureReason::FailureReasonCanceled => PaymentFailure::Canceled,
            PaymentFailureReason::FailureReasonNone | PaymentFailureReason::FailureReasonError => PaymentFailure::Error,
        }),
    };
    Ok(Payment {
        index: wire.payment_index,
        hash: wire.payment_hash.clone(),
        amount: msat(action, wire.value_msat)?,
        fee: msat(action, wire.fee_msat)?,
        state,
        created: seconds(wire.creation_time_ns / 1_000_000_000),
    })
}

fn decoded(wire: PayReq) -> Result<Request, Error> {
    let wrong = |error: Error| Error::Answer { action: DECODE, what: error.to_string() };
    let amount = msat(DECODE, wire.num_msat)?;
    Ok(Request {
        hash: wire.payment_hash.parse().map_err(wrong)?,
        destination: wire.destination.parse().map_err(wrong)?,
        amount: (amount > MilliSat::ZERO).then_some(amount),
        description: wire.description,
        description_hash: wire.description_hash,
        created: seconds(wire.timestamp),
        expires: seconds(wire.timestamp.saturating_add(wire.expiry)),
        route_hints: wire.route_hints.len(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keysend(preimage: [u8; 32]) -> Pay {
        let to = PayTo::Keysend {
            node: NodeId::new([2; 33]),
            amount: MilliSat::new(1500),
            preimage: Preimage::new(preimage),
            records: BTreeMap::from([(65_536, b"hello".to_vec())]),
        };
        Pay { to, fee_limit: MilliSat::new(10), timeout: Duration::from_millis(10) }
    }

    #[test]
    fn a_keysend_sent_again_with_its_preimage_has_the_same_hash() {
        let (once, again) = (request(&keysend([7; 32])).unwrap(), request(&keysend([7; 32])).unwrap());
        assert_eq!(once.payment_hash, again.payment_hash);
        assert_eq!(once.dest_custom_records[&KEYSEND], [7; 32]);
        assert_eq!(once.dest_custom_records[&65_536], b"hello");
        assert_eq!(once.timeout_seconds, 1, "0 would be LND's own minute");
    }

    #[test]
    fn a_payment_that_has_only_been_noted_is_on_its_way() {
        let wire = WirePayment { status: PaymentStatus::Initiated.into(), ..WirePayment::default() };
        assert_eq!(payment("test", &wire).unwrap().state, PaymentState::InFlight);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes: Vec<u8>) {
            use prost::Message;
            if let Ok(wire) = WirePayment::decode(bytes.as_slice()) {
                let _ = progress(wire);
            }
            if let Ok(wire) = PayReq::decode(bytes.as_slice()) {
                let _ = decoded(wire);
            }
        }

        #[test]
        fn no_numbers_and_words_make_it_fall_over(
            value: i64, fee: i64, status: i32, reason: i32, time: i64, hash in ".*|[0-9a-f]{64}"
        ) {
            let wire = WirePayment {
                value_msat: value, fee_msat: fee, status, failure_reason: reason, creation_time_ns: time,
                payment_preimage: hash.clone(), ..WirePayment::default()
            };
            prop_assert_eq!(payment("test", &wire).is_ok(), value >= 0 && fee >= 0);
            let _ = progress(wire);
            let wire = PayReq { payment_hash: hash, timestamp: time, expiry: value, ..PayReq::default() };
            prop_assert!(decoded(wire).is_err(), "it names no destination");
        }
    }
}
