//! A bundle that is uploaded: a few hundred megabytes, of which no more than a piece is ever in memory.
//!
//! ```text
//!  form:  description ─► signature, board, fence ─► bundle, piece by piece ─► sha256, size as described?
//!                                                      └ bundle.part            └─► bundle.raucb, and root may have it
//! ```
//!
//! A piece is asked of the sender only once the one before is with the kernel. Whatever ends it early leaves no part
//! behind, and a sentence on the page.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use futures_util::Stream;
use multer::{Field, Multipart};
use release::Update;
use rust_i18n::t;
use sha2::{Digest, Sha256};
use tokio::time;

use super::{DESCRIPTION, Updates, beside, install::is_busy, judge, lock};
use crate::{atomic, pages::words, shared::House};

/// So much is written at once, and as much again may be on its way here, bytes.
const PIECE: usize = 256 * 1024;
/// A sender that says nothing for this long has gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// So much of the data partition is left to LND, bytes.
const RESERVE: u64 = 256 << 20;
/// A description that names more is none of ours, bytes.
const LARGEST: u64 = 8 << 30;

const PART: &str = "bundle.part";
const WHOLE: &str = "bundle.raucb";
const DESCRIBED: &str = "bundle.update.json";

/// What there is of an upload.
#[derive(Debug, Clone, Default)]
pub(crate) enum Upload {
    #[default]
    Nothing,
    Coming,
    /// A sentence.
    Failed(String),
    /// A bundle that is what its description says.
    Ready(Box<Update>),
}

impl Updates {
    /// The description of the bundle that was uploaded.
    pub(super) fn described(&self) -> PathBuf {
        self.folder.join(DESCRIBED)
    }

    /// What an earlier start of this program left: a whole bundle, or nothing.
    pub(super) fn kept_upload(&self) -> Upload {
        let _ = fs::remove_file(self.folder.join(PART));
        let length = fs::metadata(self.folder.join(WHOLE)).map(|about| about.len());
        let update = fs::read(self.described()).ok().and_then(|file| self.read(&file).ok());
        match (length, update) {
            (Ok(length), Some(update)) if length == update.bundle.size => Upload::Ready(Box::new(update)),
            _ => Upload::Nothing,
        }
    }

    /// Forgets the bundle and gives its room back.
    pub(crate) fn discard(&self) {
        let mut upload = lock(&self.upload);
        if !matches!(*upload, Upload::Coming) {
            *upload = Upload::Nothing;
            for name in [DESCRIBED, WHOLE] {
                let _ = fs::remove_file(self.folder.join(name));
            }
        }
    }
}

/// Takes the form. An error is a sentence; it is on the page, too, as the browser may be told otherwise.
pub(crate) async fn receive<S>(house: &Arc<House>, body: S, boundary: &str) -> Result<(), String>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin + Send + 'static,
{
    let mut body = Sips { stream: body, rest: false };
    if is_busy(house) {
        drain(&mut body).await;
        return Err(t!("updates.busy").into_owned());
    }
    let Some(coming) = Coming::begin(house) else {
        drain(&mut body).await;
        return Err(t!("updates.upload.another").into_owned());
    };
    let outcome = take(house, &mut body, boundary).await;
    if outcome.is_err() {
        // An answer before the end of the body is one that browsers do not show.
        drain(&mut body).await;
    }
    coming.end(outcome)
}

/// Reads what else comes and throws it away, while something comes.
async fn drain<S: Stream<Item = Result<Bytes, axum::Error>> + Unpin>(body: &mut Sips<S>) {
    use futures_util::StreamExt;
    let mut left = LARGEST;
    while let Ok(Some(Ok(piece))) = time::timeout(PATIENCE, body.next()).await {
        left = left.saturating_sub(piece.len() as u64);
        if left == 0 {
            return;
        }
    }
}

/// That an upload goes on. If its request is dropped, because the line was cut, so is this.
struct Coming {
    house: Arc<House>,
    ended: bool,
}

impl Coming {
    fn begin(house: &Arc<House>) -> Option<Self> {
        let mut upload = lock(&house.updates.upload);
        if matches!(*upload, Upload::Coming) {
            return None;
        }
        *upload = Upload::Coming;
        Some(Self { house: house.clone(), ended: false })
    }

    fn end(mut self, outcome: Result<Update, String>) -> Result<(), String> {
        self.ended = true;
        let (upload, result) = match outcome {
            Ok(update) => (Upload::Ready(Box::new(update)), Ok(())),
            Err(why) => (Upload::Failed(why.clone()), Err(why)),
        };
        self.settle(upload);
        result
    }

    fn settle(&self, upload: Upload) {
        let updates = &self.house.updates;
        let _ = fs::remove_file(updates.folder.join(PART));
        *lock(&updates.upload) = upload;
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if !self.ended {
            self.settle(Upload::Failed(t!("updates.upload.cut").into_owned()));
        }
    }
}

async fn take<S>(house: &House, body: &mut Sips<S>, boundary: &str) -> Result<Update, String>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin + Send,
{
    let cut = || t!("updates.upload.cut").into_owned();
    let mut form = Multipart::new(body, boundary);
    let mut described: Option<(Update, Vec<u8>)> = None;
    loop {
        let next = time::timeout(PATIENCE, form.next_field()).await.map_err(|_| cut())?;
        let Some(field) = next.map_err(|_| cut())? else {
            return Err(t!("updates.upload.missing").into_owned());
        };
        match (field.name(), &described) {
            (Some("description"), _) => described = Some(describe(house, field).await?),
            (Some("bundle"), None) => return Err(t!("updates.upload.missing").into_owned()),
            (Some("bundle"), Some((update, file))) => {
                store(house, field, update, file).await?;
                return Ok(update.clone());
            }
            _ => {}
        }
    }
}

