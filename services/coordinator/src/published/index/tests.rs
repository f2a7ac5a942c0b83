#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use rstuf_runtime::{Metrics, Readiness};
use rstuf_store::{Options, Store};
use rstuf_tuf::{Hashes, Sha256};

use super::*;
use crate::{
    journal::{Journal, rows::PublicationRow},
    published::testing::OneDocument,
};

/// Bytes in memory in these tests: a few records.
const ROOM: usize = 1_024;

type Model = BTreeMap<TargetPath, Target>;

fn path(text: &str) -> TargetPath {
    text.try_into().unwrap()
}

fn target(content: u64) -> Target {
    Target::new(content, Hashes::sha256(Sha256::of(&content.to_be_bytes())), None).unwrap()
}

fn empty(folder: &std::path::Path) -> Index {
    let index = Index::with_room_for(ROOM, folder.to_owned());
    index.lock().complete = true;
    index
}

/// What is at paths now, as one publication.
fn publish<'a>(index: &Index, changes: impl IntoIterator<Item = (&'a TargetPath, Option<Target>)>) {
    let mut update = index.update();
    changes.into_iter().for_each(|(path, target)| update.put(path, target.as_ref()));
    index.install(index.prepare(update));
}

/// All pages one after the other.
fn pages(index: &Index, prefix: &str, pattern: Option<&str>, limit: usize) -> Vec<(TargetPath, Target)> {
    let pattern = pattern.map(|pattern| pattern.parse().unwrap());
    let mut query = Query { prefix: prefix.to_owned(), pattern, after: None, limit };
    let mut all = Vec::new();
    loop {
        let found = index.view().unwrap().page(&query, usize::MAX).unwrap();
        assert!(found.artifacts.len() <= limit);
        all.extend(found.artifacts);
        match found.more_after {
            Some(after) => {
                assert!(query.after.as_ref() < Some(&after), "a page ends where it began");
                query.after = Some(after);
            }
            None => return all,
        }
    }
}

fn paths() -> impl Strategy<Value = TargetPath> {
    ("(a|ab|b|\u{fc})", 0..40_u32).prop_map(|(folder, number)| path(&format!("{folder}/{number:02}")))
}

/// Changes, and whether files are merged after them.
type Publication = (Vec<(TargetPath, Option<u64>)>, bool);

fn publications() -> impl Strategy<Value = Vec<Publication>> {
    let change = (paths(), proptest::option::of(0..9_u64));
    let publication = (proptest::collection::vec(change, 0..30), any::<bool>());
    proptest::collection::vec(publication, 1..20)
}

proptest! {
    /// Against a plain map: every page of every prefix, and every path, over any publications with merges in between.
    #[test]
    fn tells_what_a_plain_map_would(publications in publications(), limit in 1..20_usize) {
        let folder = tempfile::tempdir().unwrap();
        let (index, mut model) = (empty(folder.path()), Model::new());
        for (changes, merged) in publications {
            for (path, content) in &changes {
                match content {
                    Some(content) => model.insert(path.clone(), target(*content)),
                    None => model.remove(path),
                };
            }
            publish(&index, changes.iter().map(|(path, content)| (path, content.map(target))));
            while merged && index.merge(&Shutdown::new()).unwrap() {}
        }
        let wanted = |wanted: &dyn Fn(&str) -> bool| -> Vec<_> {
            model.clone().into_iter().filter(|(path, _)| wanted(path.as_str())).collect()
        };
        for prefix in ["", "a", "a/", "ab/1", "b/3", "c", "\u{fc}/"] {
            prop_assert_eq!(pages(&index, prefix, None, limit), wanted(&|path| path.starts_with(prefix)));
        }
        prop_assert_eq!(pages(&index, "", Some("*/?7"), limit), wanted(&|path| path.ends_with('7')));
        for number in 0..40 {
            let path = path(&format!("ab/{number:02}"));
            prop_assert_eq!(index.view().unwrap().get(&path).unwrap(), model.get(&path).cloned());
        }
    }
}

/// However much is published, at once or by and by, what is in memory is bounded, and files are few.
#[test]
fn memory_is_bounded_in_bytes_and_files_in_number() {
    let folder = tempfile::tempdir().unwrap();
    let index = empty(folder.path());
    let names: Vec<_> = (0..600).map(|number| path(&format!("{:04}", number * 7 % 600))).collect();
    for some in names.chunks(200) {
        publish(&index, some.iter().map(|path| (path, Some(target(1)))));
        for path in some {
            publish(&index, [(path, Some(target(2)))]);
            while index.merge(&Shutdown::new()).unwrap() {}
            let state = index.lock();
            assert!(state.recent.iter().map(|run| run.bytes()).sum::<usize>() <= ROOM);
            assert!(state.recent.len() <= 10 && state.segments.len() <= 16, "{}", state.segments.len());
        }
    }
    publish(&index, names.iter().map(|path| (path, None)));
    while index.merge(&Shutdown::new()).unwrap() {}
    assert_eq!(pages(&index, "", None, 7), []);
}

/// A path goes and another comes in each publication: whoever reads meanwhile sees one of them, never both or none.
#[test]
fn a_page_is_of_one_publication() {
    let folder = tempfile::tempdir().unwrap();
    let index = empty(folder.path());
    let name = |number: u32| path(&format!("{number:03}"));
    publish(&index, [(&name(0), Some(target(0)))]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::Acquire) {
                    let query = Query { limit: 10, ..Query::default() };
                    let found = index.view().unwrap().page(&query, usize::MAX).unwrap();
                    assert_eq!(found.artifacts.len(), 1);
                }
            });
        }
        // Files are merged beside whoever publishes.
        scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                index.merge(&Shutdown::new()).unwrap();
            }
        });
        let _ends = Ends(&ended);
        for number in 1..400 {
            let large = (0..40).map(|_| (name(number), Some(target(1)))).collect::<Vec<_>>();
            let changes = large.iter().map(|(path, target)| (path, target.clone()));
            publish(&index, changes.chain([(&name(number - 1), None)]));
        }
    });
}

