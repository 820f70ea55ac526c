//! A long list of LND's, kept as its newest entries and the sums of all.

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
};

use twin::node::NEWEST;

use crate::Error;

/// How many entries are asked for at once. More would be held in memory for the time of reading.
pub(super) const PAGE: u32 = 100;
/// So many single entries are re-read after hints; beyond that everything is.
const FEW: usize = 50;

/// An invoice or a payment.
pub(super) trait Entry: Clone + Send {
    type Sums: Sums<Self> + Default + Send + Sync;

    /// LND's number of it: from 1, growing, with gaps.
    fn index(&self) -> u64;

    /// It may still change.
    fn is_open(&self) -> bool;
}

/// What is counted of the entries that cannot change any more.
pub(super) trait Sums<T> {
    fn add(&mut self, entry: &T);
}

/// Where entries come from.
pub(super) trait Pages<T> {
    /// At most `count` entries after the number `after`, oldest first.
    fn after(&self, after: u64, count: u32) -> impl Future<Output = Result<Vec<T>, Error>> + Send;

    /// The newest `count` entries.
    fn newest(&self, count: u32) -> impl Future<Output = Result<Vec<T>, Error>> + Send;
}

pub(super) struct Ledger<T: Entry> {
    /// Newest first.
    newest: VecDeque<T>,
    /// The highest number seen.
    last: u64,
    open: BTreeSet<u64>,
    sums: T::Sums,
    closed: u64,
    /// Of entries that LND told about and that are to be read again.
    told: BTreeSet<u64>,
    is_whole: bool,
}

impl<T: Entry> Default for Ledger<T> {
    fn default() -> Self {
        Self {
            newest: VecDeque::new(),
            last: 0,
            open: BTreeSet::new(),
            sums: T::Sums::default(),
            closed: 0,
            told: BTreeSet::new(),
            is_whole: false,
        }
    }
}

impl<T: Entry> Ledger<T> {
    pub(super) fn newest(&self) -> Vec<T> {
        self.newest.iter().cloned().collect()
    }

    pub(super) fn open(&self) -> u64 {
        self.open.len() as u64
    }

    pub(super) fn total(&self) -> u64 {
        self.closed + self.open()
    }

    pub(super) fn sums(&self) -> &T::Sums {
        &self.sums
    }

    /// The entry with that number changed, or is new.
    pub(super) fn tell(&mut self, index: u64) {
        self.told.insert(index);
    }

    /// Nothing that is here can be relied on: the next update reads everything.
    pub(super) fn forget(&mut self) {
        self.is_whole = false;
    }

    /// Brings everything up to date: by reading all, or what is new and what was told about.
    pub(super) async fn update(&mut self, pages: &impl Pages<T>) -> Result<(), Error> {
        if !self.is_whole || self.told.len() > FEW {
            *self = Self::default();
        }
        let told: Vec<u64> = std::mem::take(&mut self.told).into_iter().filter(|index| *index <= self.last).collect();
        for index in told {
            let entry = pages.after(index.saturating_sub(1), 1).await?;
            // When it is gone, the one after it comes in its place.
            entry.into_iter().filter(|entry| entry.index() == index).for_each(|entry| self.put(entry));
        }
        loop {
            let page = pages.after(self.last, PAGE).await?;
            let before = self.last;
            let is_last = page.len() < PAGE as usize;
            page.into_iter().for_each(|entry| self.put(entry));
            // A page without progress would be asked for for ever.
            if is_last || self.last == before {
                break;
            }
        }
        // Of those that are shown, some may have changed without a word: an invoice expires in silence.
        if self.is_whole {
            pages.newest(NEWEST as u32).await?.into_iter().for_each(|entry| self.put(entry));
        }
        self.is_whole = true;
        Ok(())
    }

