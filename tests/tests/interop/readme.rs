//! The clients that the README shows, run as they stand there.

use std::{path::Path, process::Command};

use rstuf_tests::{TestRepo, node, python};
use tempfile::TempDir;

use crate::scene::keeps_roles;

const README: &str = include_str!("../../../README.md");

/// Where the README's mirror answers.
const MIRROR: &str = "http://127.0.0.1:8080";

/// The README promises as many.
const LINES_MAX: usize = 10;

/// The one code block in a language.
fn client(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut blocks = README.split(&fence).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("the README shows no client in {language}"));
    assert!(blocks.next().is_none(), "the README shows several clients in {language}");
    let code = block.split("```").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= LINES_MAX, "{lines} lines of {language}, the README promises {LINES_MAX}");
    assert!(code.contains(MIRROR), "the client in {language} asks another mirror");
    code
}

/// Runs a client beside the first root, as the README says: it gets what is published, again after it changed, and
/// nothing once that is gone.
async fn gets_what_is_published(folder: &TempDir, script: &str, program: &Path, code: &str) -> anyhow::Result<()> {
    let repo = TestRepo::builder().start().await?;
    let code = code.replace(MIRROR, repo.mirror_url());
    std::fs::write(folder.path().join(script), code)?;
    std::fs::write(folder.path().join("1.root.json"), repo.root_bytes()?)?;
    let run = || {
        let mut command = Command::new(program);
        command.arg(script).current_dir(folder.path());
        tokio::task::block_in_place(|| python::run(&mut command))
    };
    for bytes in [&b"my first release"[..], b"another one"] {
        repo.client().add(&[("app-1.0.txt", bytes)]).await?;
        let said = run()?;
        assert!(said.contains("verified: downloads/app-1.0.txt"), "{said}");
        assert_eq!(std::fs::read(folder.path().join("downloads/app-1.0.txt"))?, bytes);
    }
    keeps_roles(&folder.path().join("metadata"))?;
    repo.client().remove(&["app-1.0.txt"]).await?;
    let refused = run().unwrap_err().to_string();
    assert!(refused.contains("no such artifact: app-1.0.txt"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client() -> anyhow::Result<()> {
    let code = client("python");
    let Some(python) = python::environment().await? else { return Ok(()) };
    gets_what_is_published(&tempfile::tempdir()?, "client.py", &python, code).await
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_client() -> anyhow::Result<()> {
    let code = client("javascript");
    let Some(folder) = node::environment().await? else { return Ok(()) };
    // Scripts find packages in the folders above them.
    gets_what_is_published(&tempfile::tempdir_in(folder)?, "client.mjs", Path::new("node"), code).await
}
