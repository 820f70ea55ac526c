use std::sync::Arc;

use release::{Image, LndVersion, Texts, UPDATE_FORMAT, Version};
use twin::{
    Slot, SlotStatus,
    copies::{Copies, Copy, Drill, Pending},
    node::{Closing, Htlc},
};

use super::*;

const NOW: u64 = 1_800_000_000;

fn release(version: &str) -> Release {
    Release {
        version: version.into(),
        board: "x86-64".into(),
        base: "debian".into(),
        built: NOW - 1000,
        lnd_version: "v0.21.2-beta".into(),
        development_keys: false,
        eeprom: None,
    }
}

fn update() -> Update {
    Update {
        format: UPDATE_FORMAT,
        release: release("0.2.0"),
        bundle: Image { name: "b.raucb".into(), size: 1, sha256: "ab".repeat(32) },
        root_hash: "ab".repeat(32),
        one_way: false,
        least_version: None,
        notes: Texts::from([("en".into(), "New.".into())]),
        made: 1,
        expires: NOW * 2,
    }
}

/// A box on which nothing stands against an update.
fn sound() -> State {
    let mut state = State::default();
    (state.resources.data_total, state.resources.data_available) = (100_000_000_000, 50_000_000_000);
    state.resources.clock_set = Some(true);
    state.lnd.state = LndState::ServerActive;
    Arc::make_mut(&mut state.updates).database = Some(1_000_000_000);
    state.node.htlcs.since = Some(NOW);
    state.node.backup.since = Some(NOW);
    Arc::make_mut(&mut state.node.backup.value).channels = 3;
    state.copies = Arc::new(copies(NOW - 60));
    state.boot.slots =
        vec![SlotStatus { slot: Slot::A, booted: true, ok: true, tries: 0, version: None, problem: None }];
    state
}

/// Of which the newest was read back at `at`.
fn copies(at: u64) -> Copies {
    let saved = Copy { name: "c".into(), target: "nas".into(), channels: 3, at };
    Copies { target: Some("nas".into()), readable: true, saved: Some(saved), ..Copies::default() }
}

fn looked(state: &State, refusal: Option<&Refusal>) -> Vec<Check> {
    looked_for(&update(), state, refusal)
}

fn looked_for(update: &Update, state: &State, refusal: Option<&Refusal>) -> Vec<Check> {
    let release = release("0.1.0");
    checks(&Subject { release: &release, state, update, refusal, wallet: true, faults: 0, now: NOW })
}

fn verdict(state: &State, name: &str) -> Verdict {
    looked(state, None).into_iter().find(|check| check.name == name).unwrap().verdict
}

/// The verdict of one check after a change to the sound box.
fn after(name: &str, change: impl FnOnce(&mut State)) -> Verdict {
    let mut state = sound();
    change(&mut state);
    verdict(&state, name)
}

#[test]
fn on_a_sound_box_all_is_good_and_every_check_says_something() {
    let checks = looked(&sound(), None);
    assert_eq!(overall(&checks), Verdict::Good, "{checks:?}");
    assert!(checks.iter().all(|check| !check.detail.is_empty() && !check.detail.starts_with("updates.")), "{checks:?}");
}

#[test]
fn room_for_twice_the_databases_is_needed_and_a_guess_never_blocks() {
    let with = |free: u64, database| {
        after("space", |state| {
            state.resources.data_available = free;
            Arc::make_mut(&mut state.updates).database = database;
        })
    };
    let gigabyte = 1_000_000_000;
    assert_eq!(with(2 * gigabyte + SPARE, Some(gigabyte)), Verdict::Good);
    assert_eq!(with(2 * gigabyte + SPARE - 1, Some(gigabyte)), Verdict::Blocked);
    assert_eq!(with(70 * gigabyte, None), Verdict::Good, "twice all data would fit");
    assert_eq!(with(60 * gigabyte, None), Verdict::Warning);
    assert_eq!(after("space", |state| state.resources.data_total = 0), Verdict::Warning);
}

#[test]
fn a_wrong_clock_blocks_and_an_unset_one_is_told() {
    assert_eq!(after("clock", |state| state.resources.clock_set = Some(false)), Verdict::Warning);
    let state = sound();
    let (release, update) = (release("0.1.0"), update());
    let early = Subject {
        release: &release,
        state: &state,
        update: &update,
        refusal: None,
        wallet: true,
        faults: 0,
        now: release.built - 1,
    };
    assert_eq!(clock(&early).verdict, Verdict::Blocked);
}

#[test]
fn a_weak_supply_is_told_on_boards_that_report_it() {
    assert!(looked(&sound(), None).iter().all(|check| check.name != "power"));
    assert_eq!(after("power", |state| state.resources.under_voltage = Some(false)), Verdict::Good);
    assert_eq!(after("power", |state| state.resources.under_voltage = Some(true)), Verdict::Warning);
}

