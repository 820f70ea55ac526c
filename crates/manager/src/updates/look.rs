//! Asking the channel, and judging what it said.

use std::{sync::Arc, time::Duration};

use fetch::{Reach, Server};
use release::{Answer, Channel, Facts, Offer, Refusal};
use rust_i18n::t;
use tokio::time;
use twin::updates::{News, Offered};

use super::{Found, Seen, Source, beside, facts_of, lock};
use crate::{atomic, error::now, language::carried, pages::words::sentence, shared::House};

/// A channel's list is some thousand bytes for each version; more is never read.
const LIST: usize = 1 << 20;
/// For what was heard to reach the twin.
const NEWS: Duration = Duration::from_secs(2);
/// The list that was believed last, in the folder of updates.
const KEPT: &str = "channel.json";

/// Asks the channel now, and goes on with it when whoever wanted it has gone. The page speaks the language of who asks.
pub(crate) async fn look(house: &Arc<House>) {
    let house = house.clone();
    let _ = tokio::spawn(carried(async move { ask_and_tell(&house).await })).await;
}

/// Whoever comes while it is being asked waits for that answer.
async fn ask_and_tell(house: &House) {
    let Ok(_turn) = house.updates.looking.try_lock() else {
        let _ = house.updates.looking.lock().await;
        return;
    };
    let Some(source) = house.updates.channel() else { return tell(house, News::default()).await };
    let before = heard_of(house, &source.name);
    tell(house, News { channel: source.name.clone(), asking: true, ..before.clone() }).await;
    let asked = now();
    let (mut news, found) = match ask(house, &source).await {
        Ok(file) => {
            let Taken { news, found, made } = take(house, &source, &file);
            let note = |seen: &mut Seen| {
                seen.asked = asked;
                if let Some(made) = made {
                    seen.answered = asked;
                    seen.take(&source.name, made);
                }
            };
            house.updates.note(note).await;
            if made.is_some() {
                keep(house, file).await;
            }
            (news, found)
        }
        Err(error) => {
            tracing::info!(error, "the channel could not be asked");
            house.updates.note(|seen| seen.asked = asked).await;
            // What was heard before still holds, if it was of this channel.
            let found = house.updates.found().filter(|_| before.offer.is_some());
            (News { error: sentence(&error), ..before }, found.map(Arc::unwrap_or_clone))
        }
    };
    let Seen { asked, answered, .. } = house.updates.seen();
    (news.channel, news.asked, news.answered, news.asking) = (source.name, asked, answered, false);
    *lock(&house.updates.found) = found.map(Arc::new);
    tell(house, news).await;
}

/// Judges the list that was believed last again: time has passed, or something else has changed.
pub(super) async fn again(house: &House) {
    // Who asks now will judge what comes.
    let Ok(_turn) = house.updates.looking.try_lock() else { return };
    let Some(source) = house.updates.channel() else {
        *lock(&house.updates.found) = None;
        return tell(house, News::default()).await;
    };
    let (seen, before) = (house.updates.seen(), heard_of(house, &source.name));
    if seen.answered < seen.asked && !before.refusal.is_empty() && before.error.is_empty() {
        // The server gave a list that is not believed: an older one that was does not make that good.
        return;
    }
    let kept = tokio::fs::read(house.updates.folder.join(KEPT)).await.ok();
    // One of another channel is as if nobody had asked yet.
    let taken = kept.map(|file| take(house, &source, &file)).filter(|taken| taken.made.is_some());
    let (news, found) = taken.map(|taken| (taken.news, taken.found)).unwrap_or_default();
    *lock(&house.updates.found) = found.map(Arc::new);
    let (asked, answered, error) = (seen.asked, seen.answered, before.error);
    tell(house, News { channel: source.name, asked, answered, error, ..news }).await;
}

/// The news of that channel; none if those there are come from another.
fn heard_of(house: &House, channel: &str) -> News {
    let news = &house.shared.twin.state().news;
    if news.channel == channel { (**news).clone() } else { News::default() }
}

async fn tell(house: &House, news: News) {
    let (news, twin) = (Arc::new(news), &house.shared.twin);
    let mut changes = twin.changes();
    // Fails when the program ends.
    let _ = house.sender.send(twin::Update::News(news.clone())).await;
    // Who asked sees the page next, and on it what came of it.
    let arrived = async {
        while twin.state().news != news {
            let _ = changes.recv().await;
        }
    };
    let _ = time::timeout(NEWS, arrived).await;
}

/// The list as the server gives it. An error is a sentence.
async fn ask(house: &House, source: &Source) -> Result<Vec<u8>, String> {
    let url = source.list().ok_or_else(|| t!("updates.set.bad_url").into_owned())?;
    get(house, source, &url, LIST).await
}

