//! Small durable steps on files and directories.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt as _, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::{Error, Result};

/// Makes the entries of a directory durable. Blocks.
///
/// # Errors
/// `Io`.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|e| Error::io("fsync", dir, e))
}

/// Makes everything written to the file system of `dir` durable.
pub(crate) fn sync_file_system(dir: &Path) -> Result<()> {
    let file = File::open(dir).map_err(|e| Error::io("open", dir, e))?;
    rustix::fs::syncfs(&file).map_err(|e| Error::io("syncfs", dir, e.into()))
}

/// Makes the content of a file durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io("fsync", path, e))
}

/// Opens a file, and nothing else that stands in its place.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Whoever opens a pipe would wait for its other end.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let other = || io::Error::other("this is no file: move it away, and bring the file back");
    match options.custom_flags(flags).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(other()),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(other()),
        Err(error) => Err(error),
    }
}

/// All bytes of a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path, OpenOptions::new().read(true))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates or replaces `path`, not durably yet.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Creates or replaces a file so that after a crash it holds all of `bytes` or what it held before. They are written
/// to a file beside it first, with the extension `new`. Blocks.
///
/// # Errors
/// `Io`.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// The same for what `fill` makes of an empty file.
pub(crate) fn replace_with(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let temporary = path.with_extension("new");
    let filled = File::create(&temporary).and_then(|mut file| fill(&mut file).and_then(|()| file.sync_all()));
    filled.map_err(|e| Error::io("write", &temporary, e))?;
    fs::rename(&temporary, path).map_err(|e| Error::io("rename", &temporary, e))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Creates a directory and what is missing above it, each name durably: a power cut that takes one name takes all below
/// it. `true` if it was absent. Blocks.
///
/// # Errors
/// `Io`.
pub fn create_dir(dir: &Path) -> Result<bool> {
    if dir.is_dir() {
        return Ok(false);
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create directory", dir, e)),
        _ => {}
    }
    sync_dir(parent)?;
    Ok(true)
}

/// The entries of a directory; none if it is absent.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", dir, e)),
    };
    listing
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(|e| Error::io("list", dir, e))
}

/// Bytes that an unprivileged process may still write.
fn free_bytes(dir: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| Error::io("read free space of", dir, e.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Creates the state directory, for its owner only; closes one to others that is there.
pub(crate) fn create_private_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return close_to_others(dir);
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(Error::io("create directory", dir, e)),
        _ => {}
    }
    sync_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Where the owner is another, as of volumes in clusters, it is only said.
fn close_to_others(dir: &Path) -> Result<()> {
    let mode = fs::metadata(dir).map_err(|e| Error::io("look at", dir, e))?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    match fs::set_permissions(dir, fs::Permissions::from_mode(0o700)) {
        Ok(()) => {
            let was = format!("{:o}", mode & 0o7777);
            tracing::info!(dir = %dir.display(), was, "closed the state directory to others");
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(dir = %dir.display(), "the state directory is open to others: run `chmod 700` on it");
            Ok(())
        }
        Err(e) => Err(Error::io("close to others", dir, e)),
    }
}

/// Checks that a directory's disk has space for so many bytes, and leaves the floor free beside them. Blocks.
///
/// # Errors
/// `NoSpace` where it has not; `Io`.
pub fn check_space(dir: &Path, floor_bytes: u64, wanted_bytes: u64) -> Result<()> {
    let free_bytes = free_bytes(dir)?;
    if free_bytes < floor_bytes.saturating_add(wanted_bytes) {
        return Err(Error::NoSpace { dir: dir.to_owned(), free_bytes, wanted_bytes, floor_bytes });
    }
    Ok(())
}

/// Adds at the end of a file in `dir`, where that leaves the floor of free space.
pub(crate) fn append(file: &mut File, dir: &Path, floor_bytes: u64, bytes: &[u8]) -> Result<()> {
    let wanted_bytes = bytes.len() as u64;
    check_space(dir, floor_bytes, wanted_bytes)?;
    file.write_all(bytes).map_err(|error| {
        no_space(&error, dir, floor_bytes, wanted_bytes).unwrap_or_else(|| Error::io("write a file of", dir, error))
    })
}

/// `NoSpace` where that is why something was not written.
pub(crate) fn no_space(error: &io::Error, dir: &Path, floor_bytes: u64, wanted_bytes: u64) -> Option<Error> {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let is_full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
    let free_bytes = free_bytes(dir).unwrap_or(0);
    is_full.then(|| Error::NoSpace { dir: dir.to_owned(), free_bytes, wanted_bytes, floor_bytes })
}

/// Deletes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path, error)),
        _ => Ok(()),
    }
}
