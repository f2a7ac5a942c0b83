//! What the work must cost at least on this machine: the durable writes that stand one behind the other, the signatures
//! and the checks, each as often as it is on the path, and each as dear as measured in the same run.
//!
//! Network, scheduling, documents that are made, and all that is only in memory count nothing here. So the ratio of a
//! figure to its floor says how much there is to win.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_tuf::{Envelope, RoleKeys, keys_by_id};

/// Commits of a state store, one behind the other: intake, plan batch, targets signer, journal targets, snapshot
/// signer, timestamp signer, finish. With one fsync each, and two for each file, that is the number of them that strace
/// sees.
const COMMITS: u32 = 7;
/// Of a ceremony: the task, identity and root of three signers, identity and first batch of the coordinator, and those
/// of a batch after its plan.
const COMMITS_CEREMONY: u32 = 1 + 3 * 2 + 2 + COMMITS - 2;
/// Values above this are files of a state store; others are written with the commit.
const LOGGED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Length of a state store's log, roughly: it is written over again and again.
const LOG_BYTES: usize = 1024 * 1024;
/// What a small commit writes into it.
const COMMIT_BYTES: usize = 8 * 1024;
/// Up to here, files are fsynced one by one; for more one `syncfs` is cheaper.
const FSYNC_EACH_MAX: usize = 32;
/// Who checks a document of a bin: the targets signer before it lets it out, the coordinator, the snapshot signer.
const BIN_CHECKS: u32 = 3;
/// Who checks a snapshot: its signer, the coordinator, the timestamp signer.
const SNAPSHOT_CHECKS: u32 = 3;
/// Who checks a timestamp: its signer, the coordinator.
const TIMESTAMP_CHECKS: u32 = 2;
/// Times that each unit is measured; the median counts.
const ROUNDS: usize = 51;

/// What the disk costs under one directory.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Disk {
    /// A commit of the state store: a write into the log and one fsync.
    pub commit: Seconds,
    /// One small file: create, fsync, rename, fsync the directory.
    pub file: Seconds,
    #[serde(skip)]
    folder: std::path::PathBuf,
}

/// A duration, in JSON as seconds.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(into = "f64")]
pub(crate) struct Seconds(pub Duration);

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> Self {
        seconds.0.as_secs_f64()
    }
}

/// One document: its size, and what its signature and a check (parse it strictly, verify the signature) cost.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct DocumentCost {
    /// Its size.
    pub bytes: usize,
    /// To sign it.
    pub sign: Seconds,
    /// To check it.
    pub check: Seconds,
}

/// The parts of a floor.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Floor {
    /// Durable writes.
    pub disk: Seconds,
    /// Signatures and checks.
    pub signing: Seconds,
}

impl Floor {
    /// Both together.
    pub(crate) fn total(&self) -> Duration {
        self.disk.0 + self.signing.0
    }

    /// So many times.
    pub(crate) fn times(self, count: f64) -> Self {
        Self { disk: Seconds(self.disk.0.mul_f64(count)), signing: Seconds(self.signing.0.mul_f64(count)) }
    }
}

/// What one publication consists of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication {
    /// Documents of bins.
    pub bins: usize,
    /// The typical one of them.
    pub bin: DocumentCost,
    /// The snapshot.
    pub snapshot: DocumentCost,
    /// The timestamp.
    pub timestamp: DocumentCost,
    /// Values of the coordinator's journal that are too large for a row: the submission, the plan of the batch, what
    /// was signed, the results; and the answer of the targets signer.
    pub large_rows: u32,
}

impl Publication {
    /// The floor from the call to the visible publication.
    pub(crate) fn floor(&self, disk: &Disk) -> anyhow::Result<Floor> {
        self.with_commits(disk, COMMITS)
    }

    /// The same for the ceremony's.
    pub(crate) fn ceremony_floor(&self, disk: &Disk) -> anyhow::Result<Floor> {
        self.with_commits(disk, COMMITS_CEREMONY)
    }

