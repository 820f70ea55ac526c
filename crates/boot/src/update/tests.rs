//! The job on a box of a few values: a restart and a lost power at every step.

use twin::updates::Stage::{self, *};

use super::{
    job::{DEADLINE, Event, FAULTS, STARTS, Source, next},
    toy::{Content, Hand, Health, NEW, OLD},
    work::Fault,
};

/// One life of a box: the power goes after `first` effects, comes back, goes again after `second` more, and stays.
fn cut(hand: &Hand, first: usize, second: Option<usize>) {
    for power in [Some(Some(first)), second.map(Some), Some(None)].into_iter().flatten() {
        hand.0.borrow_mut().power = power;
        let is_first = hand.0.borrow().boots == 0;
        let result =
            if is_first && power == Some(first) { hand.live() } else { hand.boot().and_then(|()| hand.live()) };
        if power.is_none() {
            result.unwrap();
        }
    }
}

/// How many effects a life without any cut has.
fn effects(health: Health) -> usize {
    let hand = Hand::new(health);
    hand.live().unwrap();
    hand.0.borrow().effects
}

/// Every step from one stage on the disk to the next is one that the rules know.
fn assert_lawful(path: &[Stage]) {
    let text = String::new;
    let events = [
        Event::Checked,
        Event::Refused(text()),
        Event::Cut(text()),
        Event::Written,
        Event::GaveUp(text()),
        Event::Cancelled,
        Event::Restart,
        Event::Started,
        Event::Good,
        Event::Back(text(), None),
    ];
    for step in path.windows(2) {
        assert!(events.iter().any(|event| next(step[0], event) == Some(step[1])), "{path:?}");
    }
}

#[test]
fn an_update_goes_its_way_and_is_committed() {
    let hand = Hand::new(Health::Good);
    hand.live().unwrap();
    let toy = hand.0.borrow();
    assert_eq!(toy.path, [Checking, Installing, Installed, Restarting, Trying, Committed]);
    assert_eq!((toy.runs(), toy.boots), (&Content::Whole(NEW), 1));
    assert_eq!(toy.history, [("7".to_owned(), Committed)]);
    assert!(toy.tells > 0, "nobody was told how far it is");
    assert_eq!(toy.file.as_ref().unwrap().cards.len(), 1, "the cards before are not known");
}

#[test]
fn a_lost_power_at_any_moment_only_takes_time() {
    for first in 0..effects(Health::Good) {
        let hand = Hand::new(Health::Good);
        cut(&hand, first, None);
        let toy = hand.0.borrow();
        assert_eq!(toy.runs(), &Content::Whole(NEW), "after {first}: {toy:?}");
        assert_eq!(toy.history, [("7".to_owned(), Committed)], "after {first}");
        assert_lawful(&toy.path);
    }
}

#[test]
fn a_power_that_is_lost_twice_does_so_too() {
    let all = effects(Health::Good);
    for first in 0..all {
        for second in 0..all + 3 {
            let hand = Hand::new(Health::Good);
            cut(&hand, first, Some(second));
            let toy = hand.0.borrow();
            assert_eq!(toy.runs(), &Content::Whole(NEW), "after {first} and {second}: {toy:?}");
            assert_eq!(toy.history, [("7".to_owned(), Committed)], "after {first} and {second}");
            assert_lawful(&toy.path);
        }
    }
}

#[test]
fn a_version_that_does_not_prove_itself_gives_way_to_the_old_one_wherever_the_power_goes() {
    for health in [Health::Panics, Health::Hangs, Health::FailsGate] {
        for first in 0..=effects(health) {
            let hand = Hand::new(health);
            cut(&hand, first, None);
            let toy = hand.0.borrow();
            assert_eq!(toy.runs(), &Content::Whole(OLD), "{health:?} after {first}: {toy:?}");
            assert_eq!(toy.history, [("7".to_owned(), FellBack)], "{health:?} after {first}");
            let record = toy.file.as_ref().unwrap();
            assert!(record.job.error.contains("3 times") && record.evidence.is_some(), "{record:?}");
            assert_lawful(&toy.path);
        }
    }
}

