//! `rstuf ceremony`: makes the repository's first root, and with it the repository.

mod config;
mod documents;
mod signers;

use std::path::{Path, PathBuf};

use rstuf_keys::{FileKey, KeySource as _};
use rstuf_tuf::ceremony::{Plan, Signers};
use serde::Serialize;

use self::{
    config::Config,
    documents::{Documents, WorkDir},
    signers::{Online, fingerprints},
};
use crate::{
    ask,
    client::{Ceremony, Client},
    context::Context,
    error::Error,
    key_file,
    output::table,
    view::{self, TaskState},
    wait::{self, WaitArgs, Waited},
};

const EXAMPLES: &str = "\
Before it: start the signers and the coordinator, and let each root holder make a key with `rstuf key generate`.

It asks the coordinator for every signer's key and shows them, to be compared with what each signer logged when it made
its key. After a yes it makes and signs root 1 (and targets 1, unless the layout is flat) with the root keys, verifies
them, hands them to the coordinator, and waits until the first publication is out. Root 1 is what clients start from.

Run again, it goes on where it was: what was signed is kept in the work directory, and used again.

The configuration file:
  layout = \"succinct:256\"            # or \"prefix:N\", \"flat\"; N a power of two, 2 to 16384
  [root]
  keys = [\"root-1.pem\", {file = \"root-2.pem\", passphrase_file = \"root-2.pass\"}]   # relative to this file
  threshold = 2
  [lifetimes]                        # from signing to expiry; these are the defaults
  root = \"365d\"
  targets = \"365d\"
  bins = \"30d\"
  snapshot = \"7d\"
  timestamp = \"1d\"

Examples:
  rstuf ceremony --config ceremony.toml
  rstuf ceremony --config ceremony.toml --yes --root-out 1.root.json --output json";

/// Hold the first ceremony: make and sign root 1, and publish the first repository
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CeremonyArgs {
    /// What to make
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Do not ask: somebody compared the keys, or nobody needs to
    #[arg(long)]
    yes: bool,
    /// Where to write root 1
    #[arg(long, value_name = "FILE", default_value = "./1.root.json")]
    root_out: PathBuf,
    /// Where to keep what was signed until the ceremony is over
    #[arg(long, value_name = "DIR", default_value = "./rstuf-ceremony")]
    work_dir: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    repository_id: String,
    layout: String,
    /// Absent until the ceremony is over.
    root_file: Option<String>,
    task: view::Task,
}

pub(crate) async fn run(context: &Context, args: CeremonyArgs) -> Result<(), Error> {
    key_file::harden()?;
    let config = Config::load(&args.config)?;
    refuse_missing(&config)?;
    let client = context.client()?;
    let work = WorkDir::new(args.work_dir.clone());
    refuse_another(&client, &work).await?;
    refuse_overwriting(&args.root_out, work.root()?.as_deref())?;

    let online = Online::new(&client.list_signers().await?)?;
    let holders = open_keys(&config)?;
    let plan = plan(&config, &holders, online);
    confirm(context, &plan, args.yes)?;
    let documents = work.prepare(&plan, &holders, &config.lifetimes, context.clock.now())?;
    drop(holders);

    let ceremony = Ceremony {
        root: documents.root.clone(),
        targets: documents.targets.clone(),
        layout: config.layout,
        lifetimes: config.lifetimes.online(),
    };
    let task = client.hold_ceremony(ceremony).await.map_err(|error| resumable(error, &args))?;
    finish(context, &client, task, &documents, &config, &args).await
}

async fn finish(
    context: &Context,
    client: &Client,
    task: view::Task,
    documents: &Documents,
    config: &Config,
    args: &CeremonyArgs,
) -> Result<(), Error> {
    let waited = if args.wait.no_wait {
        Waited::not(task)
    } else {
        let waited = wait::until_finished(client, context.output, task, args.wait.wait_timeout).await;
        waited.map_err(|error| resumable(error, args))?
    };
    let over = waited.task.state == TaskState::Done;
    if over {
        refuse_overwriting(&args.root_out, Some(&documents.root))?;
        documents::write_durably(&args.root_out, &documents.root)?;
    }
    let answer = Answer {
        repository_id: documents.repository_id().to_string(),
        layout: config.layout.to_string(),
        root_file: over.then(|| args.root_out.display().to_string()),
        task: waited.task.clone(),
    };
    context.output.answer(&answer, human)?;
    waited.verdict()
}

fn human(answer: &Answer) -> String {
    let Answer { repository_id, layout, root_file, task } = answer;
    match root_file {
        Some(file) => format!(
            "the repository is published{}\nrepository  {repository_id}\nlayout      {layout}\nroot        {file}\n\
             give {file} to your clients; add artifacts with `rstuf artifact add`",
            wait::publication(task)
        ),
        None => format!("repository  {repository_id}\n{}\nrun the same again to finish", wait::line(task)),
    }
}

/// The repository may have had its ceremony: then only the same one can be gone on with.
async fn refuse_another(client: &Client, work: &WorkDir) -> Result<(), Error> {
    let ours = work.root()?.map(|root| rstuf_tuf::Sha256::of(&root).to_string());
    let Some(id) = client.describe().await?.id.filter(|id| ours.as_ref() != Some(id)) else { return Ok(()) };
    let message = format!("the repository at {} had its ceremony: its id is {id}", client.server());
    Err(Error::failed(message).next("its root is at <mirror>/metadata/1.root.json; `rstuf status` shows how it does"))
}

fn refuse_overwriting(root_out: &Path, root: Option<&[u8]>) -> Result<(), Error> {
    match std::fs::read(root_out) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::failed(format!("{} cannot be read: {error}", root_out.display()))),
        Ok(bytes) if root == Some(&bytes) => Ok(()),
        Ok(_) => {
            let message = format!("{} exists, and is another root", root_out.display());
            Err(Error::failed(message).next("move it away, or choose another file with --root-out"))
        }
    }
}

