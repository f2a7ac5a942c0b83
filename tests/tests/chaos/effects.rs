//! Each effect of a publication broken twice: "it did not happen", and "it happened, but the answer was lost".

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use rstuf_api::proto::{
    repository::v1::GetStatusResponse,
    tasks::v1::{Outcome, TaskKind},
};
use rstuf_coordinator::effects::{Effect, Moment, Stop, StopAt};
use rstuf_tests::{Client, Expected, TestRepo, client::removal};

use crate::support::{Request, Witness};

/// Every moment at which the coordinator can stop dead, in the order in which a publication meets them.
pub(crate) fn moments() -> impl Iterator<Item = (Effect, Moment)> {
    Effect::OF_PUBLICATION.into_iter().flat_map(|effect| [(effect, Moment::Before), (effect, Moment::After)])
}

/// Whether clients see the publication at this moment.
pub(crate) fn is_visible(effect: Effect, moment: Moment) -> bool {
    let visible = moments().skip_while(|it| *it != (Effect::ReplaceTimestamp, Moment::After));
    visible.into_iter().any(|it| it == (effect, moment))
}

/// Stops the coordinator once, where it was told to.
#[derive(Clone, Default)]
pub(crate) struct Trap(Arc<Mutex<Option<(Effect, Moment)>>>);

impl Trap {
    pub(crate) fn arm(&self, effect: Effect, moment: Moment) {
        *self.0.lock().unwrap() = Some((effect, moment));
    }

    fn is_armed(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }

    pub(crate) fn stop_at(&self) -> StopAt {
        let trap = self.0.clone();
        Arc::new(move |effect, moment| trap.lock().unwrap().take_if(|at| *at == (effect, moment)).map(|_| Stop::Dead))
    }
}

/// A repository whose coordinator is stopped again and again, and the client that watches it.
pub(crate) struct Scene {
    pub(crate) repo: TestRepo,
    pub(crate) trap: Trap,
    pub(crate) witness: Witness,
    pub(crate) expected: Expected,
}

/// What counts up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) publication: u64,
    pub(crate) snapshot: u32,
    pub(crate) timestamp: u32,
}

impl Numbers {
    pub(crate) async fn of(client: &Client) -> anyhow::Result<Self> {
        let status = client.status().await?;
        let version = |name: &str| status.roles.iter().find(|role| role.role == name).map(|role| role.version);
        Ok(Self {
            publication: status.publication,
            snapshot: version("snapshot").context("no snapshot")?,
            timestamp: version("timestamp").context("no timestamp")?,
        })
    }

    pub(crate) fn next(&self) -> Self {
        let Self { publication, snapshot, timestamp } = self;
        Self { publication: publication + 1, snapshot: snapshot + 1, timestamp: timestamp + 1 }
    }
}

impl Scene {
    pub(crate) async fn new(layout: &str) -> anyhow::Result<Self> {
        let trap = Trap::default();
        let repo = TestRepo::builder().layout(layout).stop_at(trap.stop_at()).start().await?;
        let witness = Witness::new(repo.data_dir(), &repo.root_bytes()?).await?;
        Ok(Self { repo, trap, witness, expected: Expected::new() })
    }

    /// Waits until the coordinator has stopped, at the right place, and takes everything else down as well.
    pub(crate) async fn stopped(&mut self, effect: Effect) -> anyhow::Result<()> {
        let failure = format!("{:#}", self.repo.failure().await?);
        ensure!(failure.contains("stopped by a test") && failure.contains(effect.as_str()), "{failure}");
        Ok(())
    }

    /// One submission that adds, replaces, removes, and removes nothing; its publication breaks at this moment.
    async fn submission(&mut self, number: usize, effect: Effect, moment: Moment) -> anyhow::Result<()> {
        let client = self.repo.client();
        let before = Numbers::of(&client).await?;
        let (added, removed) = (format!("new/{number}"), format!("new/{}", number - 1));
        let content = format!("number {number}").into_bytes();
        let changes = vec![
            client.file(&added, &content)?,
            client.file("replaced", &content)?,
            removal(&removed),
            removal("never/there"),
        ];
        let request = Request::submit(format!("submission-{number}"), changes);
        self.trap.arm(effect, moment);
        let task = request.send(&client).await?;
        self.stopped(effect).await?;

        let mut after = self.expected.clone();
        after.extend([(added, Some(content.clone())), ("replaced".to_owned(), Some(content)), (removed, None)]);
        let visible = if is_visible(effect, moment) { &after } else { &self.expected };
        self.witness.sees(visible, None).await.context("while the coordinator is down")?;

        self.repo.start().await?;
        let client = self.repo.client();
        let again = request.acknowledged(&client).await?;
        ensure!(task.is_none_or(|task| task == again), "sent again, it became another task");
        client.done(&again).await?;
        self.expected = after;
        let outcomes: Vec<Outcome> = client.results(&again).await?.iter().map(|result| result.outcome()).collect();
        ensure!(outcomes == [Outcome::Added, Outcome::Replaced, Outcome::Removed, Outcome::NotFound], "{outcomes:?}");
        let numbers = Numbers::of(&client).await?;
        ensure!(numbers == before.next(), "{before:?} became {numbers:?}: not exactly one publication");
        self.witness.sees(&self.expected, None).await.context("after the restart")
    }