#[test]
fn a_restart_at_each_stage_leads_to_the_same_end() {
    // The work of a stage is done up to the moment at which the file says so, and then the box restarts.
    for stage in [Checking, Installing, Installed, Restarting, Trying] {
        let hand = Hand::new(Health::Good);
        let mut reached = hand.0.borrow().stage();
        for power in 0.. {
            if reached == stage {
                break;
            }
            let next = Hand::new(Health::Good);
            next.0.borrow_mut().power = Some(power);
            let _ = next.live();
            reached = next.0.borrow().stage();
            hand.0.swap(&next.0);
        }
        assert_eq!(hand.0.borrow().stage(), stage);
        hand.0.borrow_mut().power = None;
        hand.boot().unwrap();
        hand.live().unwrap();
        let toy = hand.0.borrow();
        assert_eq!((toy.stage(), toy.runs()), (Committed, &Content::Whole(NEW)), "from {stage:?}");
        let (way, before) = (&toy.path, [Checking, Installing, Installed, Restarting, Trying, Committed]);
        let expected: Vec<Stage> = before.into_iter().filter(|one| *one != Restarting || way.contains(one)).collect();
        assert_eq!(way, &expected, "from {stage:?}");
    }
}

#[test]
fn a_restart_that_nobody_asked_for_starts_what_is_installed() {
    let hand = Hand::new(Health::Good);
    hand.run().unwrap();
    assert_eq!(hand.0.borrow().stage(), Installed);
    hand.boot().unwrap();
    assert_eq!(hand.0.borrow().path, [Checking, Installing, Installed, Trying, Committed]);
}

#[test]
fn a_cut_line_is_tried_again_and_each_try_leaves_its_reason() {
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().faults = (0..4).map(|number| Fault::Cut(format!("line {number}"))).collect();
    hand.run().unwrap();
    let toy = hand.0.borrow();
    let record = toy.file.as_ref().unwrap();
    assert_eq!((record.job.stage, record.job.tries, record.starts), (Installed, 5, 1));
    assert_eq!(record.job.error, "", "what went wrong before is no error any more");
    let reasons: Vec<&str> = record.faults.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(reasons, ["line 0", "line 1", "line 2", "line 3"]);
}

#[test]
fn a_line_that_stays_cut_ends_with_the_last_reason_and_the_old_system_goes_on() {
    let hand = Hand::new(Health::Good);
    {
        let mut toy = hand.0.borrow_mut();
        toy.takes = 600;
        toy.faults = (0..1000).map(|number| Fault::Cut(format!("line {number}"))).collect();
    }
    hand.run().unwrap();
    let toy = hand.0.borrow();
    let record = toy.file.as_ref().unwrap();
    assert_eq!(record.job.stage, Failed);
    let last = format!("line {}", record.job.tries - 1);
    assert!(record.job.error.contains("within 6 hours") && record.job.error.ends_with(&last), "{}", record.job.error);
    assert!(toy.clock - 1000 < DEADLINE + 1200, "it went on for {} s", toy.clock - 1000);
    assert!(toy.ok[0] && !toy.ok[1] && toy.first == 0);
    assert_eq!(record.faults.len(), FAULTS, "the newest are kept, and no more");
}

#[test]
fn time_that_programs_before_have_spent_counts() {
    let hand = Hand::new(Health::Good);
    {
        let mut toy = hand.0.borrow_mut();
        toy.file.as_mut().unwrap().spent = DEADLINE;
    }
    hand.run().unwrap();
    assert_eq!((hand.0.borrow().stage(), hand.0.borrow().content[1].clone()), (Failed, Content::Whole("older")));
}

#[test]
fn what_rauc_refuses_changes_nothing() {
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().faults.push_back(Fault::Refused("signature verification failed".into()));
    hand.run().unwrap();
    let toy = hand.0.borrow();
    assert_eq!(toy.path, [Checking, Installing, Refused]);
    assert_eq!((toy.ok, toy.first, &toy.content[1]), ([true; 2], 0, &Content::Whole("older")));
    assert_eq!(toy.history, [("7".to_owned(), Refused)]);
    assert_eq!(toy.file.as_ref().unwrap().job.error, "signature verification failed");
}

#[test]
fn a_check_that_fails_comes_before_rauc() {
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().file.as_mut().unwrap().job.root_hash.clear();
    hand.run().unwrap();
    assert_eq!(hand.0.borrow().path, [Checking, Refused]);
}

#[test]
fn a_bundle_with_another_system_than_its_document_says_is_never_started() {
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().bundle = "another";
    hand.run().unwrap();
    {
        let toy = hand.0.borrow();
        assert_eq!((toy.stage(), toy.ok, toy.first), (Failed, [true, false], 0));
        assert_eq!(toy.file.as_ref().unwrap().job.error, "The bundle holds another system.");
    }
    hand.boot().unwrap();
    assert_eq!(hand.0.borrow().runs(), &Content::Whole(OLD));
}

