use twin::{
    Update,
    disks::{DataPart, Disks, Move, Part, Standing},
};

use super::*;
use crate::http::tests::{Visit, visit};

fn disk(name: &str, serial: &str) -> Disk {
    Disk { name: name.into(), serial: serial.into(), model: "SSD".into(), size: 64 << 30, ..Disk::default() }
}

fn foreign() -> Disk {
    let part = Part { content: "ntfs \u{201c}films\u{201d}".into(), size: 1 << 30, ..Part::default() };
    Disk { parts: vec![part], ..disk("vdb", "S2") }
}

fn home() -> Disk {
    Disk { booted: true, live: true, ..disk("vda", "S1") }
}

async fn tell(visit: &Visit, update: Update) {
    let mut changes = visit.house.shared.twin.changes();
    visit.twin.send(update).await.unwrap();
    changes.recv().await.unwrap();
}

async fn post(visit: &mut Visit, path: &str, form: &str) -> crate::http::tests::Answer {
    let csrf = visit.csrf().await;
    visit.post(path, &format!("csrf={csrf}&{form}")).await
}

/// What the root program was asked for.
fn requests(visit: &Visit) -> Vec<String> {
    let entries = std::fs::read_dir(visit.folder.path().join("manager/request")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn with(disks: Vec<Disk>, wallet: bool) -> Visit {
    let mut visit = visit().await;
    visit.own().await;
    let disks = Disks { at: 7, used: 1 << 30, wallet, disks };
    tell(&visit, Update::Disks(disks)).await;
    visit
}

#[tokio::test]
async fn the_default_is_one_click_and_it_is_written_down() {
    let mut visit = with(vec![home()], false).await;
    assert!(!visit.house.setup.is_done(Step::Disk));
    let page = visit.get("/setup/disk").await;
    assert!(page.text.contains("SSD, serial number S1"), "{}", page.text);
    let answer = post(&mut visit, "/setup/disk/stay", "").await;
    assert_eq!(answer.location(), Step::Place.path(), "to the first step that is not done");
    assert_eq!(visit.house.setup.choices().disk, Some(Choice::Stay));
}

#[tokio::test]
async fn a_disk_with_something_on_it_is_not_even_asked_for_before_its_serial_number_was_typed() {
    let mut visit = with(vec![home(), foreign()], false).await;
    let page = visit.get("/setup/disk").await;
    assert!(page.text.contains("films") && page.text.contains("S2"), "{}", page.text);
    for wrong in ["", "ERASE", "s2", "S1"] {
        let answer = post(&mut visit, "/disk/move", &format!("disk=vdb&serial=S2&confirm={wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        if !wrong.is_empty() {
            assert!(answer.text.contains(&format!("value=\"{wrong}\"")), "what was typed is kept");
        }
    }
    assert_eq!(requests(&visit), Vec::<String>::new());
    assert_eq!(visit.house.setup.choices().disk, None);
}

#[tokio::test]
async fn a_disk_that_is_not_the_one_on_the_page_is_not_taken() {
    let mut visit = with(vec![home(), foreign()], false).await;
    let answer = post(&mut visit, "/disk/move", "disk=vdb&serial=S3&confirm=S3").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(requests(&visit), Vec::<String>::new());
}

#[tokio::test]
async fn an_old_copy_is_never_offered_and_another_box_s_data_only_without_a_wallet() {
    let data = |standing, own| {
        let data = DataPart { standing, own, partition: "p".into(), moved_to: "SSD 9".into(), ..DataPart::default() };
        let part = Part { data: Some(data), ..Part::default() };
        Disk { parts: vec![part], ..disk("vdb", "S2") }
    };
    for (standing, own, wallet, offered) in [
        (Standing::Live, false, false, true),
        (Standing::Live, false, true, false),
        (Standing::Live, true, false, false),
        (Standing::Moved, false, false, false),
        (Standing::Arriving, false, false, false),
        (Standing::Unknown, false, false, false),
    ] {
        let mut visit = with(vec![home(), data(standing, own)], wallet).await;
        let page = visit.get("/settings/disk").await;
        assert_eq!(page.text.contains("action=\"/disk/adopt\""), offered, "{standing:?} {own} {wallet}");
    }
    let mut visit = with(vec![home(), data(Standing::Live, false)], false).await;
    let answer = post(&mut visit, "/disk/adopt", "disk=vdb&serial=S2&partition=p").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "without the word that the other box is off");
    assert_eq!(requests(&visit), Vec::<String>::new());
}

#[tokio::test]
async fn while_it_moves_the_page_shows_how_far_it_is_and_a_failure_says_what_happened() {
    let mut visit = with(vec![home(), foreign()], false).await;
    let moving =
        Move { phase: MovePhase::Copy, done: 1 << 30, total: 4 << 30, disk: "SSD 2".into(), ..Move::default() };
    tell(&visit, Update::Move(moving.clone())).await;
    let page = visit.get("/setup/disk").await;
    assert!(page.text.contains("25") && page.text.contains("/disk/cancel") && !page.text.contains("/disk/move"));
    tell(&visit, Update::Move(Move { phase: MovePhase::Switch, ..moving.clone() })).await;
    assert!(!visit.get("/setup/disk").await.text.contains("/disk/cancel"), "too late");
    let failed = Move { phase: MovePhase::Failed, error: "the disk was unplugged".into(), ..moving };
    tell(&visit, Update::Move(failed)).await;
    let page = visit.get("/setup/disk").await;
    assert!(page.text.contains("The disk was unplugged.") && page.text.contains("/disk/move"), "{}", page.text);
}
