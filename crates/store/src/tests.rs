use std::{fs, path::Path};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn entry(action: &'static str) -> Audit {
    Audit { at: 7, actor: "owner@::1".into(), action, detail: String::new() }
}

fn session(first: u8, kind: Kind) -> Session {
    Session {
        token_hash: [first; 32],
        kind,
        address: "::1".into(),
        browser: "Firefox".into(),
        created: 5,
        last_seen: 6,
    }
}

/// Copies the database with its log as it is on disk now, as a power cut would leave it.
fn power_cut(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        fs::copy(name(from), name(to)).unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_power_cut() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    let store = Store::open(&path).unwrap();
    store.claim_owner("$phc".into(), session(1, Kind::Owner), entry("claimed")).await.unwrap();
    let after = folder.path().join("after.db");
    // The first store is still open: nothing was check-pointed or closed for the copy's benefit.
    power_cut(&path, &after);
    let again = Store::open(&after).unwrap();
    assert_eq!(again.owner_password().await.unwrap().as_deref(), Some("$phc"));
    assert_eq!(again.sessions().await.unwrap(), [session(1, Kind::Owner)]);
    assert_eq!(again.audit_log(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_owner_is_refused_and_leaves_no_trace() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    store.begin_session(session(9, Kind::Claim), entry("claim-code")).await.unwrap();
    store.claim_owner("first".into(), session(1, Kind::Owner), entry("claimed")).await.unwrap();
    let second = store.claim_owner("second".into(), session(2, Kind::Owner), entry("claimed")).await;
    assert!(matches!(second, Err(Error::Owned)));
    assert_eq!(store.owner_password().await.unwrap().as_deref(), Some("first"));
    assert_eq!(store.sessions().await.unwrap(), [session(1, Kind::Owner)], "the claim session ends with the claim");
    assert_eq!(store.audit_log(None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    store.claim_owner("old".into(), session(1, Kind::Owner), entry("claimed")).await.unwrap();
    store.begin_session(session(2, Kind::Owner), entry("sign-in")).await.unwrap();
    store.change_password("new".into(), [2; 32], entry("password-changed")).await.unwrap();
    assert_eq!(store.sessions().await.unwrap(), [session(2, Kind::Owner)]);
    assert_eq!(store.owner_password().await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn the_audit_log_pages_from_the_newest_and_cannot_be_rewritten() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    for action in ["one", "two", "three"] {
        store.audit(entry(action)).await.unwrap();
    }
    let page = store.audit_log(None, 2).await.unwrap();
    assert_eq!(page.iter().map(|line| line.action.as_str()).collect::<Vec<_>>(), ["three", "two"]);
    let rest = store.audit_log(Some(page[1].id), 2).await.unwrap();
    assert_eq!(rest.iter().map(|line| line.action.as_str()).collect::<Vec<_>>(), ["one"]);

    for sql in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let tampered = store.call(move |connection| connection.execute(sql, []).map_err(Error::query("tamper"))).await;
        assert!(tampered.unwrap_err().to_string().contains("append-only"));
    }
}

#[tokio::test]
async fn a_setting_keeps_its_last_value_and_a_wrong_form_is_named() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    assert_eq!(store.setting::<u32>("n").await.unwrap(), None);
    store.set("n", &1_u32, None).await.unwrap();
    store.set("n", &2_u32, Some(entry("settings"))).await.unwrap();
    assert_eq!(store.setting::<u32>("n").await.unwrap(), Some(2));
    assert!(store.setting::<String>("n").await.unwrap_err().to_string().contains("\"n\""));
}

#[test]
fn a_file_of_noise_is_called_damaged_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    let noise = b"this is not a database, but it is long enough to be taken for one".repeat(100);
    fs::write(&path, &noise).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
    assert_eq!(fs::read(&path).unwrap(), noise);
}

#[tokio::test]
async fn a_flipped_page_is_called_damaged() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    let store = Store::open(&path).unwrap();
    for _ in 0..400 {
        store.audit(Audit { detail: "x".repeat(200), ..entry("fill") }).await.unwrap();
    }
    drop(store);
    // Closing is asynchronous to the drop: the thread still check-points.
    while folder.path().join("manager.db-wal").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096 * 6).take(4096 * 4) {
        *byte ^= 0x5a;
    }
    fs::write(&path, bytes).unwrap();
    assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
}

