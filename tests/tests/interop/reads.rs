//! Lists and lookups: what they cost, and what they see while others publish.

use std::{collections::BTreeMap, fs, path::PathBuf};

use rstuf_api::proto::artifacts::v1 as proto;
use rstuf_tests::{
    TestRepo,
    client::{addition, removal},
};
use tonic::Code;

use crate::scene::Scene;

/// Renames the documents of bins, so that nobody can read them; answers how to take that back.
fn hide_bins(repo: &TestRepo) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut hidden = Vec::new();
    for entry in fs::read_dir(repo.metadata_dir())? {
        let file = entry?.path();
        if file.to_string_lossy().contains(".bins-") {
            let away = repo.data_dir().join(file.file_name().unwrap());
            fs::rename(&file, &away)?;
            hidden.push((file, away));
        }
    }
    Ok(hidden)
}

/// Reading costs by what is read, not by the documents in which it is published: none of them is opened.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_published_is_opened_to_list_or_look_up() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:16").await?;
    let client = scene.client();
    let names: Vec<_> = (0..40).map(|number| format!("many/{number:02}")).collect();
    client.add(&names.iter().map(|name| (name.as_str(), &b"1"[..])).collect::<Vec<_>>()).await?;
    client.add(&[("many/07", b"another")]).await?;
    client.remove(&["many/08"]).await?;
    // After a start the list is read out of what is published, once.
    for started_again in [false, true] {
        if started_again {
            scene.repo.restart().await?;
        }
        let client = scene.client();
        let before = (client.list("many/").await?, client.get("many/07").await?);
        assert_eq!((before.0.len(), before.0[7].length), (39, 7));
        let hidden = hide_bins(&scene.repo)?;
        assert!(hidden.len() >= 16);
        assert_eq!((client.list("many/").await?, client.get("many/07").await?), before);
        assert!(client.get("many/08").await.is_err());
        for (file, away) in hidden {
            fs::rename(away, file)?;
        }
    }
    scene.repo.stop().await
}

/// Each publication moves one artifact to another path. However many read at once, each is answered, and each page
/// shows the one or the other, and what is said of it.
#[tokio::test(flavor = "multi_thread")]
async fn many_read_at_once_and_each_page_is_of_one_publication() -> anyhow::Result<()> {
    const READERS: usize = 64;
    let mut scene = Scene::start("succinct:16").await?;
    let client = scene.client();
    client.add(&[("at/0", b"x")]).await?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (client, stopped) = (client.clone(), stopped.clone());
            tokio::spawn(async move {
                while !*stopped.borrow() {
                    let listed = client.list("at/").await?;
                    anyhow::ensure!(listed.len() == 1, "a page with {} artifacts", listed.len());
                }
                Ok(())
            })
        })
        .collect();
    for number in 1..=20 {
        let changes = vec![removal(&format!("at/{}", number - 1)), addition(&format!("at/{number}"), b"x")];
        client.done(&client.submit(changes).await?).await?;
        // Whoever knows that the task is done sees what it did.
        assert_eq!(client.list("at/").await?[0].path, format!("at/{number}"));
    }
    stop.send(true)?;
    for reader in readers {
        reader.await??;
    }
    scene.repo.stop().await
}

/// Patterns are matched where the artifacts are.
#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_matched_by_the_server() -> anyhow::Result<()> {
    let mut scene = Scene::start("succinct:16").await?;
    let names = ["v1/app", "v1/lib/a", "v2/app", "v2/app.sig", "w/app"];
    scene.client().add(&names.map(|name| (name, &b"1"[..]))).await?;
    let mut artifacts = scene.client().artifacts();
    let request = |path_pattern: &str, path_prefix: &str, page_token: &str| proto::ListArtifactsRequest {
        path_pattern: path_pattern.to_owned(),
        path_prefix: path_prefix.to_owned(),
        page_token: page_token.to_owned(),
        page_size: 1,
    };
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (pattern, prefix) in [("*/app", ""), ("v?/*", "v2"), ("nothing", "")] {
        let listed = found.entry((pattern, prefix)).or_default();
        let mut token = String::new();
        loop {
            let page = artifacts.list_artifacts(request(pattern, prefix, &token)).await?.into_inner();
            listed.extend(page.artifacts.into_iter().map(|artifact| artifact.path));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
    }
    assert_eq!(found[&("*/app", "")], ["v1/app", "v2/app", "w/app"]);
    assert_eq!(found[&("v?/*", "v2")], ["v2/app", "v2/app.sig"]);
    assert!(found[&("nothing", "")].is_empty());
    let token = artifacts.list_artifacts(request("*/app", "", "")).await?.into_inner().next_page_token;
    for (refused, field) in [(request("v[1]", "", ""), "path_pattern"), (request("*/lib", "", &token), "page_token")] {
        let status = artifacts.list_artifacts(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(field), "{status:?}");
    }
    scene.repo.stop().await
}
