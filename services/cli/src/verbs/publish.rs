//! `rstuf publish`

use crate::context::Context;
use crate::error::Error;
use crate::submit::{self, Before, RequestArgs, SubmitArgs};
use crate::view;

const EXAMPLES: &str = "\
Examples:
  rstuf publish
  rstuf publish --wait-timeout 30s --output json";

/// Publish what was submitted with --hold
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    request: RequestArgs,
}

pub(crate) async fn run(context: &Context, args: PublishArgs) -> Result<(), Error> {
    let client = context.client()?;
    let request_id = args.request.request_id();
    let task = client.publish(&request_id).await.map_err(|error| error.of_request(&request_id))?;
    let args = SubmitArgs { request: args.request, hold: false, results: false };
    submit::finish(context, &client, view::Task::from(task), &args, Before::default()).await.map(drop)
}
