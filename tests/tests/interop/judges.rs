//! A judge that is always content would judge nothing.

use std::{fs, time::Duration};

use rstuf_tests::python;

use crate::scene::Scene;

/// Each judge complains of other bytes, of what is missing and of what should not be there; of a file that was changed,
/// of metadata that went back, and, where it can be told the time, of metadata that has expired.
#[tokio::test(flavor = "multi_thread")]
async fn judges_complain() -> anyhow::Result<()> {
    if python::environment().await?.is_none() {
        return Ok(());
    }
    let mut scene = Scene::start("flat").await?;
    scene.add(&[("one", b"1")]).await?;
    scene.judge().await?;
    for wrong in [("one", Some(b"2".to_vec())), ("one", None), ("none", Some(b"n".to_vec()))] {
        let right = scene.expected.clone();
        scene.expected.insert(wrong.0.into(), wrong.1.clone());
        let verdicts = scene.verdicts(scene.now()).await;
        assert!(verdicts.len() == 2 && verdicts.iter().all(Result::is_err), "{wrong:?}: {verdicts:?}");
        scene.expected = right;
    }
    let later = scene.now().checked_add(Duration::from_secs(2 * 24 * 3_600))?;
    let expired = format!("{:#}", scene.verdicts(later).await.remove(0).unwrap_err());
    assert!(expired.contains("expired"), "{expired}");

    let file = scene.repo.metadata_dir().join("timestamp.json");
    let old = fs::read(&file)?;
    scene.add(&[("two", b"2")]).await?;
    scene.judge().await?;
    let new = fs::read(&file)?;
    for bad in [old, String::from_utf8(new)?.replace("spec_version\":\"1.0.0", "spec_version\":\"1.0.1").into_bytes()] {
        fs::write(&file, bad)?;
        let verdicts = scene.verdicts(scene.now()).await;
        assert!(verdicts.iter().all(Result::is_err), "{verdicts:?}");
    }
    scene.repo.stop().await
}
