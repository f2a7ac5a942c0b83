//! A coordinator that dies while something is set aside, dropped, or retried: what was acknowledged is neither lost nor
//! applied twice, and nobody waits for it.

use anyhow::ensure;
use rstuf_api::proto::tasks::v1::{GetTaskRequest, RetryTaskRequest, TaskState};
use rstuf_coordinator::effects::{Effect, Moment};
use rstuf_tests::{Builder, Client, Expected, TestRepo, client::removal, until};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    effects::{Scene, Trap},
    support::{Request, Witness, answered},
};

/// Bytes of documents that the targets signer allows, once one of the two bins has more.
const BYTES_MAX: usize = 4_096;
const MOMENTS: [Moment; 2] = [Moment::Before, Moment::After];

/// Numbered paths of one of two bins.
fn paths(name: &'static str, full: bool) -> impl Iterator<Item = String> {
    let path = move |number| format!("{name}/{number}");
    (0_u32..).map(path).filter(move |path| (Sha256::digest(path)[0] < 128) == full)
}

struct Full {
    scene: Scene,
    dir: TempDir,
    /// What may be removed, in the bin that is too large.
    full: Vec<String>,
    good: Box<dyn Iterator<Item = String>>,
}

fn builder(dir: &TempDir, trap: &Trap) -> Builder {
    TestRepo::builder().layout("succinct:2").dir(dir.path()).stop_at(trap.stop_at())
}

impl Full {
    async fn new() -> anyhow::Result<Self> {
        let (dir, trap) = (tempfile::tempdir()?, Trap::default());
        let mut repo = builder(&dir, &trap).start().await?;
        let full: Vec<String> = paths("full", true).take(60).collect();
        let files: Vec<_> = full.iter().map(|path| (path.as_str(), path.as_bytes())).collect();
        repo.client().add(&files).await?;
        let expected: Expected = full.iter().map(|path| (path.clone(), Some(path.clone().into_bytes()))).collect();
        let witness = Witness::new(dir.path(), &repo.root_bytes()?).await?;
        repo.stop().await?;
        let repo = builder(&dir, &trap).document_bytes_max(BYTES_MAX).start().await?;
        let scene = Scene { repo, trap, witness, expected };
        Ok(Self { scene, dir, full, good: Box::new(paths("good", false)) })
    }

    fn client(&self) -> Client {
        self.scene.repo.client()
    }

    /// The coordinator dies, everything starts again, and what comes then is published.
    async fn broken(&mut self, effect: Effect) -> anyhow::Result<()> {
        self.scene.stopped(effect).await?;
        self.scene.witness.sees(&self.scene.expected, None).await?;
        self.scene.repo.start().await?;
        let good = self.good.next().unwrap_or_default();
        self.client().add(&[(&good, b"good")]).await?;
        self.scene.expected.insert(good, Some(b"good".to_vec()));
        self.scene.witness.sees(&self.scene.expected, None).await
    }

    async fn state(&self, task: &str) -> anyhow::Result<TaskState> {
        let answer = self.client().tasks().get_task(GetTaskRequest::by_id(task)).await?;
        Ok(answer.into_inner().task.unwrap_or_default().state())
    }

    async fn is_aside(&self, task: &str) -> anyhow::Result<()> {
        until("it is set aside", async || Ok(self.state(task).await? == TaskState::SetAside)).await?;
        let status = self.client().status().await?;
        ensure!((status.submissions_set_aside, status.submissions_waiting) == (1, 0), "{status:?}");
        Ok(())
    }

    /// One more is refused for good, and the coordinator dies when it is set aside.
    async fn refused(&mut self, name: &str, moment: Moment) -> anyhow::Result<(String, String)> {
        let path = self.full.pop().unwrap_or_default();
        let request = Request::submit(format!("{name} {moment:?}"), vec![removal(&path)]);
        self.scene.trap.arm(Effect::SetAside, moment);
        let task = request.acknowledged(&self.client()).await?;
        self.broken(Effect::SetAside).await?;
        self.is_aside(&task).await?;
        ensure!(request.acknowledged(&self.client()).await? == task, "sent again, it became another task");
        Ok((task, path))
    }

    async fn dropped(&mut self, moment: Moment) -> anyhow::Result<()> {
        let (task, _) = self.refused("dropped", moment).await?;
        self.scene.trap.arm(Effect::Cancel, moment);
        ensure!(self.client().cancel(&task).await.is_err(), "the answer is lost");
        self.broken(Effect::Cancel).await?;
        let after = self.state(&task).await?;
        let expected = if moment == Moment::Before { TaskState::SetAside } else { TaskState::Failed };
        ensure!(after == expected, "{moment:?}: {after:?}");
        if moment == Moment::Before {
            let client = self.client();
            let failed = answered("the cancellation", async || client.cancel(&task).await).await??;
            ensure!(failed.state() == TaskState::Failed && failed.error.is_some(), "{failed:?}");
        }
        ensure!(self.client().status().await?.submissions_set_aside == 0);
        Ok(())
    }

    async fn retried(&mut self, moment: Moment) -> anyhow::Result<()> {
        let (task, path) = self.refused("retried", moment).await?;
        self.scene.repo.stop().await?;
        let trap = self.scene.trap.clone();
        self.scene.repo = builder(&self.dir, &trap).start().await?;
        self.scene.trap.arm(Effect::Retry, moment);
        let request = RetryTaskRequest { id: task.clone() };
        ensure!(self.client().tasks().retry_task(request.clone()).await.is_err(), "the answer is lost");
        self.scene.stopped(Effect::Retry).await?;
        self.scene.witness.sees(&self.scene.expected, None).await?;
        self.scene.repo.start().await?;
        if moment == Moment::Before {
            self.is_aside(&task).await?;
            self.client().tasks().retry_task(request).await?;
        }
        let done = self.client().done(&task).await?;
        ensure!(done.counts.is_some_and(|counts| counts.removed == 1), "{done:?}");
        self.scene.expected.insert(path, None);
        self.scene.witness.sees(&self.scene.expected, None).await?;
        self.scene.repo.stop().await?;
        self.scene.repo = builder(&self.dir, &trap).document_bytes_max(BYTES_MAX).start().await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_aside_survives_a_break_anywhere() -> anyhow::Result<()> {
    let mut full = Full::new().await?;
    for moment in MOMENTS {
        full.dropped(moment).await?;
        full.retried(moment).await?;
    }
    full.scene.repo.stop().await
}
