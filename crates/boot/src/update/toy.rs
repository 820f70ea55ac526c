//! A box of a few values, for tests: two slots, a boot loader that counts, a job's file, and power that goes when it is
//! told to. It stands in for RAUC, too, with faults that the real one cannot be made to show.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use bootstate::Counter;
use twin::{
    Slot,
    updates::{Card, Job, Stage},
};

use super::{
    job::{Record, Seen, Source},
    work::{self, Fault, Rauc, World},
};
use crate::error::Error;

/// What becomes of a system once the boot loader has started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Its kernel stops before anything of ours runs.
    Panics,
    /// It hangs before its health gate, and a watchdog restarts it.
    Hangs,
    /// Its health gate restarts it.
    FailsGate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Whole(&'static str),
    /// Written in part.
    Torn,
}

#[derive(Debug)]
pub struct Toy {
    pub content: [Content; 2],
    pub ok: [bool; 2],
    pub tries: [u8; 2],
    pub first: usize,
    pub booted: usize,
    pub boots: u32,
    pub good: bool,
    /// Of the system that is installed.
    pub health: Health,
    /// What is in the bundle.
    pub bundle: &'static str,
    pub file: Option<Record>,
    pub history: Vec<(String, Stage)>,
    /// Stages in the order in which they came to be on the disk.
    pub path: Vec<Stage>,
    /// Effects until the power goes; `None`: it does not.
    pub power: Option<usize>,
    pub effects: usize,
    pub faults: VecDeque<Fault>,
    pub clock: u64,
    /// The boot loader's settings cannot be written.
    pub stuck: bool,
    /// How long one try takes, seconds.
    pub takes: u64,
    pub tells: usize,
}

/// The two handles that a job's work has on it.
#[derive(Clone)]
pub struct Hand(pub Rc<RefCell<Toy>>);

pub const OLD: &str = "old";
pub const NEW: &str = "new";

fn dark() -> Error {
    Error::Refused("the power went".into())
}

impl Toy {
    /// Runs the old system from A; B holds an older one.
    pub fn new(health: Health) -> Self {
        let record = Record {
            job: Job {
                id: "7".into(),
                version: "1.1.0".into(),
                from: "1.0.0".into(),
                slot: Some(Slot::B),
                root_hash: NEW.into(),
                ..Job::default()
            },
            source: Source::Url("http://a/b".into()),
            boot: "0".into(),
            ..Record::default()
        };
        Self {
            content: [Content::Whole(OLD), Content::Whole("older")],
            ok: [true; 2],
            tries: [0; 2],
            first: 0,
            booted: 0,
            boots: 0,
            good: true,
            health,
            bundle: NEW,
            file: Some(record),
            history: vec![],
            path: vec![Stage::Checking],
            power: None,
            effects: 0,
            faults: VecDeque::new(),
            clock: 1000,
            stuck: false,
            takes: 10,
            tells: 0,
        }
    }

    pub fn stage(&self) -> Stage {
        self.file.as_ref().unwrap().job.stage
    }

    pub fn runs(&self) -> &Content {
        &self.content[self.booted]
    }

    /// Something that stays is about to happen; an error is that the power went before it.
    fn effect(&mut self) -> Result<(), Error> {
        if let Some(left) = &mut self.power {
            *left = left.checked_sub(1).ok_or_else(dark)?;
        }
        self.effects += 1;
        Ok(())
    }

    /// Whatever happens, GRUB finds something whole.
    fn assert_can_start(&self) {
        let can = |at: usize| self.ok[at] && matches!(self.content[at], Content::Whole(_));
        assert!(can(0) || can(1), "no system would start: {self:?}");
    }

    fn health_of(&self, at: usize) -> Option<Health> {
        match self.content[at] {
            Content::Whole(NEW) => Some(self.health),
            Content::Whole(_) => Some(Health::Good),
            Content::Torn => None,
        }
    }

    /// GRUB, as image/grub/grub.cfg has it: gives the slot whose kernel starts.
    fn grub(&mut self) -> usize {
        for at in [self.first, 1 - self.first] {
            while self.ok[at] && self.tries[at] < 3 {
                self.tries[at] += 1;
                if self.health_of(at).is_some() {
                    return at;
                }
            }
        }
        panic!("both are used up: {self:?}");
    }
}

impl Hand {
    pub fn new(health: Health) -> Self {
        Self(Rc::new(RefCell::new(Toy::new(health))))
    }

    /// Lets `work` have the file as it stands on the disk.
    pub fn with(&self, work: impl FnOnce(&mut Hand, &mut Hand, &mut Record) -> Result<(), Error>) -> Result<(), Error> {
        let record = self.0.borrow().file.clone();
        work(&mut self.clone(), &mut self.clone(), &mut record.unwrap())
    }

    pub fn run(&self) -> Result<(), Error> {
        self.with(work::run)
    }

    pub fn restart(&self) -> Result<(), Error> {
        self.with(work::restart)
    }

    pub fn cancel(&self) -> Result<(), Error> {
        self.with(work::cancel)
    }

    /// Power comes: starts until one stays, up to and with the update's unit.
    pub fn boot(&self) -> Result<(), Error> {
        for _ in 0..10 {
            let health = {
                let mut toy = self.0.borrow_mut();
                toy.booted = toy.grub();
                toy.boots += 1;
                toy.good = false;
                toy.health_of(toy.booted).unwrap()
            };
            if health == Health::Panics {
                continue;
            }
            self.with(|world, _, record| work::settle(world, record))?;
            if health != Health::Good {
                continue;
            }
            {
                let mut toy = self.0.borrow_mut();
                toy.effect()?;
                let at = toy.booted;
                (toy.ok[at], toy.tries[at], toy.good) = (true, 0, true);
            }
            return self.run();
        }
        panic!("it restarts for ever: {:?}", self.0.borrow());
    }

