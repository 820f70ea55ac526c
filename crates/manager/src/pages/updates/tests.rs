use std::sync::Arc;

use axum::http::StatusCode;
use twin::{
    LndState, SlotStatus, Update,
    updates::{Attempt, Job, News, Offered, Report, Stage},
};

use crate::{
    http::tests::{Visit, visit},
    updates::tests::{agreeing_root, tell},
};

async fn report(visit: &Visit, report: Report) {
    let expected = report.clone();
    tell(visit, Update::Updates(Arc::new(report)), move |state| *state.updates == expected).await;
}

fn job(stage: Stage) -> Option<Job> {
    let (version, from) = ("0.2.0".to_owned(), "0.1.0".to_owned());
    Some(Job { version, from, stage, percent: 42, at: crate::error::now(), ..Job::default() })
}

async fn slots(visit: &Visit) {
    let slot = |slot, booted, version: &str| SlotStatus {
        slot,
        booted,
        ok: true,
        tries: 0,
        version: Some(version.into()),
        problem: None,
    };
    let slots = vec![slot(twin::Slot::A, true, "0.1.0"), slot(twin::Slot::B, false, "0.0.9")];
    let boot = twin::Boot { slots, ..Default::default() };
    tell(visit, Update::Boot(boot), |state| !state.boot.slots.is_empty()).await;
}

#[tokio::test]
async fn while_it_is_installed_the_page_shows_how_far_it_is_and_can_end_it() {
    let mut visit = visit().await;
    visit.own().await;
    let asked = agreeing_root(visit.folder.path());
    report(&visit, Report { job: job(Stage::Installing), ..Report::default() }).await;
    let page = visit.get("/settings/updates").await.text;
    for part in ["Version 0.2.0 is being installed", "value=\"42\"", "http-equiv=\"refresh\" content=\"4\"", "/cancel"]
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("type=\"file\""), "a form would lose what is typed into it");
    assert_eq!(visit.post("/settings/updates/cancel", "").await.location(), "/settings/updates");
    assert_eq!(asked.lock().unwrap()[0].0, "update-cancel");
}

#[tokio::test]
async fn what_is_installed_is_restarted_into_and_only_then() {
    let mut visit = visit().await;
    visit.own().await;
    let asked = agreeing_root(visit.folder.path());
    let answer = visit.post("/settings/updates/restart", "").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    report(&visit, Report { job: job(Stage::Installed), ..Report::default() }).await;
    assert!(visit.get("/settings/updates").await.text.contains("Restart now into the new version"));
    assert!(visit.get("/home").await.text.contains("is installed and waits for a restart"));
    let answer = visit.post("/settings/updates/restart", "").await;
    assert!(answer.status == StatusCode::OK && answer.text.contains("The box restarts"));
    assert_eq!(*asked.lock().unwrap(), [("update-restart".to_owned(), String::new())]);
}

#[tokio::test]
async fn what_fell_back_says_which_version_why_and_shows_its_logs_as_text() {
    let mut visit = visit().await;
    visit.own().await;
    let folder = visit.folder.path().join("failed/B-1234");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("kernel.txt"), "<b>panic</b>\u{1b}[31m at 7").unwrap();
    let attempt = Attempt {
        version: "0.2.0".into(),
        from: "0.1.0".into(),
        at: 1_750_000_000,
        stage: Stage::FellBack,
        reason: "the <kernel> panicked three times".into(),
        evidence: Some("B-1234".into()),
    };
    let failed = Job { error: attempt.reason.clone(), ..job(Stage::FellBack).unwrap() };
    report(&visit, Report { job: Some(failed), history: vec![attempt], ..Report::default() }).await;
    let page = visit.get("/settings/updates").await.text;
    assert!(page.contains("Version 0.2.0 was tried, and 0.1.0 came back."), "{page}");
    assert!(page.contains("The &lt;kernel&gt; panicked three times.") && page.contains("/failed/B-1234"));
    assert!(visit.get("/home").await.text.contains("The &lt;kernel&gt; panicked three times."));
    let logs = visit.get("/settings/updates/failed/B-1234").await;
    assert_eq!(logs.status, StatusCode::OK);
    assert!(logs.text.contains("&lt;b&gt;panic&lt;/b&gt;[31m at 7") && logs.text.contains("Nothing was kept."));
    for other in ["B-9", "..", "%2e%2e", "B-1234%2f..", ""] {
        let answer = visit.get(&format!("/settings/updates/failed/{other}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{other}");
    }
}