/// While files are merged, however large, publications are shown.
#[test]
fn nobody_who_publishes_waits_for_a_merge() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::new(folder.path().to_owned());
    index.lock().complete = true;
    for part in 0..4 {
        let large: Vec<_> = (0..20_000).map(|number| path(&format!("{part}/{number:05}"))).collect();
        let mut update = index.update();
        large.iter().for_each(|path| update.put(path, Some(&target(1))));
        let mut state = index.lock();
        state.segments.extend(update.into_segments().unwrap());
    }
    // Odd while it goes on.
    let (turns, shown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let turn = || turns.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            turns.fetch_add(1, Ordering::SeqCst);
            assert!(index.merge(&Shutdown::new()).unwrap());
            turns.fetch_add(1, Ordering::SeqCst);
        });
        while turn() < 2 {
            let before = turn();
            publish(&index, [(&path("a"), Some(target(2)))]);
            index.view().unwrap();
            shown.fetch_add(usize::from((before, turn()) == (1, 1)), Ordering::SeqCst);
        }
    });
    // Those that were shown before it got to work are few.
    assert!(shown.into_inner() > 100);
}

/// Whoever waits for this learns of the end, also where that is a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What changes from one document to the next, where nobody says so.
#[test]
fn what_documents_change_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let index = empty(folder.path());
    let document = |contents: [u64; 3]| -> Model {
        let all = ["a", "b", "c"].into_iter().zip(contents).filter(|(_, content)| *content > 0);
        all.map(|(name, content)| (path(name), target(content))).collect()
    };
    let mut old = Model::new();
    for contents in [[1, 1, 0], [1, 2, 3], [0, 2, 0], [0, 0, 0], [4, 0, 4]] {
        let new = document(contents);
        let mut update = index.update();
        put_difference(&old, &new, &mut update);
        index.install(index.prepare(update));
        assert_eq!(pages(&index, "", None, 2), new.clone().into_iter().collect::<Vec<_>>());
        old = new;
    }
}

/// Where there is no room for an update, nobody is told what is no longer so: the list is read again.
#[test]
fn a_list_that_cannot_be_kept_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let index = empty(folder.path());
    drop(folder);
    publish(&index, [(&path("a"), Some(target(1)))]);
    assert_eq!(pages(&index, "", None, 7).len(), 1, "it is small enough for memory");
    publish(
        &index,
        (0..40).map(|number| path(&format!("{number}"))).collect::<Vec<_>>().iter().map(|path| (path, None)),
    );
    assert!(matches!(index.view(), Err(Error::IndexNotReady)));
}

/// What does not match costs too, so a page ends early, and says where to go on.
#[test]
fn a_page_ends_early_where_little_matches_or_much_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let index = Index::new(folder.path().to_owned());
    index.lock().complete = true;
    let names: Vec<_> = (0..60_000).map(|number| path(&format!("{number:05}"))).collect();
    publish(&index, names.iter().map(|path| (path, Some(target(1)))));
    let pattern = Some("599*".parse().unwrap());
    let found = index.view().unwrap().page(&Query { pattern, limit: 10, ..Query::default() }, usize::MAX).unwrap();
    assert_eq!((found.artifacts.len(), found.more_after), (0, Some(path("49999"))));
    let found = index.view().unwrap().page(&Query { limit: 1_000, ..Query::default() }, 1_000).unwrap();
    assert!((1..20).contains(&found.artifacts.len()) && found.more_after.is_some());
    assert_eq!(pages(&index, "", Some("599*"), 7).len(), 100);
}

/// Where there is no room for the list, that is said, and what is published is not read again and again for it; where
/// there is, it is there soon, and nothing is said any more.
#[tokio::test(start_paused = true)]
async fn a_list_without_room_is_said_and_read_seldom() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Arc::new(OneDocument::read_at_will());
    let store = Store::open(Options::new(dir.path().join("state"), "coordinator")).unwrap();
    let journal = Journal::open(store, &Metrics::new("coordinator")).unwrap();
    let published = Published::load(&journal, publisher.clone()).unwrap();
    published.advance(PublicationRow::default(), publisher.rows());

    let (folder, shutdown) = (dir.path().join("not there"), Shutdown::new());
    let (index, troubles) = (Index::new(folder.clone()), Troubles::new(Readiness::new(shutdown.clone())));
    let keep = {
        let (index, troubles, shutdown) = (index.clone(), troubles.clone(), shutdown.clone());
        tokio::spawn(async move { index.run(&published, &troubles, shutdown).await })
    };
    index.set_caught_up();
    let hour = Duration::from_secs(3_600);
    tokio::time::sleep(hour).await;
    let standing = troubles.standing();
    assert!(standing.len() == 1 && standing[0].starts_with("error: the list of artifacts waits"), "{standing:?}");
    let before = publisher.reads();
    tokio::time::sleep(hour).await;
    let reads = publisher.reads() - before;
    assert!((12..120).contains(&reads), "{reads} in an hour");
    assert!(matches!(index.view(), Err(Error::IndexNotReady)));

    std::fs::create_dir(folder).unwrap();
    let listed = async {
        while index.view().is_err() || !troubles.standing().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(2 * DELAY_MAX, listed).await.unwrap();
    assert_eq!(pages(&index, "", None, 7), [(path("a"), target(1))]);
    keep.abort();
}
