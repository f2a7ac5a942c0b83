//! `rstuf artifact remove`

use std::collections::BTreeSet;

use rstuf_tuf::{Change, TargetPath};

use crate::context::Context;
use crate::error::Error;
use crate::submit::{self, SubmitArgs};

const EXAMPLES: &str = "\
To remove what is not there is no error: the count of `not found` tells.

Examples:
  rstuf artifact remove releases/1.0/app.tar.gz
  rstuf artifact remove --results a.txt b.txt
  rstuf artifact list --all --output json old/ | jq -r '.artifacts[].path' | xargs -d '\\n' rstuf artifact remove";

/// Remove artifacts by their paths
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RemoveArgs {
    /// Artifact paths, as `rstuf artifact list` shows them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<TargetPath>,
    #[command(flatten)]
    submit: SubmitArgs,
}

pub(crate) async fn run(context: &Context, args: RemoveArgs) -> Result<(), Error> {
    // A path may stand in a submission once; to name it twice means the same.
    let paths: BTreeSet<TargetPath> = args.paths.into_iter().collect();
    let changes: Vec<_> = paths.into_iter().map(|path| Change::Remove { path }).collect();
    submit::run(context, &changes, Vec::new(), &args.submit).await
}