    fn put(&mut self, entry: T) {
        let index = entry.index();
        let is_new = index > self.last;
        if !is_new && !self.open.contains(&index) {
            return;
        }
        self.last = self.last.max(index);
        if entry.is_open() {
            self.open.insert(index);
        } else {
            self.open.remove(&index);
            self.closed += 1;
            self.sums.add(&entry);
        }
        if is_new {
            self.newest.truncate(NEWEST - 1);
            self.newest.push_front(entry);
        } else if let Some(old) = self.newest.iter_mut().find(|old| old.index() == index) {
            *old = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Coin {
        index: u64,
        open: bool,
        amount: u64,
    }

    #[derive(Debug, Default, PartialEq)]
    struct Sum(u64);

    impl Entry for Coin {
        type Sums = Sum;

        fn index(&self) -> u64 {
            self.index
        }

        fn is_open(&self) -> bool {
            self.open
        }
    }

    impl Sums<Coin> for Sum {
        fn add(&mut self, coin: &Coin) {
            self.0 += coin.amount;
        }
    }

    /// A list as LND gives it, and how much of it was asked for.
    #[derive(Default)]
    struct List {
        coins: Mutex<Vec<Coin>>,
        given: Mutex<usize>,
    }

    impl List {
        fn give(&self, coins: Vec<Coin>) -> Result<Vec<Coin>, Error> {
            *self.given.lock().unwrap() += coins.len();
            Ok(coins)
        }
    }

    impl Pages<Coin> for List {
        async fn after(&self, after: u64, count: u32) -> Result<Vec<Coin>, Error> {
            let coins = self.coins.lock().unwrap();
            self.give(coins.iter().filter(|coin| coin.index > after).take(count as usize).cloned().collect())
        }

        async fn newest(&self, count: u32) -> Result<Vec<Coin>, Error> {
            let coins = self.coins.lock().unwrap();
            self.give(coins.iter().rev().take(count as usize).cloned().collect())
        }
    }

    fn coins(open: &[bool]) -> Vec<Coin> {
        // With gaps, as LND's numbers have.
        let coin = |(at, open): (usize, &bool)| Coin { index: at as u64 * 2 + 1, open: *open, amount: at as u64 };
        open.iter().enumerate().map(coin).collect()
    }

    #[tokio::test]
    async fn a_long_list_is_kept_as_its_newest_and_the_sums_of_all() {
        let list = List::default();
        *list.coins.lock().unwrap() = coins(&[false; 1234]);
        let mut ledger = Ledger::default();
        ledger.update(&list).await.unwrap();
        assert_eq!((ledger.total(), ledger.open(), ledger.newest.len()), (1234, 0, NEWEST));
        assert_eq!(ledger.sums().0, (0..1234).sum::<u64>());
        assert_eq!(ledger.newest()[0].index, 1233 * 2 + 1);
        *list.given.lock().unwrap() = 0;
        ledger.update(&list).await.unwrap();
        assert_eq!(*list.given.lock().unwrap(), NEWEST, "nothing new: no more than what is shown is read again");
        assert_eq!(ledger.total(), 1234);
    }

    #[tokio::test]
    async fn an_old_entry_that_changes_is_read_when_told_about() {
        let list = List::default();
        let mut open = [false; 200];
        open[3] = true;
        *list.coins.lock().unwrap() = coins(&open);
        let mut ledger = Ledger::default();
        ledger.update(&list).await.unwrap();
        assert_eq!(ledger.open(), 1);
        list.coins.lock().unwrap()[3].open = false;
        ledger.tell(7);
        ledger.update(&list).await.unwrap();
        assert_eq!((ledger.open(), ledger.total()), (0, 200));
        assert_eq!(ledger.sums().0, (0..200).sum::<u64>());
    }

    proptest! {
        #[test]
        fn however_it_was_told_the_sums_are_those_of_the_list(
            first in prop::collection::vec(any::<bool>(), 0..150),
            later in prop::collection::vec(any::<bool>(), 0..150),
            hints in prop::collection::vec(0..400u64, 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let list = List::default();
            *list.coins.lock().unwrap() = coins(&first);
            let mut ledger = Ledger::default();
            runtime.block_on(ledger.update(&list)).unwrap();
            // Open ones close, which is told; new ones come, which need not be; other hints are wrong.
            let all: Vec<bool> = first.iter().map(|_| false).chain(later).collect();
            *list.coins.lock().unwrap() = coins(&all);
            hints.into_iter().for_each(|index| ledger.tell(index));
            first.iter().enumerate().filter(|(_, open)| **open).for_each(|(at, _)| ledger.tell(at as u64 * 2 + 1));
            runtime.block_on(ledger.update(&list)).unwrap();

            let list = list.coins.lock().unwrap().clone();
            prop_assert_eq!(ledger.total(), list.len() as u64);
            prop_assert_eq!(ledger.open(), list.iter().filter(|coin| coin.open).count() as u64);
            prop_assert_eq!(ledger.sums().0, list.iter().filter(|coin| !coin.open).map(|coin| coin.amount).sum::<u64>());
            let newest: Vec<Coin> = list.into_iter().rev().take(NEWEST).collect();
            prop_assert_eq!(ledger.newest(), newest);
        }
    }
}
