//! Changes to one path take effect in the order in which they were acknowledged, whatever is batched, held or
//! restarted.

use std::collections::BTreeMap;

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};
use rstuf_api::proto::artifacts::v1 as proto;
use rstuf_tests::client::removal;

use crate::scene::Scene;

const SUBMISSIONS: usize = 150;
const PATHS: usize = 12;

/// What is submitted without waiting, at random: additions and removals of a few paths, some held, some published at
/// once, with restarts between. In the end every path is as its last change says.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_of_a_path_wins() -> anyhow::Result<()> {
    let seed: u64 = rand::rng().random();
    play(seed).await.with_context(|| format!("seed {seed}"))
}

async fn play(seed: u64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::start("prefix:4").await?;
    let mut tasks: Vec<(String, Vec<String>)> = Vec::new();
    for number in 0..SUBMISSIONS {
        let client = scene.client();
        let mut changes = BTreeMap::new();
        for path in (0..PATHS).sample(&mut random, 3).into_iter().take(random.random_range(1..=3)) {
            let (path, bytes) = (format!("path/{path}"), number.to_string().into_bytes());
            let add = random.random_bool(0.7);
            let change = if add { client.file(&path, &bytes)? } else { removal(&path) };
            scene.expected.insert(path.clone(), add.then_some(bytes));
            changes.insert(path, change);
        }
        let (paths, changes) = (changes.keys().cloned().collect(), changes.into_values().collect());
        let hold = random.random_bool(0.3);
        let request = proto::SubmitArtifactsRequest { changes, hold, ..Default::default() };
        let task = client.artifacts().submit_artifacts(request).await?.into_inner().task.context("no task")?;
        tasks.push((task.id, paths));
        if random.random_bool(0.05) {
            client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
        }
        if number % 50 == 49 {
            scene.repo.restart().await?;
        }
    }
    let client = scene.client();
    let publish = client.artifacts().publish_artifacts(proto::PublishArtifactsRequest::default()).await?;
    client.done(&publish.into_inner().task.context("no task")?.id).await?;
    // A change that found nothing to do names no publication; the others of a path rise with the order.
    let mut visible: BTreeMap<String, u64> = BTreeMap::new();
    for (id, paths) in tasks {
        let publication = client.done(&id).await?.publication;
        for path in paths.into_iter().filter(|_| publication > 0) {
            let before = visible.insert(path.clone(), publication).unwrap_or(0);
            anyhow::ensure!(before <= publication, "{path} of {id}: publication {publication} after {before}");
        }
    }
    scene.judge().await?;
    scene.repo.stop().await
}
