//! State directories that come back from a backup: older than what was signed and published since.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use rstuf_tests::{Expected, TestRepo, python};

use crate::support::{Request, Witness};

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    python::run(Command::new("cp").arg("-a").arg(from).arg(to))?;
    Ok(())
}

/// A repository that went on for three publications after the state of one service was copied, and now stands still.
struct Scene {
    repo: TestRepo,
    witness: Witness,
    expected: Expected,
}

impl Scene {
    async fn new(service: &str) -> anyhow::Result<Self> {
        let mut repo = TestRepo::builder().layout("succinct:2").start().await?;
        repo.client().add(&[("replaced", b"old"), ("removed", b"old"), ("stays", b"old")]).await?;
        let witness = Witness::new(repo.data_dir(), &repo.root_bytes()?).await?;
        repo.stop().await?;
        copy(&repo.data_dir().join(service), &repo.data_dir().join("backup"))?;
        repo.start().await?;
        let client = repo.client();
        client.add(&[("replaced", b"new")]).await?;
        client.remove(&["removed"]).await?;
        client.add(&[("added", b"new")]).await?;
        let expected = [("replaced", Some("new")), ("removed", None), ("added", Some("new")), ("stays", Some("old"))];
        let expected = expected.map(|(path, content)| (path.to_owned(), content.map(|it| it.as_bytes().to_vec())));
        let scene = Self { repo, witness, expected: expected.into() };
        scene.witness.sees(&scene.expected, None).await?;
        Ok(scene)
    }

    /// Puts the copy in the place of the state, and keeps that.
    async fn restore(&mut self, service: &str) -> anyhow::Result<()> {
        self.repo.stop().await?;
        let dir = self.repo.data_dir();
        fs::rename(dir.join(service), dir.join("newest"))?;
        fs::rename(dir.join("backup"), dir.join(service))?;
        self.repo.start().await
    }
}

#[tokio::test]
async fn a_journal_from_a_backup_is_rolled_forward_to_what_the_signers_signed() -> anyhow::Result<()> {
    let mut scene = Scene::new("coordinator").await?;
    scene.restore("coordinator").await?;
    scene.witness.sees(&scene.expected, None).await.context("at the start")?;
    let client = scene.repo.client();
    let request = Request::submit("after".to_owned(), vec![client.file("after", b"it went on")?]);
    client.done(&request.acknowledged(&client).await?).await?;
    scene.expected.insert("after".to_owned(), Some(b"it went on".to_vec()));
    scene.witness.sees(&scene.expected, None).await.context("after one more publication")?;
    scene.repo.stop().await
}

#[tokio::test]
async fn a_signer_from_a_backup_signs_nothing_and_says_so() -> anyhow::Result<()> {
    for service in ["targets", "snapshot", "timestamp"] {
        signer(service).await.context(service)?;
    }
    Ok(())
}

async fn signer(service: &str) -> anyhow::Result<()> {
    let mut scene = Scene::new(service).await?;
    scene.restore(service).await?;
    let client = scene.repo.client();
    let group = rstuf_api::convert::signer_group_message(service.parse()?);
    let request = Request::submit("later".to_owned(), vec![client.file("added", b"later")?]);
    let task = request.acknowledged(&client).await?;
    rstuf_tests::until("the signer says why it signs nothing", async || {
        let status = client.status().await?;
        let signer = status.signers.iter().find(|it| it.group == Some(group)).context("no such signer")?;
        let error = status.warnings.iter().any(|it| it.starts_with("error: ") && it.contains("for an operator"));
        Ok(!signer.message.is_empty() && error)
    })
    .await?;
    let probe = reqwest::get(format!("{}/readyz", scene.repo.admin_url("coordinator"))).await?;
    ensure!(probe.status() == 503 && probe.text().await?.contains("error, waiting will not mend it"), "{service}");
    scene.witness.sees(&scene.expected, None).await.context("while the signer signs nothing")?;

    // The way out: the newest state, if it is still there.
    scene.repo.stop().await?;
    let dir = scene.repo.data_dir();
    fs::remove_dir_all(dir.join(service))?;
    fs::rename(dir.join("newest"), dir.join(service))?;
    scene.repo.start().await?;
    scene.repo.client().done(&task).await?;
    scene.expected.insert("added".to_owned(), Some(b"later".to_vec()));
    scene.witness.sees(&scene.expected, None).await.context("after the newest state came back")?;
    let status = scene.repo.client().status().await?;
    ensure!(status.signers.iter().all(|signer| signer.message.is_empty()), "{:?}", status.signers);
    ensure!(status.warnings.is_empty(), "{:?}", status.warnings);
    scene.repo.stop().await
}

#[tokio::test]
async fn published_files_that_are_lost_stop_the_coordinator_until_they_are_back() -> anyhow::Result<()> {
    let mut scene = Scene::new("coordinator").await?;
    scene.repo.stop().await?;
    let (metadata, elsewhere) = (scene.repo.metadata_dir(), scene.repo.data_dir().join("elsewhere"));
    fs::rename(&metadata, &elsewhere)?;
    let refused = scene.repo.start().await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("missing or damaged") && refused.contains("restore it from a mirror"), "{refused:?}");
    fs::remove_dir_all(&metadata)?;
    fs::rename(&elsewhere, &metadata)?;
    scene.repo.start().await?;
    scene.repo.client().add(&[("after", b"it went on")]).await?;
    scene.expected.insert("after".to_owned(), Some(b"it went on".to_vec()));
    scene.witness.sees(&scene.expected, None).await?;
    scene.repo.stop().await
}
