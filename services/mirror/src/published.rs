//! What the published metadata says about an artifact.
//!
//! Documents are read when a request needs them and kept by role and version. Signatures are not checked: clients do
//! that, and a mirror that believed a wrong document could only serve bytes that clients refuse.

use std::{
    fmt, io,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use rstuf_tuf::{
    Document, Envelope, MetadataFile, RoleName, Snapshot, Target, TargetPath, Targets, Timestamp, Version, Walk,
    file::TIMESTAMP,
};
use tokio::task::spawn_blocking;

use crate::{
    bounded::Bounded,
    files::{Directory, Identity, OpenFile},
};

/// Longest document that is read, in bytes.
const DOCUMENT_BYTES_MAX: u64 = rstuf_tuf::DOCUMENT_BYTES_MAX as u64;

/// Documents that are kept parsed, of each type.
const DOCUMENTS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(65_535);
/// Bytes of targets documents, and of snapshots, that are kept parsed. Parsed they take several times the room.
const TARGETS_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SNAPSHOT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Roles visited for one path; more than any client visits.
const ROLES_VISITED_MAX: usize = 64;

/// Why a published document can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{name} is not published")]
    Absent { name: String },
    #[error("{name} can't be read: {source}")]
    Io { name: String, source: io::Error },
    #[error("{name} has {length} bytes, allowed are {DOCUMENT_BYTES_MAX}")]
    TooLong { name: String, length: u64 },
    #[error("{name} is malformed: {source}")]
    Malformed { name: String, source: rstuf_tuf::Error },
    #[error("{name} holds version {version}")]
    OtherVersion { name: String, version: Version },
    #[error("version {snapshot} of snapshot does not list {role}")]
    Unlisted { role: RoleName, snapshot: Version },
}

/// The published directory as a lookup from paths to targets. Cheap to clone; clones share what they keep.
#[derive(Clone)]
pub(crate) struct Published {
    directory: Directory,
    current: Arc<Mutex<Option<Current>>>,
    snapshots: Kept<Snapshot>,
    targets: Kept<Targets>,
}

/// The timestamp that one state of the file holds.
#[derive(Clone)]
struct Current {
    file: Identity,
    timestamp: Arc<Timestamp>,
}

impl fmt::Debug for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Published").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Published {
    pub(crate) fn new(directory: Directory) -> Self {
        let snapshots = Kept::new(directory.clone(), SNAPSHOT_BYTES_MAX);
        let targets = Kept::new(directory.clone(), TARGETS_BYTES_MAX);
        Self { directory, current: Arc::default(), snapshots, targets }
    }

    /// The published timestamp, or `None` as long as nothing is published.
    pub(crate) async fn timestamp(&self) -> Result<Option<Arc<Timestamp>>, Error> {
        let this = self.clone();
        blocking(TIMESTAMP, move || this.timestamp_blocking()).await
    }

    /// Whether there is a timestamp to serve, usable or not.
    pub(crate) async fn has_timestamp(&self) -> bool {
        let directory = self.directory.clone();
        let found = blocking(TIMESTAMP, move || open(&directory, TIMESTAMP)).await;
        found.is_ok_and(|file| file.is_some())
    }

    /// As [`Self::timestamp`]. Blocks.
    pub(crate) fn timestamp_blocking(&self) -> Result<Option<Arc<Timestamp>>, Error> {
        let Some(file) = open(&self.directory, TIMESTAMP)? else { return Ok(None) };
        let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(current) = known.filter(|current| current.file == file.identity()) {
            return Ok(Some(current.timestamp));
        }
        let timestamp = Arc::new(parse::<Timestamp>(TIMESTAMP, &file)?);
        let current = Current { file: file.identity(), timestamp: Arc::clone(&timestamp) };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
        Ok(Some(timestamp))
    }

    /// The target at `path` in the newest publication, found as clients find it (TUF specification, 5.6.7).
    ///
    /// # Errors
    ///
    /// If a published document is missing or unusable.
    pub(crate) async fn target(&self, path: &TargetPath) -> Result<Option<Target>, Error> {
        match self.target_now(path).await {
            // The publication may have been superseded, and its files deleted, between two steps of the walk.
            Err(Error::Absent { .. }) => self.target_now(path).await,
            found => found,
        }
    }

    async fn target_now(&self, path: &TargetPath) -> Result<Option<Target>, Error> {
        let Some(timestamp) = self.timestamp().await? else { return Ok(None) };
        let snapshot = self.snapshots.get(&RoleName::snapshot(), timestamp.snapshot.version).await?;
        let mut walk = Walk::new(path, ROLES_VISITED_MAX);
        while let Some((role, _)) = walk.next_role() {
            let listed = snapshot.meta.get(&role);
            let listed = listed.ok_or_else(|| Error::Unlisted { role: role.clone(), snapshot: snapshot.version })?;
            let targets = self.targets.get(&role, listed.version).await?;
            if let Some(target) = walk.visit(&role, &targets) {
                return Ok(Some(target.clone()));
            }
        }
        Ok(None)
    }
}