/// One file of the channel's server. An error is a sentence.
pub(super) async fn get(house: &House, source: &Source, url: &url::Url, limit: usize) -> Result<Vec<u8>, String> {
    let mut reach = Reach::default();
    if source.home {
        reach.own.extend(Server::of(url));
        reach.ca = house.payments.get().reach().ca;
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    match fetch::ask(url, &reach, limit).await {
        Ok(reply) if reply.status.is_success() => Ok(reply.body.to_vec()),
        Ok(reply) => Err(t!("updates.status", host = host, status = reply.status.as_u16()).into_owned()),
        Err(fetch::Error::Private { host, address }) => {
            Err(t!("updates.private", host = host, address = address).into_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn keep(house: &House, file: Vec<u8>) {
    let path = house.updates.folder.join(KEPT);
    let written = beside(move || atomic::write(&path, &file, 0o600)).await;
    if let Err(error) = written.flatten() {
        tracing::warn!(%error, "the channel's list is not kept");
    }
}

/// What became of a list.
struct Taken {
    news: News,
    found: Option<Found>,
    /// When it was made; `None`: it is not believed.
    made: Option<u64>,
}

fn take(house: &House, source: &Source, file: &[u8]) -> Taken {
    let refused = |refusal: String| Taken {
        news: News { refusal: sentence(&refusal), ..News::default() },
        found: None,
        made: None,
    };
    let facts = match facts_of(house) {
        Ok(facts) => facts,
        Err(why) => return refused(why),
    };
    let channel = match house.updates.keyring().and_then(|keyring| Channel::open(file, &keyring)) {
        Ok(channel) => channel,
        Err(error) => return refused(error.to_string()),
    };
    let Heard { news, offer, believed } = heard(&channel, &facts);
    let found = offer.and_then(|offer| found(source, &offer));
    Taken { news, found, made: believed.then_some(channel.made) }
}

/// Where the bundle of an offer is, and its description.
fn found(source: &Source, offer: &Offer) -> Option<Found> {
    let bundle = &offer.update.bundle.name;
    let stem = bundle.strip_suffix(".raucb").unwrap_or(bundle);
    Some(Found {
        bundle: source.file(&[&offer.folder, bundle])?,
        description: source.file(&[&offer.folder, &format!("{stem}.update.json")])?,
        update: offer.update.clone(),
        one_way: offer.one_way,
    })
}

/// What a list says to this box.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    news: News,
    offer: Option<Offer>,
    /// It is of the right channel, no older than the last one, and not from the future.
    believed: bool,
}

/// Two answers in one: what the box would install by itself, and, where that is nothing, what the owner could.
fn heard(channel: &Channel, facts: &Facts) -> Heard {
    let by_itself = release::decide(channel, facts);
    let by_hand = release::decide(channel, &Facts { by_hand: true, ..facts.clone() });
    let believed = !matches!(
        by_hand,
        Answer::Refused(
            Refusal::File(_)
                | Refusal::OtherChannel { .. }
                | Refusal::Replayed { .. }
                | Refusal::ClockBehind
                | Refusal::FromTheFuture { .. }
        )
    );
    let refusal = match &by_itself {
        Answer::Refused(refusal) => sentence(&refusal.to_string()),
        _ => String::new(),
    };
    let offer = [by_itself, by_hand].into_iter().find_map(|answer| match answer {
        Answer::Offered(offer) => Some(*offer),
        _ => None,
    });
    let own = channel.blocked.iter().find(|blocked| believed && blocked.version == facts.version);
    let news = News {
        offer: offer.as_ref().map(offered),
        refusal,
        withdrawn: own.map(|blocked| blocked.why.clone()),
        ..News::default()
    };
    Heard { news, offer, believed }
}

fn offered(offer: &Offer) -> Offered {
    let update = &offer.update;
    Offered {
        version: update.release.version.clone(),
        lnd: update.release.lnd_version.clone(),
        size: update.bundle.size,
        one_way: offer.one_way,
        urgent: offer.urgent,
        notes: update.notes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use release::{Blocked, Image, Listed, LndVersion, Release, Texts, UPDATE_FORMAT, Update, Version, Wave};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn facts() -> Facts {
        Facts {
            version: Version::new(0, 1, 0),
            board: "x86-64".into(),
            base: "debian".into(),
            lnd: LndVersion::parse("v0.20.1-beta").unwrap(),
            fence: None,
            now: NOW,
            clock_floor: 1,
            clock_set: true,
            channel: "stable".into(),
            channel_seen: 0,
            id: vec![7],
            failed: Vec::new(),
            kept: false,
            by_hand: false,
        }
    }

    fn listed(version: &str, waves: &[Wave]) -> Listed {
        let release = Release {
            version: version.into(),
            board: "x86-64".into(),
            base: "debian".into(),
            built: 1,
            lnd_version: "v0.21.2-beta".into(),
            development_keys: false,
            eeprom: None,
        };
        let update = Update {
            format: UPDATE_FORMAT,
            release,
            bundle: Image { name: format!("homebolt-{version}.raucb"), size: 9, sha256: "ab".repeat(32) },
            root_hash: "ab".repeat(32),
            one_way: false,
            least_version: None,
            notes: Texts::from([("en".into(), "New.".into())]),
            made: 1,
            expires: NOW * 2,
        };
        Listed { update, folder: "files".into(), waves: waves.to_vec() }
    }

    fn channel(releases: Vec<Listed>) -> Channel {
        Channel { releases, ..Channel::new("stable", NOW - 10, NOW + 1000) }
    }

    fn version(heard: &Heard) -> Option<&str> {
        heard.news.offer.as_ref().map(|offer| offer.version.as_str())
    }

    #[test]
    fn an_offer_is_told_with_what_it_means() {
        let heard = heard(&channel(vec![listed("0.2.0", &[])]), &facts());
        let offer = heard.news.offer.as_ref().unwrap();
        assert_eq!((offer.version.as_str(), offer.lnd.as_str(), offer.size), ("0.2.0", "v0.21.2-beta", 9));
        assert!(offer.one_way, "its LND is newer");
        assert!(heard.believed && heard.news.refusal.is_empty() && heard.news.withdrawn.is_none());
        let source = Source::read("https://example.org/x", "stable", false).unwrap();
        let found = found(&source, heard.offer.as_ref().unwrap()).unwrap();
        assert_eq!(found.bundle.as_str(), "https://example.org/x/files/homebolt-0.2.0.raucb");
        assert_eq!(found.description.as_str(), "https://example.org/x/files/homebolt-0.2.0.update.json");
    }

    #[test]
    fn what_the_box_does_not_do_by_itself_the_owner_can_and_is_told_why() {
        let nobody = [Wave { from: NOW + 10, percent: 100 }];
        let later = heard(&channel(vec![listed("0.2.0", &nobody)]), &facts());
        assert!(version(&later) == Some("0.2.0") && later.news.refusal.contains("waves"), "{later:?}");
        let kept = heard(&channel(vec![listed("0.2.0", &[])]), &Facts { kept: true, ..facts() });
        assert!(version(&kept) == Some("0.2.0") && kept.news.refusal.contains("stay"), "{kept:?}");
        let failed = Facts { failed: vec![Version::new(0, 2, 0)], ..facts() };
        assert!(heard(&channel(vec![listed("0.2.0", &[])]), &failed).news.refusal.contains("did not pass"));
        // A newest one whose turn is not yet does not hide an older one whose turn it is.
        let both = heard(&channel(vec![listed("0.2.0", &[]), listed("0.3.0", &nobody)]), &facts());
        assert!(version(&both) == Some("0.2.0") && both.news.refusal.is_empty(), "{both:?}");
    }

    #[test]
    fn a_version_that_was_withdrawn_says_why_in_all_languages_there_are() {
        let why = Texts::from([("en".into(), "It forgets.".into()), ("de".into(), "Sie vergisst.".into())]);
        let blocked = vec![Blocked { version: Version::new(0, 1, 0), why: why.clone() }];
        let heard = heard(&Channel { blocked, ..channel(vec![listed("0.2.0", &[])]) }, &facts());
        assert_eq!(heard.news.withdrawn, Some(why));
        assert!(heard.news.offer.unwrap().urgent);
    }

    #[test]
    fn a_list_that_is_old_foreign_or_from_the_future_is_not_believed_and_an_expired_one_is_a_refusal() {
        let list = channel(vec![listed("0.2.0", &[])]);
        for facts in [
            Facts { channel: "beta".into(), ..facts() },
            Facts { channel_seen: NOW, ..facts() },
            Facts { clock_floor: NOW + 1, ..facts() },
            Facts { now: NOW - 30 * 86_400, clock_floor: 1, ..facts() },
        ] {
            let heard = heard(&list, &facts);
            assert!(!heard.believed && heard.offer.is_none() && !heard.news.refusal.is_empty(), "{heard:?}");
        }
        let heard = heard(&list, &Facts { now: NOW + 2000, ..facts() });
        assert!(heard.believed && heard.offer.is_none() && heard.news.refusal.contains("expired"), "{heard:?}");
    }
}
