//! `rstuf artifact get`

use rstuf_tuf::TargetPath;
use serde::Serialize;

use crate::{client::Located, context::Context, error::Error, view};

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
    let Located { artifact, role, role_version } = context.client()?.artifact(args.path.as_str()).await?;
    let answer = Answer { artifact, role, role_version };
    context.output.answer(&answer, human)
}

fn human(answer: &Answer) -> String {
    let artifact = &answer.artifact;
    let mut lines = vec![format!("path         {}", artifact.path), format!("length       {} bytes", artifact.length)];
    lines.extend(artifact.hashes.iter().map(|(algorithm, digest)| format!("{algorithm:<12} {digest}")));
    lines.extend(artifact.custom.iter().map(|custom| format!("custom       {custom}")));
    lines.push(format!("role         {}, version {}", answer.role, answer.role_version));
    lines.join("\n")
}
