//! Files that nobody but their owner may read.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Larger files are not read: a key has some hundred bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// How the names of files end that are not written whole.
const TEMPORARY: &str = "new";
/// What a new file's owner, and nobody else, may do.
const MODE: u32 = 0o600;
/// Others may do nothing; the group may not write. It may read: clusters mount secrets so.
const MODE_FORBIDDEN: u32 = 0o027;

/// Reads a file that nobody else may read or replace. What is checked is the file that was opened, not its name.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Io { action: "open", path: path.to_owned(), source },
    })?;
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        let reason = format!("it is no regular file of at most {FILE_BYTES_MAX} bytes");
        return Err(Error::NotAKey { path: path.to_owned(), reason });
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & MODE_FORBIDDEN != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    // With the capacity from the start no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// Under which name a file is written that is to be `path`.
pub(crate) fn temporary(path: &Path, suffix: u64) -> PathBuf {
    path.with_added_extension(format!("{suffix:016x}.{TEMPORARY}"))
}

/// Whether a file of this name in the same directory was to be `path`.
fn is_temporary(name: &OsStr, path: &Path) -> bool {
    let suffix = Path::new(name).file_stem().and_then(|stem| Path::new(stem).extension()?.to_str());
    let suffix = suffix.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    suffix.is_some_and(|suffix| temporary(path, suffix).file_name() == Some(name))
}

/// Deletes files that were to be `path`; answers how many there were.
pub(crate) fn remove_temporary(path: &Path) -> Result<usize> {
    let (parent, mut removed) = (parent(path), 0);
    for entry in fs::read_dir(parent).map_err(Error::io("list", parent))? {
        let entry = entry.map_err(Error::io("list", parent))?;
        if is_temporary(&entry.file_name(), path) {
            fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
            removed += 1;
        }
    }
    if removed > 0 {
        sync_parent(path)?;
    }
    Ok(removed)
}

pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let mut file = file.map_err(Error::io("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))
}

/// Gives a file its name, if nothing stands under that: at no instant it has both, so a crash leaves no second copy.
pub(crate) fn name_new(temporary: &Path, path: &Path) -> Result<()> {
    let named = rustix::fs::renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE);
    let named = match named {
        // Some network file systems can't. A link, unlike a plain rename, never replaces anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(temporary, path).and_then(|()| fs::remove_file(temporary))
        }
        named => named.map_err(io::Error::from),
    };
    named.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
        _ => Error::Io { action: "create", path: path.to_owned(), source },
    })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = parent(path);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", parent))
}