/// Reads the signed description, and says no before hundreds of megabytes have come for nothing.
async fn describe(house: &House, mut field: Field<'_>) -> Result<(Update, Vec<u8>), String> {
    let mut file = Vec::new();
    while let Some(piece) = next(&mut field).await? {
        file.extend_from_slice(&piece);
        if file.len() > DESCRIPTION {
            return Err(t!("updates.upload.missing").into_owned());
        }
    }
    if file.is_empty() {
        return Err(t!("updates.upload.missing").into_owned());
    }
    let update = house.updates.read(&file).map_err(|error| words::sentence(&error.to_string()))?;
    // That it is older is for the owner to weigh when it is installed.
    judge(house, &update, true).map_err(|refusal| words::sentence(&refusal.to_string()))?;
    let free = house.shared.twin.state().resources.data_available;
    let (size, need) = (update.bundle.size, update.bundle.size.saturating_add(RESERVE));
    if size > LARGEST || need > free {
        let (need, free) = (words::bytes(need), words::bytes(free));
        return Err(t!("updates.upload.full", need = need, free = free).into_owned());
    }
    Ok((update, file))
}

/// The next piece of a field, from a sender that is still there.
async fn next(field: &mut Field<'_>) -> Result<Option<Bytes>, String> {
    match time::timeout(PATIENCE, field.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(_)) | Err(_) => Err(t!("updates.upload.cut").into_owned()),
    }
}

/// Writes the bundle, and puts it in its place once it is what `update` says.
async fn store(house: &House, mut field: Field<'_>, update: &Update, description: &[u8]) -> Result<(), String> {
    let folder = house.updates.folder.clone();
    // The one before is given up first: there may not be room for both.
    for name in [DESCRIBED, WHOLE] {
        let _ = fs::remove_file(folder.join(name));
    }
    let mut sink = Sink::open(&folder.join(PART), update.bundle.size).map_err(|fault| fault.words())?;
    let mut gathered = Vec::with_capacity(PIECE);
    loop {
        let piece = next(&mut field).await?;
        gathered.extend_from_slice(piece.as_deref().unwrap_or_default());
        if gathered.len() >= PIECE || piece.is_none() {
            (sink, gathered) = written(move || sink.write(&gathered).map(|()| (sink, gathered))).await?;
            gathered.clear();
        }
        if piece.is_none() {
            break;
        }
    }
    let (update, description) = (update.clone(), description.to_vec());
    written(move || sink.end(&update)?.place(&folder, &description)).await
}

/// Does what writes beside the event loop.
async fn written<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, String> {
    beside(work).await.map_err(Fault::File).flatten().map_err(Fault::words)
}

/// Why a bundle could not be taken.
#[derive(Debug)]
enum Fault {
    /// It has more bytes than its description says, or fewer, or others.
    Other,
    Disk(io::Error),
    File(crate::error::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Fault {
    fn words(self) -> String {
        match self {
            Self::Other => t!("updates.upload.other").into_owned(),
            Self::Disk(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                t!("updates.upload.filled").into_owned()
            }
            Self::Disk(error) => t!("updates.upload.disk", what = error.kind()).into_owned(),
            Self::File(error) => words::sentence(&error.to_string()),
        }
    }
}

/// A file that grows to a length that is known, and is hashed on its way.
struct Sink {
    file: File,
    hash: Sha256,
    left: u64,
}

impl Sink {
    fn open(path: &Path, length: u64) -> Result<Self, Fault> {
        Ok(Self { file: File::create(path)?, hash: Sha256::new(), left: length })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), Fault> {
        self.left = self.left.checked_sub(piece.len() as u64).ok_or(Fault::Other)?;
        self.hash.update(piece);
        Ok(self.file.write_all(piece)?)
    }

    /// It is on the disk, and is the one that is meant.
    fn end(self, update: &Update) -> Result<Stored, Fault> {
        if self.left > 0 || hex::encode(self.hash.finalize()) != update.bundle.sha256 {
            return Err(Fault::Other);
        }
        self.file.sync_all()?;
        Ok(Stored)
    }
}

/// A whole bundle under its first name.
struct Stored;

impl Stored {
    /// The description comes first: a bundle without one is nothing.
    fn place(self, folder: &Path, description: &[u8]) -> Result<(), Fault> {
        atomic::write(&folder.join(DESCRIBED), description, 0o600).map_err(Fault::File)?;
        fs::rename(folder.join(PART), folder.join(WHOLE))?;
        atomic::sync_folder(&folder.join(WHOLE)).map_err(Fault::File)
    }
}

/// A stream that gives one piece and then lets others have their turn. `multer` takes all that a stream has ready before it
/// hands anything on, and a quick sender would fill the memory.
struct Sips<S> {
    stream: S,
    rest: bool,
}

impl<S: Stream + Unpin> Stream for Sips<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.stream).poll_next(context);
        self.rest = matches!(polled, Poll::Ready(Some(_)));
        polled
    }
}

#[cfg(test)]
mod tests;
