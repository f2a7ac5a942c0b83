//! `rstuf artifact get`

use rstuf_tuf::TargetPath;
use serde::Serialize;

use crate::{
    client::Located,
    context::Context,
    error::{Error, Exit, quoted},
    view,
};

const EXAMPLES: &str = "\
Exit code 1 where there is no such artifact.

Examples:
  rstuf artifact get releases/1.0/app.tar.gz
  rstuf artifact get --output json app.tar.gz | jq -r .artifact.hashes.sha256";

/// Show what the newest publication says of one artifact
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The artifact's path
    #[arg(value_name = "PATH")]
    path: TargetPath,
}

#[derive(Debug, Serialize)]
struct Answer {
    artifact: view::Artifact,
    role: String,
    role_version: u32,
}

pub(crate) async fn run(context: &Context, args: GetArgs) -> Result<(), Error> {
    let found = context.client()?.artifact(args.path.as_str()).await;
    let Located { artifact, role, role_version } = found.map_err(|error| hinted(error, args.path.as_str()))?;
    let answer = Answer { artifact, role, role_version };
    context.output.answer(&answer, human)
}

/// A `*` may be part of a path, so only where there is none of that name it was meant as a pattern.
fn hinted(error: Error, path: &str) -> Error {
    if error.exit != Exit::Failed || !path.contains(['*', '?']) {
        return error;
    }
    error.next(format!("for all that match: `rstuf artifact list {}`", quoted(path)))
}

fn human(answer: &Answer) -> String {
    let artifact = &answer.artifact;
    let mut lines = vec![format!("path         {}", artifact.path), format!("length       {} bytes", artifact.length)];
    lines.extend(artifact.hashes.iter().map(|(algorithm, digest)| format!("{algorithm:<12} {digest}")));
    lines.extend(artifact.custom.iter().map(|custom| format!("custom       {custom}")));
    lines.push(format!("role         {}, version {}", answer.role, answer.role_version));
    lines.join("\n")
}
