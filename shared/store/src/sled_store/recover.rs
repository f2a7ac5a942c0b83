//! A start after a sudden end.

use std::{collections::BTreeMap, io, path::Path};

use crate::{
    Error, Result,
    blobs::{Blobs, Source},
    files,
    head::Head,
    ledger::damaged,
    pending,
    record::Record,
    row::{self, Value},
    rows::Rows,
};

/// Moves what is left in the log down to the rows, as if it had been moved at once. Where the disk refuses, it is tried
/// again by the next start: nothing is lost.
pub(super) fn move_down(dir: &Path, left: Vec<Record>, rows: &Rows, blobs: &Blobs, head: &mut Head) -> Result<()> {
    let action = "move the log to the rows of";
    let refused =
        |error: io::Error| files::no_space(&error, dir, 0, 0).unwrap_or_else(|| Error::io(action, dir, error));
    let Some(sum) = left.last().map(|record| record.sum) else { return Ok(()) };
    let (mut changes, mut values) = (BTreeMap::new(), BTreeMap::new());
    for record in left {
        changes.extend(record.changes);
        values.extend(record.values.into_iter().map(|value| (row::digest(&value), value)));
    }
    let mut needed = BTreeMap::new();
    for (key, row) in &changes {
        let value = row.as_ref().map(|row| Value::decode(key, row).ok_or_else(|| Error::corrupt(dir, damaged(key))));
        let value = value.transpose()?;
        if let Some(Value::Blob(digest)) = value
            && let Some(value) = values.get(&digest)
        {
            needed.insert(digest, Source::Value(value));
        }
    }
    blobs.write(&needed).map_err(refused)?;
    let applied = pending::apply(rows, changes.into_iter().collect(), &sum);
    applied.map_err(|reason| refused(io::Error::other(reason)))?;
    let generation = head.entry().generation;
    // Both slots, so that either may be damaged later: the log begins anew.
    for _ in 0..2 {
        head.advance(generation, sum).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use crate::{Batch, Error, Options, StateStore as _, head::Sum, log::Log, row, sled_store::SledStore};

    const PAGE_BYTES: usize = 4096;

    /// A copy of a commit as a caller would make it that knows everything but what is random.
    fn forged(commit: u64) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        Log::create(dir.path(), 8 * PAGE_BYTES).unwrap();
        let (mut log, _) = Log::open(dir.path(), 0).unwrap();
        let change = (b"uforged".to_vec(), Some(b"row".to_vec()));
        log.append(&Sum { commit, ..Sum::default() }, std::iter::empty(), &[change]).unwrap();
        fs::read(dir.path().join("log")).unwrap()[2 * PAGE_BYTES..][..PAGE_BYTES].to_vec()
    }

    /// What the disk refuses while the log is moved down is no damage: it is told as it is, and done by a later start.
    #[test]
    fn what_the_disk_refuses_is_no_damage() {
        let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |dir: &Path| SledStore::open(Options::new(dir, "test").free_bytes_min(0));
        let (store, value) = (open(dir.path()).unwrap(), vec![5; 20_000]);
        store.commit(Batch::new().put("large", value.as_slice())).unwrap();
        let dead = scratch.path().join("dead");
        assert!(Command::new("cp").arg("-a").args([dir.path(), &dead]).status().unwrap().success());
        let in_the_way = dead.join("blobs").join(format!("{}.new", hex::encode(row::digest(&value))));
        fs::create_dir(&in_the_way).unwrap();
        let refused = open(&dead);
        assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
        fs::remove_dir(&in_the_way).unwrap();
        assert_eq!(open(&dead).unwrap().get(b"large").unwrap(), Some(value));
    }

    /// Large values stand in the log as they are, so pages begin with bytes of callers' choice. They are no commits,
    /// neither while they stand there nor when they are left over.
    #[test]
    fn nothing_that_callers_write_passes_for_a_commit() {
        for commit in [3, u64::MAX] {
            let dir = tempfile::tempdir().unwrap();
            let open = || SledStore::open(Options::new(dir.path(), "test").free_bytes_min(0));
            let store = open().unwrap();
            let marked = [b"here it begins".as_slice(), &[7; 10_000]].concat();
            store.commit(Batch::new().put("value", marked.as_slice())).unwrap();
            let log = fs::read(dir.path().join("log")).unwrap();
            let begin = log.windows(14).position(|bytes| bytes == b"here it begins").unwrap() % PAGE_BYTES;
            let value = [vec![7; PAGE_BYTES - begin], forged(commit).repeat(64)].concat();
            store.commit(Batch::new().put("value", value.as_slice())).unwrap();
            let log = fs::read(dir.path().join("log")).unwrap();
            let at_begin = log.chunks(PAGE_BYTES).filter(|page| page[..8] == value[PAGE_BYTES - begin..][..8]).count();
            assert!(at_begin > 64, "forged copies stand at the beginning of {at_begin} pages");
            store.close().unwrap();
            for _ in 0..2 {
                let store = open().unwrap();
                assert_eq!(store.verify().unwrap().rows, 1);
                assert_eq!((store.get(b"value").unwrap(), store.get(b"forged").unwrap()), (Some(value.clone()), None));
                store.close().unwrap();
            }
        }
    }
}
