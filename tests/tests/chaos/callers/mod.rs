//! Malicious callers: they reach every signer and the coordinator, know what is published and what they were answered,
//! have keys of their own, and call everything in any order, while processes die. Afterwards all is as well as ever.

mod aimed;
mod caller;
mod calls;
mod known;
mod messages;
mod rise;
mod scene;

use std::{
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use prost_reflect::DescriptorPool;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_tests::{processes::Service, tough_judge};
use rstuf_tuf::Layout;
use tokio::task::JoinSet;

pub(crate) use self::aimed::revision;
use self::{
    caller::{Caller, Play, Tally},
    calls::Method,
    rise::Rise,
    scene::Scene,
};
use crate::kills::seed;

/// Answered calls; `RSTUF_CALLER_STEPS` for others.
const STEPS: usize = 3_000;
const CALLERS: usize = 4;
/// Times that processes are killed in a play, and after how many steps once more.
const CRASHES: usize = 3;
const STEPS_PER_CRASH: usize = 2_500;
/// What a service may take at its worst, in KiB.
const MEMORY_KIB_MAX: u64 = 300 << 10;

/// As many callers as there are, until all steps are done; meanwhile processes die, and somebody honest submits.
async fn play(layout: &str, steps: usize, seed: u64, tally: Arc<Mutex<Tally>>) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::start(layout).await?;
    let layout: Layout = layout.parse()?;
    scene.submit().await?;
    scene.processes.client()?.done(&scene.honest[0]).await?;
    let rise = Rise::begin(&scene.processes).await?;
    let pool = DescriptorPool::decode(rstuf_api::proto::DESCRIPTORS)?;
    let play = Arc::new(Play {
        methods: Method::all(&pool),
        layout,
        urls: Service::ALL.into_iter().map(|service| (service, scene.processes.url(service))).collect(),
        steps,
        done: AtomicUsize::new(0),
        kills: AtomicUsize::new(0),
        tally,
    });
    let known = scene.known(layout, &mut random).await?;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let random = StdRng::seed_from_u64(random.random());
        callers.spawn(Caller::new(Arc::clone(&play), known.clone(), random)?.run());
    }
    let crashes = CRASHES + steps / STEPS_PER_CRASH;
    for crash in 1..=crashes {
        let here = async {
            while play.done.load(Ordering::Relaxed) < steps * crash / (crashes + 1) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = here => {}
            Some(ended) = callers.join_next() => ended??,
        }
        scene.submit().await?;
        scene.crash(&play, &mut random).await?;
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    judge(&mut scene, &play, &known.repository, &rise, layout).await
}

/// All is as well as if nobody had ever called.
async fn judge(scene: &mut Scene, play: &Play, repository: &Bytes, rise: &Rise, layout: Layout) -> anyhow::Result<()> {
    scene.check_signers().await?;
    rise::leap(&mut scene.processes, repository).await?;
    let highest = rise.check(&scene.processes).await?;
    scene.submit().await?;
    let client = scene.processes.client()?;
    for task in &scene.honest {
        client.done(task).await?;
    }
    scene.processes.all_ready().await?;
    scene.witness.sees_at(&scene.processes.mirror_url(), &scene.expected).await?;
    let root = scene.processes.root_bytes()?;
    tough_judge::check(&scene.processes.mirror_url(), &root, &scene.expected).await?;
    let status = client.status().await?;
    let complaint = status.signers.iter().find(|signer| !signer.message.is_empty());
    ensure!(complaint.is_none(), "{complaint:?}");
    scene.measure()?;
    writeln!(
        std::io::stderr(),
        "{layout}: {} calls, {} publications, versions rose by {highest} at most; peaks in KiB: {:?}",
        play.done.load(Ordering::Relaxed),
        status.publication,
        scene.memory
    )?;
    let large = scene.memory.iter().find(|(_, peak)| **peak > MEMORY_KIB_MAX);
    ensure!(large.is_none(), "{large:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_anybody_calls_leaves_a_repository_that_publishes() -> anyhow::Result<()> {
    let seed = seed()?;
    let steps = std::env::var("RSTUF_CALLER_STEPS").map_or(Ok(STEPS), |steps| steps.parse());
    let steps = steps.context("RSTUF_CALLER_STEPS is no number")?;
    let again = || format!("RSTUF_CHAOS_SEED={seed}");
    let tally = Arc::<Mutex<Tally>>::default();
    for layout in ["flat", "prefix:4"] {
        play(layout, steps / 2, seed, Arc::clone(&tally)).await.with_context(again).context(layout)?;
    }
    let methods = Method::all(&DescriptorPool::decode(rstuf_api::proto::DESCRIPTORS)?);
    let tally = tally.lock().unwrap();
    writeln!(std::io::stderr(), "{:?}\nrefused as {:?}", tally.codes, tally.refusals)?;
    tally.check(&methods).with_context(again)
}