    fn with_commits(&self, disk: &Disk, commits: u32) -> anyhow::Result<Floor> {
        let kept_as_file = |bytes: usize| usize::from(bytes > LOGGED_BYTES_MAX);
        let published = disk.files(self.bins, self.bin.bytes)?;
        let signer = if kept_as_file(self.bin.bytes) > 0 { published } else { Duration::ZERO };
        // Snapshot and timestamp are published one by one, and the signer keeps its snapshot.
        let single = 2 + u32::try_from(kept_as_file(self.snapshot.bytes))? + self.large_rows;
        let writes = disk.commit.0 * commits + published + signer + disk.file.0 * single;

        let bins = (self.bin.sign.0 + self.bin.check.0 * BIN_CHECKS) * u32::try_from(self.bins)?;
        let cores = u32::try_from(thread::available_parallelism()?.get().min(self.bins.max(1)))?;
        let snapshot = self.snapshot.sign.0 + self.snapshot.check.0 * SNAPSHOT_CHECKS;
        let timestamp = self.timestamp.sign.0 + self.timestamp.check.0 * TIMESTAMP_CHECKS;
        Ok(Floor { disk: Seconds(writes), signing: Seconds(bins / cores + snapshot + timestamp) })
    }
}

impl Disk {
    /// Measures under `folder`, and leaves its files there.
    pub(crate) fn measure(folder: &Path) -> anyhow::Result<Self> {
        let scratch = tempfile::Builder::new().prefix("disk-").tempdir_in(folder)?.keep();
        let mut log = File::create(scratch.join("log"))?;
        log.write_all(&vec![0; LOG_BYTES])?;
        log.sync_all()?;
        let mut writes = (0..LOG_BYTES - COMMIT_BYTES).step_by(COMMIT_BYTES).cycle();
        let commit = median(|| {
            log.seek(SeekFrom::Start(writes.next().unwrap_or_default() as u64))?;
            log.write_all(&[1; COMMIT_BYTES])?;
            Ok(log.sync_data()?)
        })?;
        let mut disk = Self { commit: Seconds(commit), file: Seconds(Duration::ZERO), folder: folder.to_owned() };
        disk.file = Seconds(median(|| write_files(&scratch, 1, 1024))?);
        Ok(disk)
    }

    /// What files of this size cost: written under temporary names, made durable, renamed, the directory fsynced.
    fn files(&self, count: usize, bytes: usize) -> anyhow::Result<Duration> {
        if count == 0 {
            return Ok(Duration::ZERO);
        }
        let scratch = tempfile::Builder::new().prefix("disk-").tempdir_in(&self.folder)?.keep();
        let begun = Instant::now();
        write_files(&scratch, count, bytes)?;
        Ok(begun.elapsed())
    }
}

fn write_files(folder: &Path, count: usize, bytes: usize) -> anyhow::Result<()> {
    let contents = vec![b'x'; bytes];
    let names = || (0..count).map(|number| (folder.join(format!("{number}.new")), folder.join(format!("{number}"))));
    for (temporary, _) in names() {
        let mut file = File::create(temporary)?;
        file.write_all(&contents)?;
        if count <= FSYNC_EACH_MAX {
            file.sync_all()?;
        }
    }
    if count > FSYNC_EACH_MAX {
        rustix::fs::syncfs(File::open(folder)?)?;
    }
    for (temporary, name) in names() {
        fs::rename(temporary, name)?;
    }
    Ok(File::open(folder)?.sync_all()?)
}

/// Measures what a document costs, on its exact bytes but with a key of our own.
pub(crate) fn document(bytes: &Bytes) -> anyhow::Result<DocumentCost> {
    let key = FileKey::generate(&mut SysRng)?;
    let message = Envelope::parse(bytes)?.canonical().to_vec();
    let (keyid, sig) = (key.public_key().key_id(), hex::encode(key.sign(&message)?.sig));
    let signature = format!(r#"{{"signatures":[{{"keyid":"{keyid}","sig":"{sig}"}}],"signed":"#);
    let signed = [signature.as_bytes(), &message, b"}"].concat();
    let keys = keys_by_id([key.public_key().clone()]);
    let role = RoleKeys::new(vec![key.public_key().key_id()], 1)?;
    let sign = median(|| key.sign(&message).map(black_box).map(drop).map_err(Into::into))?;
    let check = median(|| Envelope::parse(&signed)?.verify(&keys, &role).map(black_box).map(drop).map_err(Into::into))?;
    Ok(DocumentCost { bytes: bytes.len(), sign: Seconds(sign), check: Seconds(check) })
}

fn median(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}
