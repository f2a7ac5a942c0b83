//! What is too much: of a document, of removals, for the memory.

use std::path::Path;

use bytes::Bytes;
use rstuf_signing::testing::*;
use rstuf_targets::ConfigRaw;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_too_large_names_exactly_the_submissions_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let signer = build(dir.path(), 4096).await.unwrap();
    let repo = Repo::pinned(&signer, "flat").await;
    let changes = vec![
        add(1, "a", large(2000)),
        add(2, "b", large(2000)),
        add(3, "c", target(1)),
        add(4, "d", large(4000)),
        remove(5, "a"),
        add(6, "e", large(2000)),
    ];
    let refusal = refused(&signer, repo.request("a", vec![role("targets", None, 1, changes.clone())])).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("DOCUMENT_TOO_LARGE", "2,4"));
    // Without them the rest is signed: one bad submission never blocks the others.
    let rest = changes.into_iter().filter(|change| ![2, 4].contains(&change.submission)).collect();
    let rest = sign(&signer, repo.request("b", vec![role("targets", None, 1, rest)])).await.unwrap();
    assert_eq!(paths(rest["targets"].0.as_ref().unwrap()), ["c", "e"]);
    signer.stop().await;
}

/// A signer that lets a role lose two artifacts in a publication, and the greater of three and a fifth in a day.
async fn careful(dir: &Path) -> Running {
    let signer = config(dir, true);
    let (publication, day) = (Some("2".into()), Some("3 or 20%".into()));
    let raw = ConfigRaw {
        signer,
        removals_per_publication_max: publication,
        removals_per_day_max: day,
        ..ConfigRaw::default()
    };
    build_with(raw).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_removed_than_the_operators_allow() {
    let dir = tempfile::tempdir().unwrap();
    let signer = careful(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let paths: Vec<String> = (0..10).map(|number| format!("a/{number}")).collect();
    let remove = |submission: u32, number: usize| remove(submission, &paths[number]);
    let ask = |name: &str, base: &Bytes, number, changes| {
        repo.request(name, vec![role("targets", (!base.is_empty()).then_some(base), number, changes)])
    };
    let all = paths.iter().map(|path| add(0, path, target(1))).collect();
    let first = sign(&signer, ask("first", &Bytes::new(), 1, all)).await.unwrap()["targets"].0.clone().unwrap();

    // In one publication: the first two submissions are within the bound, and only the third is at fault.
    let three = ask("three", &first, 2, vec![remove(4, 0), remove(5, 1), remove(6, 2)]);
    let refusal = refused(&signer, three).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("TOO_MANY_REMOVALS", "6"));
    // What is put back, or was not there, is no removal.
    let back = vec![
        remove(1, 0),
        remove(1, 1),
        remove(1, 2),
        add(1, &paths[2], target(2)),
        remove(2, 3),
        add(2, &paths[3], target(1)),
    ];
    let two = ask("two", &first, 2, back);
    let second = sign(&signer, two.clone()).await.unwrap()["targets"].0.clone().unwrap();

    // In a day: one more, also after a restart and when much was added meanwhile.
    signer.stop().await;
    let signer = careful(dir.path()).await;
    assert_eq!(sign(&signer, two).await.unwrap()["targets"].0, Some(second.clone()), "the same answer");
    let many = (0..100).map(|number| add(0, &format!("b/{number}"), target(1))).collect();
    let third = sign(&signer, ask("many", &second, 3, many)).await.unwrap()["targets"].0.clone().unwrap();
    let more = |base: &Bytes, name| ask(name, base, 4, vec![remove(0, 4), remove(1, 5)]);
    let refusal = refused(&signer, more(&third, "more")).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["submissions"].as_str()), ("TOO_MANY_REMOVALS", "1"));
    assert_eq!(refusal.metadata["role"], "targets");
    let fourth = sign(&signer, ask("one", &third, 4, vec![remove(0, 4)])).await.unwrap()["targets"].0.clone().unwrap();
    signer.clock.advance(std::time::Duration::from_secs(25 * 3_600));
    // What was removed a day ago counts no more.
    let next_day = ask("next", &fourth, 5, vec![remove(0, 5), remove(1, 6)]);
    sign(&signer, next_day).await.unwrap();
    signer.stop().await;
}

