//! Flipped bits, zeroed pages, cut files: refused at open or at a read, never other bytes and never a row less.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Dice, Suite, model};

const ROUNDS: u64 = 120;
const STEPS: u64 = 45;
const PAGE_BYTES: usize = 4096;

impl Suite<'_> {
    pub(super) fn damage(&self) {
        let (closed, dead) = (self.scratch.join("damage-closed"), self.scratch.join("damage-dead"));
        let store = (self.open)(&closed).unwrap();
        (1..=STEPS).for_each(|step| model::commit(store.as_ref(), step).unwrap());
        // As it would be found if the process had died here.
        copy_tree(&closed, &dead);
        store.close().unwrap();
        drop(store);
        let expected = model::state(STEPS);
        let mut dice = Dice::new(3);
        for good in [closed, dead] {
            let mut refused = 0;
            for round in 0..ROUNDS {
                let copy = self.scratch.join("damage-copy").join(round.to_string());
                let mut files = copy_tree(&good, &copy);
                // Two thirds of the damage go to the largest files, which are likely to hold the rows.
                files.sort_by_key(|file| Reverse(fs::metadata(file).map_or(0, |metadata| metadata.len())));
                let any = dice.below(files.len() as u64) as usize;
                let what = hurt(&files[[0, 1, any][round as usize % 3]], &mut dice);
                let what = format!("{}, round {round}, {what}", good.display());
                refused += u64::from(!self.reads_true(&copy, &expected, &what));
                fs::remove_dir_all(&copy).unwrap();
            }
            // What was not closed has little in its rows yet.
            let least = if good.ends_with("damage-closed") { ROUNDS / 6 } else { 1 };
            assert!(refused >= least, "only {refused} of {ROUNDS} damages to {} were noticed at all", good.display());
        }
    }

    /// Whether everything could be read; what could be read must be what was written.
    fn reads_true(&self, dir: &Path, expected: &BTreeMap<Vec<u8>, Vec<u8>>, what: &str) -> bool {
        let Ok(store) = (self.open)(dir) else { return false };
        let mut whole = store.verify().is_ok();
        for (key, value) in expected {
            match store.get(key) {
                Ok(found) => assert!(found.as_ref() == Some(value), "{what}: another value is read"),
                Err(_) => whole = false,
            }
        }
        let mut found = BTreeMap::new();
        let exported = store.export(&mut |key, value| {
            found.insert(key.to_vec(), value.to_vec());
            Ok(())
        });
        match exported {
            Ok(()) => assert!(found == *expected, "{what}: other rows are read"),
            Err(_) => whole = false,
        }
        whole
    }
}

/// Damages one file.
fn hurt(file: &Path, dice: &mut Dice) -> String {
    let mut bytes = fs::read(file).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() {
        return "nothing to damage".to_owned();
    }
    let at = used[dice.below(used.len() as u64) as usize];
    let what = match dice.below(4) {
        0 => {
            let page = at / PAGE_BYTES * PAGE_BYTES;
            let end = bytes.len().min(page + PAGE_BYTES);
            bytes[page..end].fill(0);
            "zeroed page"
        }
        1 => {
            bytes.truncate(at);
            "cut"
        }
        _ => {
            bytes[at] ^= 1 << dice.below(8);
            "flipped bit"
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{what} at byte {at} of {}", file.display())
}

/// Copies a directory, and names the copied files that hold something.
fn copy_tree(from: &Path, to: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(to).unwrap();
    let mut files = Vec::new();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            files.extend(copy_tree(&path, &target));
        } else if fs::copy(&path, &target).unwrap() > 0 {
            files.push(target);
        }
    }
    files
}