#[test]
fn an_old_eeprom_is_told_where_board_and_version_have_one() {
    let told = |own: Option<u64>, least: Option<u64>| {
        let mut state = sound();
        state.resources.eeprom = own;
        let mut update = update();
        update.release.eeprom = least;
        let found = looked_for(&update, &state, None).into_iter().find(|check| check.name == "eeprom")?;
        assert!(!found.detail.starts_with("updates."), "{}", found.detail);
        Some(found.verdict)
    };
    assert_eq!([told(None, Some(5)), told(Some(5), None)], [None, None]);
    assert_eq!(told(Some(5), Some(5)), Some(Verdict::Good));
    assert_eq!(told(Some(4), Some(5)), Some(Verdict::Warning));
}

#[test]
fn a_refusal_stands_at_the_check_it_belongs_to() {
    let version = Version::new(0, 2, 0);
    let own = || "x86-64 (debian)".to_owned();
    let wrong_board = Refusal::WrongBoard { version: version.clone(), found: "rpi".into(), own: own() };
    let lnd = |text| LndVersion::parse(text).unwrap();
    let below =
        Refusal::BelowFence { version: version.clone(), carried: lnd("v0.20.1-beta"), fence: lnd("v0.21.2-beta") };
    let older = Refusal::Older { version, own: Version::new(0, 3, 0) };
    for (refusal, name) in
        [(wrong_board, "board"), (below, "version"), (older, "version"), (Refusal::ClockBehind, "clock")]
    {
        let checks = looked(&sound(), Some(&refusal));
        let blocked: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Blocked).collect();
        assert!(blocked.len() == 1 && blocked[0].name == name, "{refusal:?}: {blocked:?}");
    }
}

#[test]
fn a_version_that_fell_back_here_is_told() {
    let failed = |state: &mut State| Arc::make_mut(&mut state.updates).failed = vec!["0.2.0".into()];
    assert_eq!(after("version", failed), Verdict::Warning);
}

#[test]
fn errors_of_the_file_system_block() {
    let (release, update, state) = (release("0.1.0"), update(), sound());
    let subject =
        Subject { release: &release, state: &state, update: &update, refusal: None, wallet: true, faults: 2, now: NOW };
    assert_eq!(disk(&subject).verdict, Verdict::Blocked);
}

#[test]
fn nothing_is_installed_over_the_fall_back_of_a_system_that_has_not_proved_itself() {
    assert_eq!(after("system", |state| state.boot.slots[0].tries = 1), Verdict::Blocked);
    assert_eq!(after("system", |state| state.moving.phase = twin::disks::MovePhase::Copy), Verdict::Blocked);
}

#[test]
fn payments_on_their_way_are_told_with_the_blocks_of_the_nearest() {
    let mut state = sound();
    let htlc = |blocks_left| Htlc { blocks_left, ..Htlc::default() };
    state.node.htlcs.value = Arc::new(vec![htlc(144), htlc(6)]);
    let check = looked(&state, None).into_iter().find(|check| check.name == "payments").unwrap();
    assert_eq!(check.verdict, Verdict::Warning);
    assert!(check.detail.contains('2') && check.detail.contains('6') && check.detail.contains("1 hour"), "{check:?}");
    assert_eq!(after("payments", |state| state.lnd.state = LndState::Locked), Verdict::Warning);
    state.node.channels.value = Arc::new(twin::node::Channels {
        closing: vec![Closing { kind: ClosingKind::Force, ..Closing::default() }],
        ..Default::default()
    });
    assert_eq!(verdict(&state, "closing"), Verdict::Warning);
}

#[test]
fn a_channel_backup_that_is_nowhere_late_bad_or_old_blocks_while_something_can_be_done_about_it() {
    let with = |copies: Copies| after("backup", |state| state.copies = Arc::new(copies));
    let fault = |fault: Option<&str>, at| Some(Drill { at, name: "c".into(), fault: fault.map(str::to_owned) });
    let pending = Some(Pending { since: NOW, channels: 3, attempts: 0, next_try: None });
    assert_eq!(with(Copies::default()), Verdict::Blocked);
    assert_eq!(with(Copies { saved: None, ..copies(NOW) }), Verdict::Blocked);
    assert_eq!(with(Copies { pending, ..copies(NOW) }), Verdict::Blocked);
    assert_eq!(with(Copies { drill: fault(Some("damaged"), NOW), ..copies(NOW) }), Verdict::Blocked);
    assert_eq!(with(copies(NOW - OLD)), Verdict::Good);
    assert_eq!(with(copies(NOW - OLD - 1)), Verdict::Blocked);
    assert_eq!(with(Copies { drill: fault(None, NOW - 9), ..copies(NOW - OLD - 1) }), Verdict::Good);
    assert_eq!(with(Copies { readable: false, ..copies(NOW) }), Verdict::Warning);
    let no_channels = |state: &mut State| {
        Arc::make_mut(&mut state.node.backup.value).channels = 0;
        state.copies = Arc::default();
    };
    assert_eq!(after("backup", no_channels), Verdict::Good);
    let away = |state: &mut State| {
        state.lnd.state = LndState::Unreachable;
        state.copies = Arc::default();
    };
    assert_eq!(after("backup", away), Verdict::Warning);
}