    /// What a box and its owner do with a job, until it has ended: the owner restarts what waits for it.
    pub fn live(&self) -> Result<(), Error> {
        loop {
            let stage = self.0.borrow().stage();
            match stage {
                Stage::Checking | Stage::Installing => self.run()?,
                Stage::Installed => {
                    self.restart()?;
                    self.boot()?;
                }
                stage if stage.has_ended() => return Ok(()),
                stage => panic!("it stays {stage:?}: {:?}", self.0.borrow()),
            }
        }
    }
}

impl World for Hand {
    fn seen(&mut self, record: &Record) -> Result<Seen, Error> {
        let toy = self.0.borrow();
        let slot = if toy.booted == 0 { Slot::A } else { Slot::B };
        let root_hash = match toy.runs() {
            Content::Whole(hash) => (*hash).to_owned(),
            Content::Torn => panic!("what is torn runs"),
        };
        let at = usize::from(record.job.slot == Some(Slot::B));
        let counter = Some(Counter { ok: toy.ok[at], tries: toy.tries[at] });
        Ok(Seen { boot: toy.boots.to_string(), slot, root_hash, good: toy.good, counter })
    }

    fn save(&mut self, record: &Record) -> Result<(), Error> {
        let mut toy = self.0.borrow_mut();
        toy.effect()?;
        if toy.path.last() != Some(&record.job.stage) {
            toy.path.push(record.job.stage);
        }
        toy.file = Some(record.clone());
        Ok(())
    }

    fn tell(&mut self, _: &Record) {
        self.0.borrow_mut().tells += 1;
    }

    fn check(&mut self, record: &mut Record) -> Result<(), Fault> {
        if record.job.root_hash.is_empty() { Err(Fault::Refused("It is not for this box.".into())) } else { Ok(()) }
    }

    fn bundle(&self, _: &Record) -> Option<String> {
        Some("bundle".into())
    }

    fn verify(&mut self, record: &Record) -> Result<(), Fault> {
        match &self.0.borrow().content[usize::from(record.job.slot == Some(Slot::B))] {
            Content::Whole(hash) if *hash == record.job.root_hash => Ok(()),
            _ => Err(Fault::Failed("The bundle holds another system.".into())),
        }
    }

    fn why_back(&mut self, _: &Record) -> (String, Option<String>) {
        ("It was started 3 times without success.".into(), Some("B-1".into()))
    }

    fn close(&mut self, record: &Record) -> Result<(), Error> {
        let mut toy = self.0.borrow_mut();
        if toy.history.iter().any(|(id, _)| *id == record.job.id) {
            return Ok(());
        }
        toy.effect()?;
        toy.history.push((record.job.id.clone(), record.job.stage));
        Ok(())
    }

    fn cards(&mut self) -> Vec<Card> {
        vec![Card { mac: "52:54:00:00:00:01".into(), name: "eth0".into() }]
    }

    fn now(&self) -> u64 {
        self.0.borrow().clock
    }

    fn spent(&self) -> u64 {
        self.0.borrow().clock - 1000
    }

    fn pause(&mut self, time: Duration) {
        self.0.borrow_mut().clock += time.as_secs() + 1;
    }
}

impl Rauc for Hand {
    fn install(&mut self, _: &str, _: Duration, tell: &mut dyn FnMut(u8, &str)) -> Result<(), Fault> {
        let fault = {
            let mut toy = self.0.borrow_mut();
            toy.clock += toy.takes;
            toy.faults.pop_front()
        };
        if let Some(Fault::Refused(why)) = fault {
            return Err(Fault::Refused(why));
        }
        tell(40, "Copying image to rootfs.1");
        let mut toy = self.0.borrow_mut();
        let gone = |_| Fault::Cut("the power went".into());
        let other = 1 - toy.booted;
        toy.effect().map_err(gone)?;
        (toy.ok[other], toy.tries[other]) = (false, 0);
        toy.assert_can_start();
        toy.effect().map_err(gone)?;
        toy.content[other] = Content::Torn;
        if let Some(fault) = fault {
            return Err(fault);
        }
        toy.effect().map_err(gone)?;
        toy.content[other] = Content::Whole(toy.bundle);
        Ok(())
    }

    fn activate(&mut self) -> Result<(), String> {
        let mut toy = self.0.borrow_mut();
        let other = 1 - toy.booted;
        if toy.stuck {
            return Err("it cannot be written.".into());
        }
        toy.effect().map_err(|error| error.to_string())?;
        (toy.ok[other], toy.tries[other], toy.first) = (true, 0, other);
        assert_ne!(toy.content[other], Content::Torn, "what is torn would be started");
        Ok(())
    }

    fn spoil(&mut self) -> Result<(), String> {
        let mut toy = self.0.borrow_mut();
        let other = 1 - toy.booted;
        toy.effect().map_err(|error| error.to_string())?;
        (toy.ok[other], toy.tries[other]) = (false, 0);
        toy.assert_can_start();
        Ok(())
    }

    fn stay(&mut self) -> Result<(), String> {
        let mut toy = self.0.borrow_mut();
        let own = toy.booted;
        toy.effect().map_err(|error| error.to_string())?;
        (toy.ok[own], toy.tries[own], toy.first) = (true, 0, own);
        Ok(())
    }
}