/// Parsed documents of one type, those used last, by the sum of their lengths.
struct Kept<D> {
    directory: Directory,
    documents: Arc<Bounded<Key, Arc<D>>>,
    /// One document is parsed at a time: who wants the same one waits instead of parsing it too, and memory is bounded.
    parsing: Arc<tokio::sync::Mutex<()>>,
}

type Key = (RoleName, Version);

impl<D> Clone for Kept<D> {
    fn clone(&self) -> Self {
        let Self { directory, documents, parsing } = self;
        Self { directory: directory.clone(), documents: documents.clone(), parsing: parsing.clone() }
    }
}

impl<D: Document + Send + Sync + 'static> Kept<D> {
    fn new(directory: Directory, bytes_max: u64) -> Self {
        let documents = Arc::new(Bounded::new(DOCUMENTS_MAX, bytes_max));
        Self { directory, documents, parsing: Arc::default() }
    }

    async fn get(&self, role: &RoleName, version: Version) -> Result<Arc<D>, Error> {
        let key = (role.clone(), version);
        if let Some(document) = self.documents.get(&key) {
            return Ok(document);
        }
        let turn = Arc::clone(&self.parsing).lock_owned().await;
        if let Some(document) = self.documents.get(&key) {
            return Ok(document);
        }
        let (name, this) = (MetadataFile::of(role, version).to_string(), self.clone());
        // It goes on, and keeps its turn, when the client that asked has left.
        let parse = move |name: String| {
            let (document, length) = read::<D>(&this.directory, name, version)?;
            let document = Arc::new(document);
            this.documents.put(key, Arc::clone(&document), length);
            drop(turn);
            Ok(document)
        };
        blocking(&name.clone(), move || parse(name)).await
    }
}

fn read<D: Document>(directory: &Directory, name: String, version: Version) -> Result<(D, u64), Error> {
    let Some(file) = open(directory, &name)? else { return Err(Error::Absent { name }) };
    let document: D = parse(&name, &file)?;
    match document.version() {
        found if found == version => Ok((document, file.length())),
        version => Err(Error::OtherVersion { name, version }),
    }
}

fn open(directory: &Directory, name: &str) -> Result<Option<OpenFile>, Error> {
    directory.open(name).map_err(|source| Error::Io { name: name.to_owned(), source })
}

fn parse<D: Document>(name: &str, file: &OpenFile) -> Result<D, Error> {
    let name = || name.to_owned();
    if file.length() > DOCUMENT_BYTES_MAX {
        return Err(Error::TooLong { name: name(), length: file.length() });
    }
    let length = usize::try_from(file.length()).unwrap_or(usize::MAX);
    let bytes = file.read_at(0, length).map_err(|source| Error::Io { name: name(), source })?;
    let document = Envelope::parse(&bytes).and_then(|envelope| envelope.decode());
    document.map_err(|source| Error::Malformed { name: name(), source })
}

async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let failed = |error| Error::Io { name: name.to_owned(), source: io::Error::other(error) };
    spawn_blocking(work).await.map_err(failed)?
}
