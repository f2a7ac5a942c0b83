//! A disk that fills up: refused or failed, never wrong, and usable again when there is space.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{Dice, Suite, model};

/// Blocks of 1 KiB: larger files can't be written by the limited worker. Some bounds meet the backend sooner, some
/// later.
const FILE_KIB_MAX: [u32; 4] = [8, 513, 520, 1100];
/// A worker that never meets its bound is killed after so many steps.
const STEPS_MAX: u64 = 150;
const DISK_MIB: u32 = 12;
const BALLAST_BYTES: usize = 5 << 20;

impl Suite<'_> {
    pub(super) fn full_disk(&self) {
        let mut failures = 0;
        for limit in FILE_KIB_MAX {
            let dir = self.scratch.join(format!("limited-{limit}"));
            let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
            let mut worker = self.worker(&dir, &["bash", "-c", &script, "bash"], &[]);
            worker.wait_for(STEPS_MAX);
            failures += u32::from(worker.end.is_some());
            let acknowledged = if worker.end.is_some() { worker.finish() } else { worker.kill(&mut Dice::new(5)) };
            let last = self.check_survived(&dir, acknowledged, &format!("file limit {limit}"));
            self.goes_on(&dir, last);
        }
        assert!(failures > 0, "no worker met its bound");
        self.in_small_disk();
    }

    /// Runs [`Suite::small_disk`] where a small file system may be mounted; nobody else sees it.
    fn in_small_disk(&self) {
        let dir = self.scratch.join("small-disk");
        fs::create_dir(&dir).unwrap();
        let script = format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs \"$0\" || exit 77; exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &script]).arg(&dir).args(self.arguments());
        command.envs(self.command("full-disk", &dir)).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => {}
            // Not permitted here, as in most containers: the limited files above stand for it.
            Ok(status) if status.code() == Some(77) || status.code() == Some(1) => {}
            other => panic!("small disk: {other:?}"),
        }
    }

    /// In the process that has a small disk at `disk`.
    pub(super) fn small_disk(&self, disk: &Path) {
        let (dir, ballast) = (disk.join("state"), disk.join("ballast"));
        let mut acknowledged = 0;
        for round in 0..3 {
            if round > 0 {
                fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap_or_default();
            }
            let mut worker = self.worker(&dir, &[], &[]);
            worker.wait_for(STEPS_MAX);
            if worker.end.is_none() {
                // Somebody else takes what is left, under the feet of the worker.
                fs::write(disk.join("more"), vec![1; (DISK_MIB as usize) << 20]).unwrap_err();
            }
            acknowledged = worker.finish().max(acknowledged);
            assert!(worker.end.is_some(), "full disk: the worker ended without a word");
            [&ballast, &disk.join("more")].into_iter().for_each(|file| fs::remove_file(file).unwrap_or_default());
            let last = self.check_survived(&dir, acknowledged, &format!("full disk {round}"));
            acknowledged = last;
        }
        self.goes_on(&dir, acknowledged);
    }

    fn goes_on(&self, dir: &Path, last: u64) {
        let store = (self.open)(dir).unwrap();
        model::commit(store.as_ref(), last + 1).unwrap();
        assert_eq!(model::check(store.as_ref(), "with space again"), last + 1);
        store.close().unwrap();
    }
}
