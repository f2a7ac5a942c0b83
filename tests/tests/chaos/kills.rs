//! kill -9 of real processes, under load.

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rstuf_tests::{
    Expected,
    processes::{Processes, Service},
};

use crate::{load::Load, support::Witness};

const ROUNDS: usize = 50;
/// After so many rounds everything is brought to rest and checked whole.
const ROUNDS_UNTIL_REST: usize = 10;
const SUBMITTERS: usize = 4;
const CEREMONIES: usize = 6;

/// `RSTUF_CHAOS_SEED`, to do again what once failed; else another one each time.
pub(crate) fn seed() -> anyhow::Result<u64> {
    match std::env::var("RSTUF_CHAOS_SEED") {
        Ok(seed) => seed.parse().context("RSTUF_CHAOS_SEED is no number"),
        Err(_) => Ok(rand::rng().random()),
    }
}

/// One service mostly, sometimes several, sometimes all.
fn victims(random: &mut StdRng) -> Vec<Service> {
    let count = *[1, 1, 1, 2, 2, 5].choose(random).unwrap_or(&1);
    Service::ALL.sample(random, count).copied().collect()
}

/// For a random time, up to this.
pub(crate) async fn pause(random: &mut StdRng, milliseconds_max: u64) {
    tokio::time::sleep(Duration::from_millis(random.random_range(0..=milliseconds_max))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_rounds_of_kill_9_under_load_lose_nothing_and_repeat_nothing() -> anyhow::Result<()> {
    let seed = seed()?;
    rounds(seed).await.with_context(|| format!("RSTUF_CHAOS_SEED={seed}"))
}

async fn rounds(seed: u64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir()?;
    let mut system = Processes::start(dir.path(), "succinct:16").await?;
    let client = system.client()?;
    client.add(&[("stays", b"as it is")]).await?;
    let stays: Expected = [("stays".to_owned(), Some(b"as it is".to_vec()))].into();
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    let mut load = Load::new(SUBMITTERS);
    for round in 0..ROUNDS {
        if round % ROUNDS_UNTIL_REST == 0 {
            load.start(&client);
        }
        let killed = kill(&mut system, &witness, &stays, &mut random).await;
        killed.with_context(|| format!("round {round}"))?;
        if (round + 1) % ROUNDS_UNTIL_REST == 0 {
            load.stop().await?;
            let mut expected = load.settle(&client).await.with_context(|| format!("at rest after round {round}"))?;
            expected.extend(stays.clone());
            witness.sees_at(&system.mirror_url(), &expected).await?;
        }
    }
    let status = client.status().await?;
    writeln!(
        std::io::stderr(),
        "{ROUNDS} rounds of kill -9, seed {seed}: {} submissions in {} publications, each applied once",
        load.submitted(),
        status.publication
    )?;
    Ok(())
}

/// One round: some die at once, a client updates while they are dead, and they come back.
async fn kill(system: &mut Processes, witness: &Witness, stays: &Expected, random: &mut StdRng) -> anyhow::Result<()> {
    pause(random, 400).await;
    let victims = victims(random);
    let names: Vec<_> = victims.iter().map(|victim| victim.name()).collect();
    for victim in &victims {
        system.kill(*victim)?;
    }
    witness.sees(stays, None).await.with_context(|| format!("{names:?} are dead"))?;
    for victim in &victims {
        system.spawn(*victim)?;
        pause(random, 30).await;
    }
    system.all_ready().await.with_context(|| format!("{names:?} were killed"))?;
    witness.sees(stays, None).await.with_context(|| format!("{names:?} are back"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_survives_kill_9_of_anybody() -> anyhow::Result<()> {
    let seed = seed()?;
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..CEREMONIES {
        ceremony(&mut random).await.with_context(|| format!("ceremony {number}, RSTUF_CHAOS_SEED={seed}"))?;
    }
    Ok(())
}

async fn ceremony(random: &mut StdRng) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut system = Processes::new(dir.path(), "succinct:64").await?;
    system.spawn_all()?;
    system.ready_for_ceremony().await?;
    let victims = victims(random);
    let killed_after = Duration::from_millis(random.random_range(0..250));
    // Whether it fails by then is all the same: it is held again.
    let _ = tokio::time::timeout(killed_after, system.hold_ceremony()).await;
    for victim in &victims {
        system.kill(*victim)?;
    }
    system.spawn_all()?;
    system.ready_for_ceremony().await?;
    system.hold_ceremony().await.with_context(|| format!("{victims:?} were killed after {killed_after:?}"))?;
    system.all_ready().await?;
    let client = system.client()?;
    client.add(&[("a", b"b")]).await?;
    let witness = Witness::new(dir.path(), &system.root_bytes()?).await?;
    witness.sees(&[("a".to_owned(), Some(b"b".to_vec()))].into(), None).await
}