    /// Several at once, some held, one an import, in the order that makes their paths meet.
    async fn crowd(&mut self, number: usize, effect: Effect, moment: Moment) -> anyhow::Result<()> {
        let client = self.repo.client();
        let before = Numbers::of(&client).await?;
        let path = |name: &str| format!("crowd/{number}/{name}");
        let file = |name: &str, content: &str| client.file(&path(name), content.as_bytes());
        let id = |name: &str| format!("crowd-{number}-{}", name.replace(' ', "-"));
        // The trap waits for publications; what is held makes none, so these are all acknowledged.
        let held = [
            Request::hold(id("held"), vec![file("taken along", "old")?]),
            Request::hold(id("held back"), vec![file("held back", "released")?]),
        ];
        let mut tasks = Vec::new();
        for request in &held {
            tasks.push((request.clone(), request.acknowledged(&client).await?));
        }
        self.trap.arm(effect, moment);
        let requests = [
            Request::submit(id("takes along"), vec![file("taken along", "new")?]),
            Request::import(
                &id("import"),
                vec![vec![file("import/1", "1")?, file("import/2", "superseded")?], vec![file("import/2", "2")?]],
            ),
            Request::submit(id("alone"), vec![file("alone", "alone")?]),
            Request::publish(id("publish")),
        ];
        let sent = futures::future::join_all(requests.iter().map(|request| request.send(&client)));
        let sent = sent.await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        self.stopped(effect).await?;
        self.witness.sees(&self.expected, None).await.context("while the coordinator is down")?;

        self.repo.start().await?;
        let client = self.repo.client();
        for (request, first) in requests.into_iter().zip(sent) {
            let again = request.acknowledged(&client).await?;
            ensure!(first.is_none_or(|first| first == again), "{request:?}, sent again, became another task");
            tasks.push((request, again));
        }
        let (mut added, mut replaced) = (0, 0);
        let mut released = 0;
        for (request, task) in &tasks {
            let task = client.done(task).await.with_context(|| format!("{request:?}"))?;
            let counts = task.counts.context("no counts")?;
            ensure!(counts.unchanged == 0, "{request:?} was applied twice: {counts:?}");
            if task.kind() == TaskKind::Publish {
                released = counts.added;
                continue;
            }
            added += counts.added;
            replaced += counts.replaced;
        }
        // A publish request counts once more what it released: what a submission took along may be gone by then.
        ensure!((1..=2).contains(&released), "{released} released");
        // The import names one path twice: what counts is its last change, which replaces the first.
        ensure!((added, replaced) == (5, 2), "added {added}, replaced {replaced}");
        let contents = [
            ("taken along", "new"),
            ("held back", "released"),
            ("import/1", "1"),
            ("import/2", "2"),
            ("alone", "alone"),
        ];
        let contents = contents.map(|(name, content)| (path(name), Some(content.as_bytes().to_vec())));
        self.expected.extend(contents);
        let numbers = Numbers::of(&client).await?;
        let published = before.publication + 1..=before.publication + 4;
        ensure!(published.contains(&numbers.publication), "{before:?} became {numbers:?}");
        self.witness.sees(&self.expected, None).await.context("after the restart")
    }
}

async fn submissions(layout: &str) -> anyhow::Result<()> {
    let mut scene = Scene::new(layout).await?;
    let first = b"number 0";
    scene.repo.client().add(&[("new/0", first), ("replaced", first), ("stays", first)]).await?;
    scene.expected = ["new/0", "replaced", "stays"].map(|path| (path.to_owned(), Some(first.to_vec()))).into();
    scene.witness.sees(&scene.expected, None).await?;
    for ((effect, moment), number) in moments().zip(1..) {
        let broken = scene.submission(number, effect, moment).await;
        broken.with_context(|| format!("{layout}, {moment:?} {}", effect.as_str()))?;
    }
    scene.repo.stop().await
}

#[tokio::test]
async fn a_publication_of_bins_that_breaks_anywhere_is_finished_once() -> anyhow::Result<()> {
    submissions("succinct:16").await
}

#[tokio::test]
async fn a_flat_publication_that_breaks_anywhere_is_finished_once() -> anyhow::Result<()> {
    submissions("flat").await
}

#[tokio::test]
async fn held_submissions_imports_and_their_order_survive_a_break_anywhere() -> anyhow::Result<()> {
    let mut scene = Scene::new("succinct:4").await?;
    for ((effect, moment), number) in moments().zip(1..) {
        let broken = scene.crowd(number, effect, moment).await;
        broken.with_context(|| format!("{moment:?} {}", effect.as_str()))?;
    }
    scene.repo.stop().await
}