#[test]
fn a_newer_file_and_a_foreign_one_are_refused_unchanged() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    drop(Store::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    match Store::open(&path) {
        Err(Error::Newer { found: 99, known, .. }) => assert!(known < 99),
        other => panic!("expected Newer, got {:?}", other.err()),
    }

    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute("CREATE TABLE t (x)", []).unwrap();
    assert!(matches!(Store::open(&foreign), Err(Error::Foreign { .. })));
}

#[test]
fn an_interrupted_first_start_is_finished_by_the_next() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    // Power went after the file was made and before the first migration was committed.
    fs::write(&path, b"").unwrap();
    assert!(Store::open(&path).is_ok());
}

#[tokio::test]
async fn a_disk_on_which_no_file_can_be_made_can_still_be_read() {
    let folder = folder();
    let path = folder.path().join("manager.db");
    let store = Store::open(&path).unwrap();
    store.claim_owner("$phc".into(), session(1, Kind::Owner), entry("claimed")).await.unwrap();
    let after = folder.path().join("after.db");
    power_cut(&path, &after);
    // Stands for a full disk: the file of the log's index, if SQLite wants one, cannot be made here.
    fs::create_dir(folder.path().join("after.db-shm")).unwrap();
    let store = Store::open(&after).unwrap();
    assert_eq!(store.owner_password().await.unwrap().as_deref(), Some("$phc"));
}

#[tokio::test]
async fn a_full_disk_fails_the_call_and_not_the_store() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    let limit = |pages: u32| {
        store.call(move |connection| {
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(Error::query("limit the database"))
        })
    };
    limit(1).await.unwrap(); // SQLite takes this as "as large as it is now".
    let big = || Audit { detail: "x".repeat(100_000), ..entry("big") };
    assert!(matches!(store.audit(big()).await, Err(Error::Full)));
    store.ping().await.unwrap();
    limit(1_000_000).await.unwrap();
    store.audit(big()).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_loses_its_oldest_lines_and_no_others() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
                INSERT INTO audit (at, actor, action, detail) SELECT i, 'a', 'old', '' FROM n";
    store.call(move |connection| connection.execute(many, []).map_err(Error::query("fill"))).await.unwrap();
    store.audit(entry("one more")).await.unwrap();
    let all = store.audit_log(None, 20_000).await.unwrap();
    assert_eq!(all.len() as u64, crate::AUDIT_KEPT);
    assert_eq!((all[0].action.as_str(), all.last().unwrap().id), ("one more", 2));
    let tampered = store
        .call(|connection| connection.execute("DELETE FROM audit WHERE id = 2", []).map_err(Error::query("tamper")));
    assert!(tampered.await.is_err(), "the oldest of the kept lines stays");
}

#[tokio::test]
async fn a_reset_password_ends_all_sessions_and_leaves_a_notice() {
    let folder = folder();
    let store = Store::open(&folder.path().join("manager.db")).unwrap();
    store.claim_owner("old".into(), session(1, Kind::Owner), entry("claimed")).await.unwrap();
    store.set(SECOND_FACTOR, &"kept", None).await.unwrap();
    store.reset_password("new".into(), &"read me", false, entry("password-reset")).await.unwrap();
    assert_eq!(store.owner_password().await.unwrap().as_deref(), Some("new"));
    assert!(store.sessions().await.unwrap().is_empty());
    assert_eq!(store.setting::<Option<String>>(RESET_NOTICE).await.unwrap(), Some(Some("read me".into())));
    assert_eq!(store.setting::<Option<String>>(SECOND_FACTOR).await.unwrap(), Some(Some("kept".into())));
    store.reset_password("newer".into(), &"read me", true, entry("password-reset")).await.unwrap();
    assert_eq!(store.setting::<Option<String>>(SECOND_FACTOR).await.unwrap(), Some(None));
}