#[tokio::test]
async fn a_folder_of_logs_that_leads_elsewhere_is_not_followed_even_if_root_named_it() {
    let mut visit = visit().await;
    visit.own().await;
    let evidence = Some("..".to_owned());
    report(&visit, Report { history: vec![Attempt { evidence, ..Attempt::default() }], ..Report::default() }).await;
    assert_eq!(visit.get("/settings/updates/failed/%2e%2e").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_way_back_is_gone_by_who_types_the_version_that_is_there() {
    let mut visit = visit().await;
    visit.own().await;
    let asked = agreeing_root(visit.folder.path());
    assert!(visit.post("/settings/updates/switch", "version=0.0.9").await.text.contains("no other system"));
    slots(&visit).await;
    assert!(visit.get("/settings/updates").await.text.contains("Type its version, 0.0.9"));
    let wrong = visit.post("/settings/updates/switch", "version=0.1.0").await;
    assert!(wrong.status == StatusCode::UNPROCESSABLE_ENTITY && asked.lock().unwrap().is_empty());
    assert_eq!(visit.post("/settings/updates/switch", "version=0.0.9").await.location(), "/settings/updates");
    assert_eq!(*asked.lock().unwrap(), [("slot-switch".to_owned(), "0.0.9".to_owned())]);
}

#[tokio::test]
async fn news_are_on_the_home_page_with_the_way_to_them() {
    let mut visit = visit().await;
    visit.own().await;
    let offer = Offered { version: "0.2.0".into(), urgent: true, ..Offered::default() };
    let withdrawn = Some([("en".to_owned(), "It <forgets>.".to_owned())].into());
    let news = News { offer: Some(offer), withdrawn, answered: 1_750_000_000, ..News::default() };
    tell(&visit, Update::News(Arc::new(news)), |state| state.news.offer.is_some()).await;
    let home = visit.get("/home").await.text;
    for part in ["Your version was withdrawn", "It &lt;forgets&gt;.", "Version 0.2.0 is there", "/settings/updates"] {
        assert!(home.contains(part), "{part}");
    }
    let quiet = News { refusal: "You chose to stay.".into(), ..(*visit.house.shared.twin.state().news).clone() };
    tell(&visit, Update::News(Arc::new(quiet)), |state| !state.news.refusal.is_empty()).await;
    assert!(!visit.get("/home").await.text.contains("Version 0.2.0 is there"));
}

#[tokio::test]
async fn a_new_box_is_made_of_this_one_only_by_who_types_disk_and_amount() {
    let mut visit = visit().await;
    visit.own().await;
    let asked = agreeing_root(visit.folder.path());
    let data = twin::Data { serial: "DISK-7".into(), ..Default::default() };
    let boot = twin::Boot { data, ..Default::default() };
    tell(&visit, Update::Boot(boot), |state| !state.boot.data.serial.is_empty()).await;
    let lnd = twin::Lnd { state: LndState::ServerActive, since: 1 };
    tell(&visit, Update::Lnd(lnd), |state| state.lnd.since == 1).await;
    let info = twin::node::Info::default();
    tell(&visit, Update::Info(info), |state| state.node.info.since.is_some()).await;
    let open = vec![twin::node::Channel { local: twin::Sat::new(1_234_567), ..Default::default() }];
    let channels = twin::node::Channels { open, ..Default::default() };
    tell(&visit, Update::Channels(channels), |state| state.node.channels.since.is_some()).await;
    let page = visit.get("/settings/reset").await.text;
    assert!(page.contains("1,234,567 sat") && page.contains("DISK-7") && page.contains("24 words"), "{page}");
    for form in ["serial=DISK-7&amount=", "serial=DISK-7&amount=1234566", "serial=DISK-8&amount=1234567", "serial="] {
        let answer = visit.post("/settings/reset", form).await;
        assert!(
            answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.text.contains("Nothing was erased"),
            "{form}"
        );
    }
    assert!(asked.lock().unwrap().is_empty());
    let done = visit.post("/settings/reset", "serial=DISK-7&amount=1%2C234%2C567").await;
    assert!(done.text.contains("The box restarts"), "{}", done.text);
    let content = r#"{"serial":"DISK-7","sure":"1234567"}"#;
    assert_eq!(*asked.lock().unwrap(), [("factory-reset".to_owned(), content.to_owned())]);
}