/// The first publication breaks; the next start goes on with the same root.
async fn ceremony(layout: &str, effect: Effect, moment: Moment) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let trap = Trap::default();
    let builder = || TestRepo::builder().layout(layout).dir(dir.path());
    trap.arm(effect, moment);
    let failure = match builder().stop_at(trap.stop_at()).start().await {
        Ok(_) => anyhow::bail!("it did not stop"),
        Err(failure) => format!("{failure:#}"),
    };
    ensure!(failure.contains("stopped by a test") && failure.contains(effect.as_str()), "{failure}");
    let root = fs::read(dir.path().join("published/metadata/1.root.json"))?;
    let witness = Witness::new(dir.path(), &root).await?;
    if is_visible(effect, moment) {
        witness.sees(&Expected::new(), None).await.context("while the coordinator is down")?;
    }
    let mut repo = builder().start().await?;
    ensure!(repo.root_bytes()? == root, "another root");
    let numbers = Numbers::of(&repo.client()).await?;
    ensure!(numbers == Numbers { publication: 1, snapshot: 1, timestamp: 1 }, "{numbers:?}");
    repo.client().add(&[("a", b"b")]).await?;
    witness.sees(&[("a".to_owned(), Some(b"b".to_vec()))].into(), None).await.context("after the restart")?;
    repo.stop().await
}

#[tokio::test]
async fn a_ceremony_that_breaks_anywhere_goes_on_with_the_same_root() -> anyhow::Result<()> {
    // Its batch is planned with the root, in one entry of the journal.
    for (effect, moment) in moments().filter(|(effect, _)| *effect != Effect::PlanBatch) {
        let layout = if moment == Moment::Before { "succinct:4" } else { "flat" };
        let broken = ceremony(layout, effect, moment).await;
        broken.with_context(|| format!("{layout}, {moment:?} {}", effect.as_str()))?;
    }
    Ok(())
}

/// Shorter than any lifetime's last third, after which a role is renewed.
const TICK: Duration = Duration::from_secs(6 * 3_600);
/// After so many ticks every role was renewed, bins too.
const TICKS_MAX: usize = 4 * 31;

impl Scene {
    /// Lets time pass until a renewal meets the trap.
    async fn renewal(&mut self, effect: Effect, moment: Moment) -> anyhow::Result<()> {
        self.trap.arm(effect, moment);
        for _ in 0..TICKS_MAX {
            self.repo.manual().advance(TICK);
            let (client, now, trap) = (self.repo.client(), self.repo.clock().now(), self.trap.clone());
            rstuf_tests::until("all is renewed", async || {
                Ok(!trap.is_armed() || client.status().await.is_ok_and(|status| is_fresh(&status, now)))
            })
            .await?;
            if !self.trap.is_armed() {
                break;
            }
            self.witness.sees(&self.expected, Some(now)).await.context("before the stop")?;
        }
        ensure!(!self.trap.is_armed(), "no renewal came by");
        self.stopped(effect).await?;
        let now = Some(self.repo.clock().now());
        self.witness.sees(&self.expected, now).await.context("while the coordinator is down")?;
        self.repo.start().await?;
        let (client, now) = (self.repo.client(), self.repo.clock().now());
        rstuf_tests::until("all is renewed", async || Ok(is_fresh(&client.status().await?, now))).await?;
        self.witness.sees(&self.expected, Some(now)).await.context("after the restart")
    }
}

/// Whether nothing is due any more: every role has more than a third of its lifetime left.
fn is_fresh(status: &GetStatusResponse, now: Timestamp) -> bool {
    const HOUR: i64 = 3_600;
    status.roles.iter().all(|role| {
        let third = match role.role.as_str() {
            "timestamp" => 8 * HOUR,
            "snapshot" => 56 * HOUR,
            // Signed offline, for a year.
            "root" | "targets" => 0,
            _ => 240 * HOUR,
        };
        role.expires_at.is_some_and(|expires| expires.seconds > now.as_second() + third)
    })
}

#[tokio::test]
async fn a_renewal_that_breaks_anywhere_is_made_up_for() -> anyhow::Result<()> {
    let trap = Trap::default();
    let start = "2027-01-01T00:00:00Z".parse()?;
    let repo = TestRepo::builder().layout("succinct:16").manual_clock(start).stop_at(trap.stop_at()).start().await?;
    let witness = Witness::new(repo.data_dir(), &repo.root_bytes()?).await?;
    repo.client().add(&[("stays", b"as it is")]).await?;
    let expected = [("stays".to_owned(), Some(b"as it is".to_vec()))].into();
    let mut scene = Scene { repo, trap, witness, expected };
    let plans = [Effect::PlanSnapshot, Effect::PlanTimestamp];
    let plans = plans.into_iter().flat_map(|effect| [(effect, Moment::Before), (effect, Moment::After)]);
    for (effect, moment) in moments().chain(plans) {
        let broken = scene.renewal(effect, moment).await;
        broken.with_context(|| format!("{moment:?} {}", effect.as_str()))?;
    }
    scene.repo.stop().await
}
