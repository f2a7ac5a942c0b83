//! A simulated power cut: processes run under a preloaded library, and afterwards only what they made durable is left.
//!
//! ```text
//! let shim = Shim::build(&scratch)?;                       // compiles the library with `cc`, once
//! let mut child = command.envs(shim.environment(&root, &shadow)?).spawn()?;
//! // ... let it work, kill it (and all others) at a random moment ...
//! restore(&shadow, &fresh)?;                               // what a disk would hold after the power came back
//! ```
//!
//! `root` is one directory that holds the state directories of all processes; `shadow` a directory of its own for each
//! run, outside of `root`. What stands under `root` when the first process starts counts as durable. From then on a
//! file's content counts after fsync or fdatasync of the file, a created, renamed or deleted name after fsync of its
//! directory, and everything after syncfs; see `powercut.c`. Kill every process before [`restore`]. Processes must be
//! linked to libc dynamically.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = include_str!("powercut/powercut.c");
pub(crate) const HEADER_BYTES: u64 = 16;

/// The compiled library.
#[derive(Debug, Clone)]
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Compiles the library into `dir`, which must exist.
    ///
    /// # Errors
    /// If there is no C compiler (`cc`), or it refuses.
    pub fn build(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        let (source, library) = (dir.join("powercut.c"), dir.join("powercut.so"));
        fs::write(&source, SOURCE)?;
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-Wall", "-shared", "-fPIC", "-pthread", "-o"]).arg(&library).arg(&source);
        if !compile.status()?.success() {
            return Err(io::Error::other("cc could not compile powercut.c"));
        }
        Ok(Self { library })
    }

    /// The environment of a process whose changes under `root` are watched; creates `shadow`.
    ///
    /// # Errors
    /// If `root` does not exist, or `shadow` can't be created.
    pub fn environment(&self, root: &Path, shadow: &Path) -> io::Result<[(&'static str, OsString); 3]> {
        fs::create_dir_all(shadow)?;
        Ok([
            ("LD_PRELOAD", self.library.clone().into_os_string()),
            ("RSTUF_POWERCUT_ROOT", root.canonicalize()?.into_os_string()),
            ("RSTUF_POWERCUT_SHADOW", shadow.canonicalize()?.into_os_string()),
        ])
    }
}

/// Writes what was durable under the watched root into `dir`, which is created and must be empty.
///
/// # Errors
/// If the shadow holds no complete log (no process ever ran under it), or a file can't be written.
pub fn restore(shadow: &Path, dir: &Path) -> io::Result<()> {
    let disk = Disk::read(&shadow.join("log"))?;
    fs::create_dir_all(dir)?;
    if fs::read_dir(dir)?.next().is_some() {
        return Err(io::Error::other(format!("{} is not empty", dir.display())));
    }
    let root = disk.root.ok_or_else(|| io::Error::other("log names no root"))?;
    disk.write_dir(root, dir)
}

/// Inode and birth time: inodes are used again at once, so the number alone would give a new file an old one's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity([u64; 3]);

#[derive(Debug)]
struct Entry {
    identity: Identity,
    kind: u8,
    mode: u32,
    name: Vec<u8>,
    link_target: Vec<u8>,
}

/// Everything that is durable, by identity.
#[derive(Debug, Default)]
struct Disk {
    root: Option<Identity>,
    files: HashMap<Identity, (u32, Vec<u8>)>,
    dirs: HashMap<Identity, (u32, Vec<Entry>)>,
}

impl Disk {
    fn read(log: &Path) -> io::Result<Self> {
        let mut file = io::BufReader::with_capacity(1 << 20, fs::File::open(log)?);
        let valid_bytes = u64::from_le_bytes(bytes(&mut file)?);
        if &bytes::<8>(&mut file)? != b"PWRCUT01" || valid_bytes < HEADER_BYTES {
            return Err(io::Error::other(format!("{} is no complete log", log.display())));
        }
        let mut log = file.take(valid_bytes - HEADER_BYTES);
        let mut disk = Self::default();
        while log.limit() > 0 {
            let [kind] = bytes(&mut log)?;
            let length = u64::from_le_bytes(bytes(&mut log)?);
            disk.replay(kind, &mut (&mut log).take(length))?;
        }
        Ok(disk)
    }

    fn replay(&mut self, kind: u8, record: &mut impl Read) -> io::Result<()> {
        let identity = identity(record)?;
        match kind {
            b'R' => self.root = Some(identity),
            b'F' => {
                let (mode, size) = (u32(record)?, u64(record)?);
                let content = vector(record, size)?;
                self.files.insert(identity, (mode, content));
            }
            b'P' => {
                let (mode, size, count) = (u32(record)?, u64(record)?, u32(record)?);
                let unknown = || io::Error::other("log changes a file that it never held");
                let file = self.files.get_mut(&identity).ok_or_else(unknown)?;
                file.0 = mode;
                for _ in 0..count {
                    let (offset, length) = (u64(record)? as usize, u64(record)?);
                    let end = offset + length as usize;
                    if file.1.len() < end {
                        file.1.resize(end, 0);
                    }
                    record.read_exact(&mut file.1[offset..end])?;
                }
                file.1.resize(size as usize, 0);
            }
            b'D' => {
                let (mode, count) = (u32(record)?, u32(record)?);
                let entries = (0..count).map(|_| entry(record)).collect::<io::Result<_>>()?;
                self.dirs.insert(identity, (mode, entries));
            }
            other => return Err(io::Error::other(format!("unknown record {other} in the log"))),
        }
        Ok(())
    }

    /// A file never synced is empty, as is a directory.
    fn write_dir(&self, identity: Identity, path: &Path) -> io::Result<()> {
        let Some((mode, entries)) = self.dirs.get(&identity) else { return Ok(()) };
        for entry in entries {
            let child = path.join(OsStr::from_bytes(&entry.name));
            match entry.kind {
                b'd' => {
                    fs::create_dir(&child)?;
                    fs::set_permissions(&child, fs::Permissions::from_mode(entry.mode))?;
                    self.write_dir(entry.identity, &child)?;
                }
                b'l' => symlink(OsStr::from_bytes(&entry.link_target), &child)?,
                _ => {
                    let (mode, content) = match self.files.get(&entry.identity) {
                        Some((mode, content)) => (*mode, content.as_slice()),
                        None => (entry.mode, &[][..]),
                    };
                    fs::write(&child, content)?;
                    fs::set_permissions(&child, fs::Permissions::from_mode(mode))?;
                }
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))
    }
}

fn entry(record: &mut impl Read) -> io::Result<Entry> {
    let (identity, [kind], mode) = (identity(record)?, bytes(record)?, u32(record)?);
    let name = short(record)?;
    let link_target = if kind == b'l' { short(record)? } else { Vec::new() };
    Ok(Entry { identity, kind, mode, name, link_target })
}

fn bytes<const N: usize>(record: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    record.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u32(record: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_le_bytes(bytes(record)?))
}

fn u64(record: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(bytes(record)?))
}

fn identity(record: &mut impl Read) -> io::Result<Identity> {
    Ok(Identity([u64(record)?, u64(record)?, u64(record)?]))
}

/// Bytes after their 16-bit length.
fn short(record: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u16::from_le_bytes(bytes(record)?);
    vector(record, u64::from(length))
}

fn vector(record: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    record.read_exact(&mut bytes)?;
    Ok(bytes)
}
