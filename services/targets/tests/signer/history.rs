//! Whatever is asked, in whatever order.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use rstuf_api::proto::signer::v1::sign_targets_request::Part;
use rstuf_tuf::Envelope;

use crate::support::*;

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// Ask with a base (of the documents so far; beyond them none), a version and an artifact.
    Sign {
        base: usize,
        version: u32,
        artifact: u64,
    },
    /// Ask one of the earlier requests again.
    Again(usize),
    /// Hand over one of the documents so far, or one that the own key never signed.
    Load(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize, 1..12_u32, 0..3_u64)
            .prop_map(|(base, version, artifact)| Step::Sign { base, version, artifact }),
        3 => any::<usize>().prop_map(Step::Again),
        1 => any::<usize>().prop_map(Step::Load),
        1 => Just(Step::Restart),
    ]
}

/// Whatever is asked in whatever order: neither base nor watermark falls, and no version has two contents.
async fn history(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut signer = start(dir.path()).await;
    let repo = Repo::pinned(&signer, "flat").await;
    let (mut documents, mut requests): (Vec<Bytes>, Vec<Vec<Part>>) = (Vec::new(), Vec::new());
    let mut by_version: BTreeMap<u32, Bytes> = BTreeMap::new();
    let mut highest = (0, 0);
    for (number, step) in steps.into_iter().enumerate() {
        let request = match step {
            Step::Sign { base, version, artifact } => {
                // Mostly the newest documents, so that some requests are right.
                let base = documents.iter().rev().nth(base).cloned();
                let changes = vec![add(1, "path", target(artifact))];
                let mut changes = role("targets", base.as_deref(), version, changes);
                changes.renew = artifact == 0;
                Some(repo.request(&format!("batch-{number}"), vec![changes]))
            }
            Step::Again(index) => (!requests.is_empty()).then(|| requests[index % requests.len()].clone()),
            Step::Load(index) => {
                if let Some(document) = documents.get(index % documents.len().max(1)) {
                    let _ = load(&signer, "targets", document).await;
                }
                None
            }
            Step::Restart => {
                signer.stop().await;
                signer = start(dir.path()).await;
                None
            }
        };
        if let Some(request) = request {
            requests.push(request.clone());
            if let Ok(signed) = sign(&signer, request).await
                && let Some(document) = signed["targets"].0.clone()
            {
                let version = Envelope::parse(&document).unwrap().version().get();
                let known = by_version.entry(version).or_insert_with(|| document.clone());
                assert_eq!(*known, document, "two contents of version {version}");
                documents.push(document);
            }
        }
        let now = signer.role_states().await.get("targets").copied().unwrap_or_default();
        assert!(now.0 >= highest.0 && now.1 >= highest.1, "{now:?} after {highest:?}");
        highest = now;
    }
    let signed = by_version.keys().next_back().copied().unwrap_or(0);
    assert_eq!(highest.1, signed, "the watermark is the highest version that was let out");
    signer.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_makes_a_version_twice(steps in prop::collection::vec(step(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}