/// Says how to go on: with the same, or, where the coordinator refused what the configuration file says, with a changed
/// file.
fn resumable(error: Error, args: &CeremonyArgs) -> Error {
    if !error.violations.is_empty() {
        return error.next(format!("change it in {} and run again", args.config.display()));
    }
    let hint = format!("what was signed is kept in {}: run the same again to go on", args.work_dir.display());
    let next = error.next.as_ref().map_or_else(|| hint.clone(), |next| format!("{next}; {hint}"));
    error.next(next)
}

/// Before the coordinator is asked anything. The keys are opened only when they are to sign.
fn refuse_missing(config: &Config) -> Result<(), Error> {
    let files = config.root_keys.iter().flat_map(|key| std::iter::once(&key.file).chain(&key.passphrase_file));
    for file in files {
        let opened = std::fs::File::open(file);
        opened.map_err(|error| Error::failed(format!("{} cannot be read: {error}", file.display())))?;
    }
    Ok(())
}

fn open_keys(config: &Config) -> Result<Vec<FileKey>, Error> {
    config.root_keys.iter().map(|key| key_file::open(&key.file, key.passphrase_file.as_deref())).collect()
}

fn plan(config: &Config, holders: &[FileKey], online: Online) -> Plan {
    let keys = holders.iter().map(|key| key.public_key().clone()).collect();
    Plan {
        layout: config.layout,
        holders: Signers { keys, threshold: config.root_threshold },
        targets: online.targets,
        snapshot: online.snapshot,
        timestamp: online.timestamp,
    }
}

/// Shows who will sign what, and asks.
fn confirm(context: &Context, plan: &Plan, yes: bool) -> Result<(), Error> {
    context.output.note(&describe(plan));
    if yes {
        return Ok(());
    }
    ask::confirm(
        context.asker,
        "Make and sign the first root with these keys?",
        "nothing was signed",
        "compare the keys with what each signer logged when it made its own, then run the same with --yes",
    )
}

fn describe(plan: &Plan) -> String {
    let online = if plan.layout.bins().is_some() { "bins" } else { "targets" };
    let holders = if plan.layout.bins().is_some() { "root, targets" } else { "root" };
    let groups = [
        (holders, &plan.holders),
        (online, &plan.targets),
        ("snapshot", &plan.snapshot),
        ("timestamp", &plan.timestamp),
    ];
    let rows = groups.into_iter().flat_map(|(name, signers)| fingerprints(name, signers));
    format!("layout {}\n{}", plan.layout, table(["SIGNS", "THRESHOLD", "KEY ID", "PUBLIC KEY"], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_another_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.root.json");
        assert_eq!(refuse_overwriting(&path, None), Ok(()));
        std::fs::write(&path, "old").unwrap();
        assert_eq!(refuse_overwriting(&path, Some(b"old")), Ok(()));
        assert!(refuse_overwriting(&path, Some(b"new")).unwrap_err().message.contains("another root"));
        assert!(refuse_overwriting(&path, None).is_err());
    }
}
