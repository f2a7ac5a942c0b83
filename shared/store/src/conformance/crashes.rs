//! Sudden ends: kill -9, and power cuts in which only what was made durable survives.

use std::path::{Path, PathBuf};

use super::{Dice, Suite, model};
use crate::powercut::{self, Shim};

const KILL_ROUNDS: u64 = 25;
const POWER_CUT_ROUNDS: u64 = 50;
/// Each so many rounds begins with nothing, and is cut while the state is created.
const FRESH_ROUNDS: u64 = 5;

impl Suite<'_> {
    pub(super) fn kills(&self) {
        let dir = self.scratch.join("kills");
        let mut dice = Dice::new(1);
        let mut last = 0;
        for round in 0..KILL_ROUNDS {
            let mut worker = self.worker(&dir, &[], &[]);
            worker.wait_for(dice.below(40));
            let acknowledged = worker.kill(&mut dice);
            last = self.check_survived(&dir, acknowledged.max(last), &format!("kill {round}"));
        }
    }

    pub(super) fn power_cuts(&self) {
        let shim = Shim::build(self.scratch).unwrap();
        let mut dice = Dice::new(2);
        let (mut root, mut last): (Option<PathBuf>, u64) = (None, 0);
        for round in 0..POWER_CUT_ROUNDS {
            let fresh = round % FRESH_ROUNDS == 0;
            let before = match root.take() {
                Some(root) if !fresh => root,
                _ => {
                    last = 0;
                    self.empty_root(&format!("cut-{round}-empty"))
                }
            };
            let (shadow, after) =
                (self.scratch.join(format!("cut-{round}-shadow")), self.scratch.join(format!("cut-{round}")));
            let environment = shim.environment(&before, &shadow).unwrap();
            let mut worker = self.worker(&before.join("state"), &[], &environment);
            worker.wait_for(if fresh { dice.below(3) } else { 1 + dice.below(40) });
            let acknowledged = worker.kill(&mut dice);
            if std::fs::metadata(shadow.join("log")).map_or(0, |log| log.len()) < powercut::HEADER_BYTES {
                // Killed before the library was loaded, or while it was.
                continue;
            }
            match powercut::restore(&shadow, &after) {
                Ok(()) => {}
                // Killed while the library began its log, which names no root yet: nothing was written.
                Err(_) if acknowledged == 0 => continue,
                Err(error) => panic!("power cut {round}: {error}"),
            }
            last = self.check_survived(&after.join("state"), acknowledged.max(last), &format!("power cut {round}"));
            std::fs::remove_dir_all(&before).unwrap();
            std::fs::remove_dir_all(&shadow).unwrap();
            root = Some(after);
        }
    }

    fn empty_root(&self, name: &str) -> PathBuf {
        let root = self.scratch.join(name);
        std::fs::create_dir(&root).unwrap();
        root
    }

    /// Everything acknowledged is there, at most the one step behind it as well, and each as a whole.
    pub(super) fn check_survived(&self, dir: &Path, acknowledged: u64, what: &str) -> u64 {
        let store = (self.open)(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        let last = model::check(store.as_ref(), what);
        let expected = acknowledged..=acknowledged + 1;
        assert!(expected.contains(&last), "{what}: {acknowledged} was acknowledged, {last} is there");
        store.close().unwrap();
        last
    }
}
