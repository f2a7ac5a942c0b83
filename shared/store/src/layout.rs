//! Who may use a state directory: format version, kind of service, and the lock.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, files};

/// The format of state directories that this release writes.
pub const FORMAT_VERSION: u32 = 3;
/// The oldest format that it reads. It had no log.
const FORMAT_VERSION_MIN: u32 = 1;
/// The first format with a log. Its services wrote a letter for each outcome in their rows; this release reads them.
const FORMAT_VERSION_LOG: u32 = 2;

/// The file that makes a directory one of a store.
const FORMAT: &str = "format.json";

/// How to open a state directory.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state directory; created (readable by the owner only) if absent.
    pub dir: PathBuf,
    /// Kind of service that owns it, such as `coordinator`; an existing directory must be of the same kind.
    pub kind: &'static str,
    /// A commit that would leave fewer free bytes on the disk is refused: sled can't be opened again on a full disk.
    pub free_bytes_min: u64,
}

impl Options {
    /// Free bytes kept by default: 64 MiB.
    pub const FREE_BYTES_MIN: u64 = 64 << 20;

    /// Options with the default floor of free space.
    pub fn new(dir: impl Into<PathBuf>, kind: &'static str) -> Self {
        Self { dir: dir.into(), kind, free_bytes_min: Self::FREE_BYTES_MIN }
    }

    /// Sets the floor of free space in bytes.
    #[must_use]
    pub fn free_bytes_min(mut self, bytes: u64) -> Self {
        self.free_bytes_min = bytes;
        self
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u32,
    kind: String,
}

/// Whether a store was ever opened on this directory. Opening one makes a fresh state of whatever directory it is
/// given: who means to look at a state that is there asks first.
#[must_use]
pub fn is_state_dir(dir: &Path) -> bool {
    dir.join(FORMAT).is_file()
}

/// Takes the directory for this process, until the answer is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = files::open(&path, OpenOptions::new().create(true).truncate(false).read(true).write(true));
    let file = file.map_err(|e| Error::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
    }
}

/// Reads `format.json`, or writes it into a fresh directory, and answers the version. The lock is held.
pub(crate) fn check_format(options: &Options) -> Result<u32> {
    let dir = &options.dir;
    let path = dir.join(FORMAT);
    let bytes = match files::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create_format(options, &path)?;
            return Ok(FORMAT_VERSION);
        }
        Err(e) => return Err(Error::io("read", &path, e)),
    };
    // The version is looked at first: a newer format may change everything else.
    let version = serde_json::from_slice::<serde_json::Value>(&bytes).ok().and_then(|value| value["format"].as_u64());
    let version = version.and_then(|version| u32::try_from(version).ok());
    let found = version.ok_or_else(|| Error::corrupt(dir, "format.json holds no format version"))?;
    if found > FORMAT_VERSION {
        return Err(Error::NewerFormat { dir: dir.clone(), found, supported: FORMAT_VERSION });
    }
    let format: Format =
        serde_json::from_slice(&bytes).map_err(|e| Error::corrupt(dir, format!("format.json can't be read: {e}")))?;
    if format.format < FORMAT_VERSION_MIN {
        return Err(Error::corrupt(dir, format!("format.json names format {found}, which never existed")));
    }
    if format.kind != options.kind {
        return Err(Error::OtherKind { dir: dir.clone(), found: format.kind, wanted: options.kind.to_owned() });
    }
    Ok(found)
}

/// Brings a directory of an older format to this one: it is given a log where it had none, and older releases refuse it
/// from then on.
pub(crate) fn upgrade(options: &Options, found: u32, create_log: impl FnOnce() -> Result<()>) -> Result<()> {
    if found == FORMAT_VERSION {
        return Ok(());
    }
    if found < FORMAT_VERSION_LOG {
        create_log()?;
    }
    write_format(options, &options.dir.join(FORMAT))
}

fn create_format(options: &Options, path: &Path) -> Result<()> {
    let state = ["head", "blobs"].map(|name| options.dir.join(name)).into_iter().find(|path| path.exists());
    if let Some(state) = state {
        let reason = format!("there is {} but no format.json", state.display());
        return Err(Error::corrupt(&options.dir, reason));
    }
    write_format(options, path)
}

fn write_format(options: &Options, path: &Path) -> Result<()> {
    let format = Format { format: FORMAT_VERSION, kind: options.kind.to_owned() };
    let mut bytes = serde_json::to_vec(&format).map_err(|e| Error::io("write", path, e.into()))?;
    bytes.push(b'\n');
    files::replace(path, &bytes)
}