/// What a role loses counts for no other.
#[tokio::test(flavor = "multi_thread")]
async fn removals_of_two_roles_are_counted_apart() {
    let dir = tempfile::tempdir().unwrap();
    let signer = careful(dir.path()).await;
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let of = |bin: &str| (0..).map(|n| format!("p{n}")).filter(|path| repo.role_of(path) == bin).take(5).collect();
    let paths: [(&str, Vec<String>); 2] = ["bins-0", "bins-1"].map(|bin| (bin, of(bin)));
    let add = |(bin, paths): &(&str, Vec<String>)| {
        role(bin, None, 1, paths.iter().map(|path| add(1, path, target(1))).collect())
    };
    let mut last = sign(&signer, repo.request("first", paths.iter().map(add).collect())).await.unwrap();
    let lose = |(bin, paths): &(&str, Vec<String>), base: &Signed, number, lost: std::ops::Range<usize>| {
        role(bin, base[*bin].0.as_deref(), number, paths[lost].iter().map(|path| remove(7, path)).collect())
    };
    // Two of each in one publication; then one more of the first makes three in a day, and leaves the other as many.
    let both = paths.each_ref().map(|of| lose(of, &last, 2, 0..2)).to_vec();
    last = sign(&signer, repo.request("two", both)).await.unwrap();
    let third = |of| lose(of, &last, 3, 2..3);
    let (first, second) = (third(&paths[0]), third(&paths[1]));
    let signed = sign(&signer, repo.request("three", vec![first])).await.unwrap();
    let more = lose(&paths[0], &signed, 4, 3..4);
    let refusal = refused(&signer, repo.request("four", vec![more])).await;
    assert_eq!((refusal.name.as_str(), refusal.metadata["role"].as_str()), ("TOO_MANY_REMOVALS", "bins-0"));
    sign(&signer, repo.request("of-the-other", vec![second])).await.unwrap();
    signer.stop().await;
}

/// Files of a megabyte and more below a directory.
fn bodies(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let count = |path: std::path::PathBuf| match path.is_dir() {
        true => bodies(&path),
        false => usize::from(std::fs::metadata(path).unwrap().len() >= 1 << 20),
    };
    files.map(count).sum()
}

/// Documents that don't fit into memory together are written ahead; what is refused leaves nothing on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn large_documents_are_written_ahead_and_still_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let signer = build(dir.path(), 10 << 20).await.unwrap();
    let repo = Repo::pinned(&signer, "succinct:2").await;
    let fill = |bin: &str, count: usize| -> Vec<_> {
        let paths = (0..).map(|n| format!("{bin}/{n}")).filter(|path| repo.role_of(path) == bin);
        paths.take(count).map(|path| add(1, &path, large(15_000))).collect()
    };
    let bins = ["bins-0", "bins-1"];
    let request = repo.request("a", bins.map(|bin| role(bin, None, 1, fill(bin, 600))).to_vec());
    let first = sign(&signer, request.clone()).await.unwrap();
    let base = |bin: &str| first[bin].0.clone();
    let mut overflow = vec![
        role(bins[0], base(bins[0]).as_deref(), 2, vec![]),
        role(bins[1], base(bins[1]).as_deref(), 2, fill(bins[1], 800)),
    ];
    overflow[0].renew = true;
    assert_eq!(refused(&signer, repo.request("b", overflow)).await.name.as_str(), "DOCUMENT_TOO_LARGE");
    assert_eq!(bodies(&dir.path().join("blobs")), 2, "what was written ahead is gone");
    assert_eq!(sign(&signer, request.clone()).await.unwrap(), first, "the refusal changed nothing");
    signer.stop().await;
    let signer = build(dir.path(), 10 << 20).await.unwrap();
    assert_eq!(sign(&signer, request).await.unwrap(), first);
    signer.stop().await;
}
