//! Callers that contradict each other at the same moment: each is told the truth about what takes effect.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_api::proto::{
    artifacts::v1 as proto,
    tasks::v1::{self as tasks, Task, TaskState},
};
use rstuf_tests::Client;
use tonic::{Code, Response, Status};

use crate::scene::Scene;

const ROUNDS: usize = 24;
/// After so many rounds the coordinator is started again, and what it said must still hold.
const RESTART_EVERY: usize = 6;

/// Calls that one caller at most makes before the one that counts: so that not always the same caller wins.
const DETOURS_MAX: u32 = 8;

/// Makes harmless calls, each of which takes about as long as one that counts.
async fn detour(client: &Client, calls: u32) {
    for _ in 0..calls {
        client.status().await.unwrap();
    }
}

/// The answer, or none where it was refused in a way that a loser of the race may be refused.
fn won<T>(answer: Result<Response<T>, Status>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer.into_inner()),
        Err(status) => {
            assert!(matches!(status.code(), Code::FailedPrecondition | Code::NotFound), "{status:?}");
            None
        }
    }
}

async fn cancel(client: &Client, id: &str, detours: u32) -> Option<tasks::CancelTaskResponse> {
    detour(client, detours).await;
    won(client.tasks().cancel_task(tasks::CancelTaskRequest { id: id.to_owned() }).await)
}

async fn commit(client: &Client, id: &str, detours: u32) -> Option<Task> {
    detour(client, detours).await;
    let request = proto::CommitImportRequest { id: id.to_owned(), offset: 0 };
    won(client.artifacts().commit_import(request).await).and_then(|answer| answer.task)
}

async fn submit(client: &Client, path: &str, hold: bool) -> anyhow::Result<String> {
    let changes = vec![client.file(path, path.as_bytes())?];
    let request = proto::SubmitArtifactsRequest { changes, hold, ..Default::default() };
    Ok(client.artifacts().submit_artifacts(request).await?.into_inner().task.unwrap().id)
}

/// One held submission, one that waits and one import, while everybody publishes, cancels, commits, appends and
/// deletes.
async fn round(scene: &mut Scene, number: usize, random: &mut StdRng) -> anyhow::Result<()> {
    let client = scene.client();
    let path = |name: &str| format!("race/{number}/{name}");
    let create = proto::CreateImportRequest { request_id: format!("race {number}"), hold: false };
    let import = client.artifacts().create_import(create).await?.into_inner().import.unwrap().id;
    let part = |offset: u64, name: &str| {
        let changes = vec![client.file(&path(name), path(name).as_bytes())?];
        anyhow::Ok(proto::AppendImportRequest { id: import.clone(), offset, changes })
    };
    client.artifacts().append_import(part(0, "import")?).await?;
    let held = submit(&client, &path("held"), true).await?;
    let waiting = submit(&client, &path("waiting"), false).await?;
    let late = part(1, "late")?;
    let detours: [u32; 7] = std::array::from_fn(|_| random.random_range(0..=DETOURS_MAX));
    let mut artifacts = [client.artifacts(), client.artifacts(), client.artifacts()];
    let [publisher, appender, deleter] = &mut artifacts;
    let (publish, held_cancelled, waiting_cancelled, appended, one, other, deleted) = tokio::join!(
        async {
            detour(&client, detours[0]).await;
            publisher.publish_artifacts(proto::PublishArtifactsRequest::default()).await
        },
        cancel(&client, &held, detours[1]),
        cancel(&client, &waiting, detours[2]),
        async {
            detour(&client, detours[3]).await;
            won(appender.append_import(late).await)
        },
        commit(&client, &import, detours[4]),
        commit(&client, &import, detours[5]),
        async {
            detour(&client, detours[6]).await;
            won(deleter.delete_import(proto::DeleteImportRequest { id: import.clone() }).await)
        },
    );
    client.done(&publish?.into_inner().task.unwrap().id).await?;

    for (id, name, cancelled) in [(&held, "held", &held_cancelled), (&waiting, "waiting", &waiting_cancelled)] {
        let state = client.wait(id).await?.state();
        let wanted = if cancelled.is_some() { TaskState::Cancelled } else { TaskState::Done };
        assert_eq!(state, wanted, "{name}, round {number}");
        let bytes = cancelled.is_none().then(|| path(name).into_bytes());
        scene.expected.insert(path(name), bytes);
    }
    let committed = one.as_ref().or(other.as_ref());
    assert!(one.is_none() || other.is_none() || one.as_ref().unwrap().id == other.as_ref().unwrap().id);
    assert!(committed.is_none() || deleted.is_none(), "committed and deleted, round {number}");
    assert!(committed.is_some() || deleted.is_some(), "neither committed nor deleted, round {number}");
    if let Some(task) = committed {
        client.done(&task.id).await?;
    }
    for (name, taken) in [("import", true), ("late", appended.is_some())] {
        let bytes = (committed.is_some() && taken).then(|| path(name).into_bytes());
        scene.expected.insert(path(name), bytes);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictions_end_one_way() -> anyhow::Result<()> {
    let mut scene = Scene::start("prefix:4").await?;
    scene.add(&[("first", b"first")]).await?;
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..ROUNDS {
        round(&mut scene, number, &mut random).await?;
        if number % RESTART_EVERY == RESTART_EVERY - 1 {
            scene.judge().await?;
            scene.repo.restart().await?;
        }
    }
    let status = scene.client().status().await?;
    assert_eq!((status.submissions_held, status.submissions_waiting), (0, 0));
    scene.judge().await?;
    scene.repo.stop().await
}
