//! How what changes did is kept.

use std::fs;

use rstuf_api::proto::tasks::v1::Outcome;
use rstuf_store::{Batch, Options, Store};

use crate::support::*;

/// As they are kept, and as the last format kept them: a letter each. They come in as many messages as they fill.
#[tokio::test(flavor = "multi_thread")]
async fn many_equal_outcomes_are_a_few_bytes_and_read_from_letters_too() {
    const CHANGES: usize = 200_001;
    let dir = tempfile::tempdir().unwrap();
    let signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let parts = vec![vec![remove(1, "a"); 10_000]; 20].into_iter().chain([vec![remove(1, "a")]]);
    let mut roles: Vec<_> = parts.map(|changes| role("targets", None, 1, changes)).collect();
    roles.iter_mut().skip(1).for_each(|more| more.revision = None);
    roles[0].renew = true;
    let request = repo.request("a", roles);
    let signed = sign(&signer, request.clone()).await.unwrap();
    assert_eq!(signed["targets"].1, vec![Outcome::NotFound; CHANGES]);
    signer.stop().await;

    let written = format!("\"N{CHANGES}\"");
    for other in [format!("\"{}\"", "N".repeat(CHANGES)), "\"N0\"".to_owned()] {
        let store = Store::open(Options::new(dir.path(), "targets")).unwrap();
        let (name, row) = store.scan("answer/", None, 2).unwrap().remove(0);
        let row = String::from_utf8(row).unwrap();
        assert!(row.contains(&written), "{row:.300}");
        store.commit(Batch::new().put(name.clone(), row.replace(&written, &other))).await.unwrap();
        store.close().await.unwrap();
        let format = dir.path().join("format.json");
        fs::write(&format, r#"{"format":2,"kind":"targets"}"#).unwrap();
        let signer = start(dir.path()).await;
        match sign(&signer, request.clone()).await {
            Ok(again) => assert!(again == signed && other.len() > CHANGES, "another answer"),
            Err(status) => assert!(other == "\"N0\"", "{status:?}"),
        }
        signer.stop().await;
        assert!(!fs::read_to_string(&format).unwrap().contains(":2"), "older releases refuse it");
        let store = Store::open(Options::new(dir.path(), "targets")).unwrap();
        store.commit(Batch::new().put(name, row)).await.unwrap();
        store.close().await.unwrap();
    }
}
