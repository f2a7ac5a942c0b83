#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use rstuf_runtime::Metrics;
use rstuf_tuf::Change;
use uuid::Uuid;

use super::*;
use crate::{
    journal::{
        EncodedChanges, Entry,
        rows::{RolePlan, Standing},
        testing::Disk,
    },
    published::testing::repository,
};

const PARTS: u32 = 30;
const CHANGES_PER_PART: u32 = 10_000;

fn removal(number: u32) -> Change {
    Change::Remove { path: format!("a/path/that/is/as/long/as/most/of/them/are-{number}").parse().unwrap() }
}

/// Two submissions, the second with most of the changes.
async fn journalled(dir: &Path) -> (Arc<Disk>, Journal) {
    let (disk, store) = Disk::open(&dir.join("state"), "part/");
    let journal = Journal::open(store, &Metrics::new("coordinator")).unwrap();
    for (seq, parts) in [(1, 0..1), (2, 1..PARTS)] {
        let task = Uuid::from_u128(seq.into());
        let (mut entry, mut bytes) = (Entry::new(), 0);
        let row = |bytes| SubmissionRow {
            task,
            parts: parts.len() as u32,
            changes: u64::from(CHANGES_PER_PART) * parts.len() as u64,
            bytes,
            hold: false,
            standing: Standing::Trusted,
            trace: None,
        };
        for part in parts.clone() {
            let numbers = part * CHANGES_PER_PART..(part + 1) * CHANGES_PER_PART;
            let changes = EncodedChanges::of(&numbers.map(removal).collect::<Vec<_>>());
            bytes += changes.as_bytes().len() as u64;
            entry.put_part(task, part - parts.start, changes);
        }
        entry.put_submission(seq, &row(bytes));
        journal.commit(entry).await.unwrap();
    }
    (disk, journal)
}

type ByRole = Vec<(RoleName, Vec<(u32, Change)>)>;

fn asked(changes: &Changes, batch: &BatchRow) -> ByRole {
    let mut messages = ByRole::new();
    let counts = changes.request(batch, &Withdrawal::default(), |message| {
        messages.extend(message.read());
        true
    });
    let sent: usize = messages.iter().map(|(_, changes)| changes.len()).sum();
    assert_eq!(counts.unwrap().values().sum::<u64>(), sent as u64);
    messages
}

/// However many changes and roles there are, and however often a signer is asked: planning a batch and asking for it
/// reads each change once; what is asked for is all of them, by role, in order.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_large_batch_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, journal) = journalled(dir.path()).await;
    let repository = Arc::new(repository("succinct:16"));
    let changes = Changes::new(&journal, repository.clone(), &[1, 2]).unwrap();
    let roles: Vec<RolePlan> = changes.count().unwrap().keys().map(|role| RolePlan::first(role.as_str())).collect();
    assert_eq!(roles.len(), 16);
    let batch = BatchRow {
        id: Uuid::from_u128(3),
        submissions: vec![1, 2],
        publishes: Vec::new(),
        roles,
        offline: Vec::new(),
        refusals: 0,
        applied: None,
        signed: None,
    };
    let messages = asked(&changes, &batch);
    assert!(asked(&changes, &batch) == messages, "asked again, it is another request");
    assert_eq!(disk.reads(), PARTS as usize);

    let mut expected: BTreeMap<RoleName, Vec<(u32, Change)>> = BTreeMap::new();
    for number in 0..PARTS * CHANGES_PER_PART {
        let change = removal(number);
        let submission = u32::from(number >= CHANGES_PER_PART);
        expected.entry(repository.role_for(change.path())).or_default().push((submission, change));
    }
    let mut got: BTreeMap<RoleName, Vec<(u32, Change)>> = BTreeMap::new();
    for (role, changes) in messages {
        got.entry(role).or_default().extend(changes);
    }
    assert!(got == expected, "changes are lost, or out of order");
}
