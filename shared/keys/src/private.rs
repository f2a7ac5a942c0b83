//! Files that nobody but their owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Larger files are not read: a key has some hundred bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
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

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", parent))
}
