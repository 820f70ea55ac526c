use proptest::prelude::*;

use super::*;
use crate::{Image, Release, Texts, UPDATE_FORMAT, Wave};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn facts() -> Facts {
    Facts {
        version: version("1.0.0"),
        board: "x86-64".into(),
        base: "debian".into(),
        lnd: lnd("v0.21.2-beta"),
        fence: Some(lnd("v0.21.2-beta")),
        now: NOW,
        clock_floor: NOW - 100 * DAY,
        clock_set: true,
        channel: "stable".into(),
        channel_seen: NOW - 2 * DAY,
        id: b"a box".to_vec(),
        failed: vec![],
        kept: false,
        by_hand: false,
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn lnd(text: &str) -> LndVersion {
    LndVersion::parse(text).unwrap()
}

fn update(version: &str) -> Update {
    Update {
        format: UPDATE_FORMAT,
        release: Release {
            version: version.into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: NOW - 3 * DAY,
            lnd_version: "v0.21.2-beta".into(),
            development_keys: false,
            eeprom: None,
        },
        bundle: Image { name: format!("{version}.raucb"), size: 1, sha256: "ab".repeat(32) },
        root_hash: "cd".repeat(32),
        one_way: false,
        least_version: None,
        notes: Texts::from([("en".into(), "New.".into())]),
        made: NOW - DAY,
        expires: NOW + 300 * DAY,
    }
}

fn channel(updates: Vec<Update>) -> Channel {
    let mut channel = Channel::new("stable", NOW - DAY, NOW + 30 * DAY);
    channel.releases =
        updates.into_iter().map(|update| Listed { update, folder: "files".into(), waves: vec![] }).collect();
    channel.check().unwrap();
    channel
}

fn offered(answer: Answer) -> Offer {
    match answer {
        Answer::Offered(offer) => *offer,
        other => panic!("not offered: {other:?}"),
    }
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_newest_is_offered_and_without_one_nothing_is_new() {
    let offer = offered(decide(&channel(vec![update("1.1.0"), update("1.10.0"), update("1.9.0")]), &facts()));
    assert_eq!(offer.update.release.version, "1.10.0");
    assert!(!offer.one_way && !offer.urgent);
    for updates in [vec![], vec![update("1.0.0"), update("0.9.0")], vec![update("1.0.0-rc.1"), update("1.0.0+2")]] {
        assert_eq!(decide(&channel(updates), &facts()), Answer::NothingNew { blocked: None });
    }
}

#[test]
fn a_newer_lnd_is_a_way_of_no_return() {
    let mut newer = update("1.1.0");
    newer.release.lnd_version = "v0.22.0-beta".into();
    assert!(offered(decide(&channel(vec![newer]), &facts())).one_way);
    let declared = Update { one_way: true, ..update("1.1.0") };
    assert!(offered(decide(&channel(vec![declared]), &facts())).one_way);
}

#[test]
fn what_carries_an_lnd_below_the_fence_is_never_had_by_any_way() {
    let mut older = update("1.1.0");
    older.release.lnd_version = "v0.20.1-beta".into();
    for by_hand in [false, true] {
        let facts = Facts { by_hand, ..facts() };
        assert!(matches!(refused(decide(&channel(vec![older.clone()]), &facts)), Refusal::BelowFence { .. }));
        assert!(matches!(bring(&older, &facts, true), Err(Refusal::BelowFence { .. })));
    }
}

#[test]
fn an_old_box_takes_the_step_in_between_first() {
    let far = Update { least_version: Some(version("1.5.0")), ..update("2.0.0") };
    let offer = offered(decide(&channel(vec![far.clone(), update("1.5.0")]), &facts()));
    assert_eq!(offer.update.release.version, "1.5.0");
    assert!(matches!(refused(decide(&channel(vec![far]), &facts())), Refusal::TooOld { .. }));
}

#[test]
fn what_is_withdrawn_expired_or_for_another_board_is_refused_with_its_reason() {
    let why = Texts::from([("en".into(), "It loses the time zone.".into())]);
    let mut withdrawn = channel(vec![update("1.1.0")]);
    withdrawn.blocked.push(Blocked { version: version("1.1.0"), why: why.clone() });
    let sentence = refused(decide(&withdrawn, &facts())).to_string();
    assert_eq!(sentence, "version 1.1.0 was withdrawn: It loses the time zone.");
    // One's own is withdrawn: said even if nothing newer is there, and what is newer is urgent.
    let mut own = channel(vec![update("1.0.0")]);
    own.blocked.push(Blocked { version: version("1.0.0"), why });
    assert!(matches!(decide(&own, &facts()), Answer::NothingNew { blocked: Some(_) }));
    own.releases.push(Listed { update: update("1.0.1"), folder: "files".into(), waves: vec![] });
    assert!(offered(decide(&own, &facts())).urgent);

    let expired = Update { made: NOW - 9 * DAY, expires: NOW, ..update("1.1.0") };
    assert!(matches!(refused(decide(&channel(vec![expired]), &facts())), Refusal::Expired { .. }));
    let mut other = update("1.1.0");
    other.release.board = "pi".into();
    assert!(matches!(refused(decide(&channel(vec![other.clone()]), &facts())), Refusal::OtherBoard { .. }));
    assert!(matches!(bring(&other, &facts(), true), Err(Refusal::WrongBoard { .. })));
}

#[test]
fn a_list_that_is_old_foreign_expired_or_from_the_future_is_refused() {
    let good = channel(vec![update("1.1.0")]);
    let with = |channel: Channel, facts: Facts| refused(decide(&channel, &facts));
    assert!(matches!(with(Channel { made: NOW - 3 * DAY, ..good.clone() }, facts()), Refusal::Replayed { .. }));
    assert!(matches!(with(Channel { name: "beta".into(), ..good.clone() }, facts()), Refusal::OtherChannel { .. }));
    let late = |clock_set| Facts { now: NOW + 31 * DAY, clock_set, ..facts() };
    assert!(matches!(with(good.clone(), late(true)), Refusal::ListExpired { .. }));
    assert!(matches!(with(good.clone(), late(false)), Refusal::ExpiredOrClock { .. }));
    assert_eq!(with(good.clone(), Facts { now: 0, ..facts() }), Refusal::ClockBehind);
    let early = Facts { now: NOW - 5 * DAY, ..facts() };
    assert!(matches!(with(good, early), Refusal::FromTheFuture { .. }));
}

#[test]
fn a_failed_version_waits_for_a_person_and_a_newer_one_does_not() {
    let facts = Facts { failed: vec![version("1.1.0")], ..facts() };
    assert!(matches!(refused(decide(&channel(vec![update("1.1.0")]), &facts)), Refusal::FailedBefore { .. }));
    let newer = channel(vec![update("1.1.0"), update("1.1.1")]);
    assert_eq!(offered(decide(&newer, &facts)).update.release.version, "1.1.1");
    let by_hand = Facts { by_hand: true, ..facts };
    offered(decide(&channel(vec![update("1.1.0")]), &by_hand));
}

#[test]
fn who_stays_on_a_version_is_left_alone_until_asking() {
    let kept = Facts { kept: true, ..facts() };
    assert!(matches!(refused(decide(&channel(vec![update("1.1.0")]), &kept)), Refusal::Kept { .. }));
    assert_eq!(decide(&channel(vec![]), &kept), Answer::NothingNew { blocked: None });
    offered(decide(&channel(vec![update("1.1.0")]), &Facts { by_hand: true, ..kept }));
}

#[test]
fn an_older_one_by_hand_takes_a_confirmation() {
    assert!(matches!(bring(&update("0.9.0"), &facts(), false), Err(Refusal::Older { .. })));
    bring(&update("0.9.0"), &facts(), true).unwrap();
    bring(&update("1.1.0"), &facts(), false).unwrap();
}

#[test]
fn waves_reach_the_share_of_boxes_they_name_and_others_the_next_time() {
    let version = version("1.1.0");
    let boxes: Vec<u8> = (0..10_000u32).map(|id| number(&id.to_le_bytes(), &version)).collect();
    for percent in [5u8, 50, 100] {
        let reached = boxes.iter().filter(|number| **number < percent).count() as i64;
        let expected = i64::from(percent) * 100;
        assert!((reached - expected).abs() < 200, "{reached} of 10,000 for {percent} percent");
    }
    let same = |id: &u32| number(&id.to_le_bytes(), &version) == number(&id.to_le_bytes(), &Version::new(1, 2, 0));
    let same = (0..10_000u32).filter(same).count();
    assert!(same < 300, "the same boxes go first each time: {same}");
}

#[test]
fn a_box_gets_its_turn_with_a_wave_and_keeps_it() {
    let mut staged = channel(vec![update("1.1.0")]);
    let number = number(&facts().id, &version("1.1.0"));
    staged.releases[0].waves = vec![Wave { from: NOW, percent: number }, Wave { from: NOW + DAY, percent: number + 1 }];
    let at = |now| decide(&staged, &Facts { now, ..facts() });
    let Refusal::NotYet { turn, .. } = refused(at(NOW)) else { panic!("another refusal") };
    assert_eq!(turn, Some(NOW + DAY));
    offered(at(NOW + DAY));
    offered(decide(&staged, &Facts { by_hand: true, ..facts() }));
    assert_eq!(staged.releases[0].share(NOW), (number, Some(NOW + DAY)));
}

prop_compose! {
    fn any_update()(
        minor in 0u64..4, patch in 0u64..3, lnd in 19u32..23, board in 0..3, expires in 1u64..4, least in 0u64..4,
        one_way: bool,
    ) -> Update {
        let mut update = update(&format!("1.{minor}.{patch}"));
        update.release.board = if board == 0 { "pi".into() } else { "x86-64".into() };
        update.release.lnd_version = format!("v0.{lnd}.0-beta");
        update.expires = NOW - DAY + expires * DAY;
        update.least_version = (least > 0).then(|| Version::new(1, least - 1, 0));
        Update { one_way, made: NOW - 9 * DAY, ..update }
    }
}

prop_compose! {
    fn any_channel()(
        updates in prop::collection::vec((any_update(), prop::collection::vec((0u64..6, 0u8..=100), 0..3)), 0..6),
        blocked in prop::collection::vec(0u64..4, 0..3), made in 0u64..6, least in 0u64..4,
    ) -> Channel {
        let mut channel = Channel::new("stable", NOW - 5 * DAY + made * DAY, NOW + 2 * DAY);
        for (update, waves) in updates {
            let same = |listed: &Listed| {
                let there = &listed.update.release;
                (&there.version, &there.board) == (&update.release.version, &update.release.board)
            };
            if !channel.releases.iter().any(same) {
                let wave = |(day, percent)| Wave { from: NOW - 3 * DAY + day * DAY, percent };
                let waves = waves.into_iter().map(wave).collect();
                channel.releases.push(Listed { update, folder: "files".into(), waves });
            }
        }
        let why = Texts::from([("en".to_owned(), "Bad.".to_owned())]);
        channel.blocked =
            blocked.into_iter().map(|minor| Blocked { version: Version::new(1, minor, 0), why: why.clone() }).collect();
        channel.least_version = Some(Version::new(1, least, 0));
        channel
    }
}

prop_compose! {
    fn any_facts()(
        minor in 0u64..4, fence in prop::option::of(19u32..23), now in 0u64..8, floor in 0u64..8, clock_set: bool,
        seen in 0u64..6, id: [u8; 4], failed in prop::collection::vec(0u64..4, 0..2), kept: bool, by_hand: bool,
    ) -> Facts {
        Facts {
            version: Version::new(1, minor, 0),
            fence: fence.map(|minor| lnd(&format!("v0.{minor}.0-beta"))),
            now: NOW - 3 * DAY + now * DAY,
            clock_floor: NOW - 5 * DAY + floor * DAY,
            clock_set,
            channel_seen: NOW - 5 * DAY + seen * DAY,
            id: id.to_vec(),
            failed: failed.into_iter().map(|minor| Version::new(1, minor, 0)).collect(),
            kept,
            by_hand,
            ..facts()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// What must hold for money's sake, whatever else is true.
    #[test]
    fn no_offer_is_older_foreign_withdrawn_expired_or_below_the_fence(channel in any_channel(), facts in any_facts()) {
        prop_assert!(channel.check().is_ok());
        let answer = decide(&channel, &facts);
        if let Answer::Offered(offer) = &answer {
            let release = &offer.update.release;
            let offered = version(&release.version);
            prop_assert!(offered > facts.version);
            prop_assert_eq!(&release.board, &facts.board);
            prop_assert!(channel.blocked.iter().all(|blocked| blocked.version != offered));
            prop_assert!(offer.update.expires > facts.now && channel.expires > facts.now);
            prop_assert!(channel.made >= facts.channel_seen && facts.now >= facts.clock_floor);
            prop_assert!(facts.fence.is_none_or(|fence| lnd(&release.lnd_version) >= fence));
            prop_assert!(offer.update.least_version.as_ref().is_none_or(|least| facts.version >= *least));
            prop_assert!(offer.one_way || lnd(&release.lnd_version) <= facts.lnd);
            if !facts.by_hand {
                prop_assert!(!facts.kept && !facts.failed.contains(&offered));
            }
        }
        // And nothing that could be had is withheld.
        if let Answer::NothingNew { .. } = answer {
            let newer = |listed: &Listed| {
                listed.update.release.board == facts.board && version(&listed.update.release.version) > facts.version
            };
            prop_assert!(!channel.releases.iter().any(newer));
        }
    }

    /// The order in which a channel names its releases is no matter.
    #[test]
    fn the_order_of_releases_changes_nothing(channel in any_channel(), facts in any_facts()) {
        let mut turned = channel.clone();
        turned.releases.reverse();
        prop_assert_eq!(decide(&channel, &facts), decide(&turned, &facts));
    }

    /// A list survives the way through JSON, and no text makes a reader panic.
    #[test]
    fn a_channel_survives_the_way_through_json(channel in any_channel()) {
        let json = serde_json::to_vec(&channel).unwrap();
        prop_assert_eq!(Channel::parse(&json).unwrap(), channel);
    }

    #[test]
    fn whoever_was_reached_by_a_wave_stays_reached(id: [u8; 8], waves in prop::collection::vec((0u64..9, 0u8..=100), 1..4)) {
        let waves = waves.into_iter().map(|(from, percent)| Wave { from, percent }).collect();
        let listed = Listed { update: update("1.1.0"), folder: "files".into(), waves };
        let number = number(&id, &version("1.1.0"));
        let turn = listed.turn(number);
        for now in 0..10 {
            prop_assert_eq!(number < listed.share(now).0, turn.is_some_and(|turn| turn <= now));
        }
    }
}