#[test]
fn a_file_that_cannot_be_installed_is_not_tried_for_hours() {
    let hand = Hand::new(Health::Good);
    {
        let mut toy = hand.0.borrow_mut();
        toy.file.as_mut().unwrap().source = Source::Stick("x.raucb".into());
        toy.faults.push_back(Fault::Cut("the stick was pulled out".into()));
    }
    hand.run().unwrap();
    assert_eq!(hand.0.borrow().stage(), Failed);
    assert_eq!(hand.0.borrow().file.as_ref().unwrap().job.tries, 1);
}

#[test]
fn after_five_starts_a_job_is_given_up() {
    let hand = Hand::new(Health::Good);
    for _ in 0..STARTS {
        // The first effect is that this start is counted; then the power goes.
        hand.0.borrow_mut().power = Some(1);
        hand.run().unwrap_err();
    }
    hand.0.borrow_mut().power = None;
    hand.run().unwrap();
    let toy = hand.0.borrow();
    assert_eq!(toy.stage(), Failed);
    assert!(toy.file.as_ref().unwrap().job.error.contains("cut off 5 times"));
}

#[test]
fn a_boot_loader_that_cannot_be_told_leaves_the_old_system_and_says_so() {
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().stuck = true;
    hand.run().unwrap();
    let toy = hand.0.borrow();
    assert_eq!((toy.stage(), toy.ok[0], toy.first), (Failed, true, 0));
    assert!(toy.file.as_ref().unwrap().job.error.contains("boot loader"));
}

#[test]
fn the_owner_may_end_it_until_the_restart_and_then_nothing_of_it_starts() {
    // While it is being installed: whoever works on it was stopped in the middle.
    let hand = Hand::new(Health::Good);
    hand.0.borrow_mut().power = Some(5);
    hand.run().unwrap_err();
    assert_eq!(hand.0.borrow().stage(), Installing);
    hand.0.borrow_mut().power = None;
    hand.cancel().unwrap();
    assert_eq!((hand.0.borrow().stage(), hand.0.borrow().ok), (Cancelled, [true, false]));
    hand.boot().unwrap();
    assert_eq!(hand.0.borrow().runs(), &Content::Whole(OLD));
    // When it waits for the restart.
    let hand = Hand::new(Health::Good);
    hand.run().unwrap();
    hand.cancel().unwrap();
    assert_eq!(hand.0.borrow().history, [("7".to_owned(), Cancelled)]);
    assert!(hand.cancel().is_err(), "it is over");
    hand.boot().unwrap();
    assert_eq!(hand.0.borrow().runs(), &Content::Whole(OLD));
    // Afterwards it is too late.
    let hand = Hand::new(Health::Good);
    hand.run().unwrap();
    hand.restart().unwrap();
    assert!(hand.cancel().unwrap_err().to_string().starts_with("It is too late"));
}

#[test]
fn a_lost_power_while_the_owner_ends_it_leaves_an_update_that_waits_or_one_that_is_over() {
    for power in 0..5 {
        let hand = Hand::new(Health::Good);
        hand.run().unwrap();
        hand.0.borrow_mut().power = Some(power);
        let _ = hand.cancel();
        hand.0.borrow_mut().power = None;
        hand.boot().unwrap();
        let toy = hand.0.borrow();
        match (toy.stage(), toy.runs()) {
            (Committed, Content::Whole(NEW)) | (Installed | Cancelled, Content::Whole(OLD)) => {}
            other => panic!("after {power}: {other:?}"),
        }
    }
}

#[test]
fn a_restart_needs_something_that_waits_for_it() {
    let hand = Hand::new(Health::Good);
    assert!(hand.restart().is_err());
    hand.live().unwrap();
    assert!(hand.restart().is_err());
}

/// Back by hand to what is in the other slot.
fn back_by_hand() -> Hand {
    let hand = Hand::new(Health::Good);
    {
        let mut toy = hand.0.borrow_mut();
        let record = toy.file.as_mut().unwrap();
        (record.source, record.job.root_hash) = (Source::Slot, "older".into());
    }
    hand
}

#[test]
fn the_other_system_is_started_by_hand_without_writing_to_it() {
    let hand = back_by_hand();
    hand.live().unwrap();
    let toy = hand.0.borrow();
    assert_eq!(toy.path, [Checking, Installed, Restarting, Trying, Committed]);
    assert_eq!(toy.runs(), &Content::Whole("older"));
}

#[test]
fn who_does_not_go_back_after_all_keeps_both_systems() {
    let hand = back_by_hand();
    hand.run().unwrap();
    hand.cancel().unwrap();
    let toy = hand.0.borrow();
    assert_eq!((toy.ok, toy.first, &toy.content[1]), ([true; 2], 0, &Content::Whole("older")));
}
