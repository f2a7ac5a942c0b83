//! The `rows-N` directories: the first one, a copy into the next one, and the end of those that do not count any more.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result, files,
    head::{Entry, Head, Sum},
    log::Log,
    rows::{Change, OpenError, Outcome, Rows},
};

/// The row that holds what the other rows add up to; it has no checksum of its own, as it must agree with them.
pub(crate) const SUM_KEY: &[u8] = b"s";
/// Rows copied by one batch when a generation is moved.
const MOVE_ROWS: usize = 1024;

/// The first generation, the log and the head. Nothing was acknowledged before the head is there.
pub(crate) fn create_state(dir: &Path, log_bytes: usize) -> Result<Head> {
    let target = generation_dir(dir, 0);
    if target.exists() {
        let rows = Rows::open(&target).map_err(|e| e.of(dir, &target))?;
        let sum = rows.get(SUM_KEY).and_then(|row| rows.close().map(|()| row));
        let sum = sum.map_err(|reason| Error::corrupt(dir, reason))?.and_then(|row| Sum::decode(&row));
        if sum != Some(Sum::default()) {
            return Err(Error::corrupt(dir, "there are rows, but no head file"));
        }
    } else {
        let building = dir.join("rows.new");
        if building.exists() {
            fs::remove_dir_all(&building).map_err(|e| Error::io("delete", &building, e))?;
        }
        create_rows(&building).map_err(|e| e.of(dir, &building))?;
        fs::rename(&building, &target).map_err(|e| Error::io("rename", &building, e))?;
    }
    files::create_dir(&dir.join("blobs"))?;
    Log::create(dir, log_bytes)?;
    files::sync_dir(dir)?;
    Head::create(&dir.join("head"), Entry::default())
}

pub(crate) fn create_rows(dir: &Path) -> std::result::Result<(), OpenError> {
    let rows = Rows::open(dir)?;
    rows.commit(vec![(SUM_KEY.to_vec(), Some(Sum::default().encode().to_vec()))])?;
    Ok(rows.close()?)
}

/// Copies every row into a fresh, durable database.
pub(crate) fn copy_rows(old: &Rows, target: &Path) -> Outcome<Rows> {
    if target.exists() {
        fs::remove_dir_all(target).map_err(|e| format!("can't delete {}: {e}", target.display()))?;
    }
    let fresh = Rows::open(target).map_err(|e| format!("can't create {}: {e:?}", target.display()))?;
    let mut waiting: Vec<Change> = Vec::with_capacity(MOVE_ROWS);
    for row in old.range(b"", None)? {
        let (key, row) = row?;
        waiting.push((key.to_vec(), Some(row.to_vec())));
        if waiting.len() == MOVE_ROWS {
            fresh.apply(std::mem::take(&mut waiting))?;
        }
    }
    fresh.commit(waiting)?;
    files::sync_dir(target).map_err(|e| e.to_string())?;
    Ok(fresh)
}

pub(crate) fn generation_dir(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("rows-{generation}"))
}

/// Deletes generations that do not count any more, or never did.
pub(crate) fn remove_other_generations(dir: &Path, current: &Path) -> Result<()> {
    for path in files::entries(dir)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path != current && (name.starts_with("rows-") || name == "rows.new") {
            fs::remove_dir_all(&path).map_err(|e| Error::io("delete", &path, e))?;
        }
    }
    Ok(())
}
