//! `rstuf dev`: the whole system in one process, on one machine.

mod artifacts;
mod read_back;

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rstuf_runtime::{
    Shutdown,
    telemetry::{self, LogFormat, TelemetryConfig},
    with_causes,
};
use rstuf_standalone::{Options, Place, PortTaken, Standalone};
use rstuf_tuf::{Change, Layout, MetadataFile, RoleName, Version};
use serde::Serialize;

use self::read_back::read_back;
use crate::{
    artifacts_dir,
    client::Client,
    collect::{Collected, Found, Skipped},
    context::Context,
    error::{Error, quoted},
    hash::{self, Recipe},
    key_file,
    output::Format,
    submit, view, wait,
};

/// What this command is called.
const NAME: &str = "rstuf";

/// How long the artifacts of a start may take to be published.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the coordinator may take to look through its state, and how often it is asked.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const START_POLL: Duration = Duration::from_millis(20);

/// How long the last traces may take to be sent.
const TRACES_TIMEOUT: Duration = Duration::from_secs(2);

const HELP: &str = "\
Runs coordinator, signers and mirror, which still speak gRPC and have a key and a state directory each; makes a root key
and holds the ceremony at the first start; goes on where it was at the next. All keys, the root key among them, are in
this one process and under --data: a convenience for one machine, not a deployment. A --data that holds anything else is
refused.

DIR/endpoints.json holds where coordinator and mirror answer, as soon as both do. Clients start from the first root,
<mirror>/metadata/1.root.json, and find artifacts under <mirror>/targets/.

Examples:
  rstuf dev
  rstuf dev --artifacts dist/ --layout flat
  rstuf dev --once --data /tmp/try --coordinator 127.0.0.1:0 --mirror 127.0.0.1:0
  rstuf dev --output json --log-filter warn,rstuf=info";

/// Run everything in one process: a repository on this machine in seconds
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct DevArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "./rstuf-data")]
    data: PathBuf,
    /// Publish the files of this directory, copied by digest [default: two examples under example/, in a new
    /// repository]
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Of a new repository: flat, succinct:N or prefix:N [default: succinct:256]
    #[arg(long, value_name = "LAYOUT")]
    layout: Option<Layout>,
    /// End after the artifacts were read back through the mirror and verified as a client does; exit 0 only then
    #[arg(long)]
    once: bool,
    /// Where the coordinator listens; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:50051")]
    coordinator: SocketAddr,
    /// Where the mirror listens; port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    mirror: SocketAddr,
    /// What the services log on standard error, such as warn,rstuf=info
    #[arg(long, value_name = "DIRECTIVES", default_value = "warn")]
    log_filter: String,
    /// Where traces are sent by OTLP over gRPC; nowhere without it
    #[arg(long, value_name = "http://HOST:PORT")]
    otlp_endpoint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    coordinator: String,
    mirror: String,
    root_url: String,
    data: String,
    layout: String,
    /// Absent where there was nothing to publish.
    task: Option<view::Task>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<Skipped>,
    /// Artifacts that were read back and verified; only with `--once`.
    verified: Option<usize>,
}

pub(crate) async fn run(context: &Context, args: DevArgs) -> Result<(), Error> {
    key_file::harden()?;
    let telemetry = TelemetryConfig {
        log_filter: args.log_filter.clone(),
        otlp_endpoint: args.otlp_endpoint.clone(),
        log_format: match context.settings.output.value {
            Format::Human => LogFormat::Human,
            Format::Json => LogFormat::Json,
        },
        ..TelemetryConfig::new("rstuf-dev")
    };
    let guard = telemetry::init(&telemetry).map_err(|error| Error::usage(error.to_string()))?;
    let outcome = Box::pin(serve(context, args)).await;
    // What could not be sent in time is lost: traces are no reason to fail.
    let _ = guard.shutdown(TRACES_TIMEOUT).await;
    outcome
}

async fn serve(context: &Context, args: DevArgs) -> Result<(), Error> {
    let shutdown = Shutdown::on_signals().map_err(|error| Error::failed(format!("no signals: {error}")))?;
    let given = args.artifacts.as_deref().map(artifacts::given).transpose()?;
    let options = Options {
        layout: args.layout.unwrap_or_default(),
        coordinator: args.coordinator,
        mirror: args.mirror,
        ..Options::new(&args.data)
    };
    let place = Place::take(options.clone()).await.map_err(|error| failed(&error))?;
    let collected = given.map_or_else(|| artifacts::examples(&options, args.once), Ok)?;
    collected.tell(context.output, false);
    let started = Standalone::start_at(place, context.clock.clone(), shutdown.clone()).await;
    let mut standalone = match started {
        Ok(standalone) => standalone,
        Err(_) if shutdown.is_triggered() => return Ok(()),
        Err(error) => return Err(failed(&error)),
    };
    let urls = (standalone.coordinator_url.clone(), standalone.mirror_url.clone());
    let outcome = tokio::select! {
        answer = Box::pin(publish(context, &args, urls, collected, &options)) => answer,
        error = standalone.failure() => Err(failed(&error)),
        () = shutdown.wait() => return standalone.stop().await.map_err(|error| failed(&error)),
    };
    match outcome {
        Ok(answer) if !args.once => {
            context.output.answer(&answer, human)?;
            standalone.wait().await.map_err(|error| failed(&error))
        }
        outcome => {
            let stopped = standalone.stop().await.map_err(|error| failed(&error));
            let answer = outcome?;
            stopped?;
            context.output.answer(&answer, human)
        }
    }
}

fn failed(error: &anyhow::Error) -> Error {
    let message = with_causes(error);
    match error.downcast_ref::<PortTaken>() {
        Some(PortTaken { service, address }) => Error::failed(message).next(format!(
            "stop what listens there, or let it take a free port: --{service} {}",
            SocketAddr::new(address.ip(), 0)
        )),
        None => Error::failed(message),
    }
}

async fn publish(
    context: &Context,
    args: &DevArgs,
    (coordinator, mirror): (String, String),
    collected: Collected,
    options: &Options,
) -> Result<Answer, Error> {
    let client = Client::new(&coordinator, context.output)?;
    let layout = layout(&client).await?;
    if let Some(asked) = args.layout.filter(|asked| asked.to_string() != layout) {
        let message = format!("the repository in {} has the layout {layout}, not {asked}", args.data.display());
        return Err(Error::usage(message).next("leave --layout out, or make a new repository with another --data"));
    }
    let files = collected.files;
    let bar = context.output.bytes_bar(files.iter().map(|file| file.length).sum(), "hashing");
    let changes = hash::additions(files.clone(), Recipe::default(), &bar).await;
    bar.finish_and_clear();
    let changes = changes?;
    let task = match changes.is_empty() {
        true => None,
        false => Some(publish_files(context, &client, files, &changes, &options.artifacts_dir()).await?),
    };
    let verified = if args.once { Some(read_back(context, options, &mirror, &changes).await?) } else { None };
    let root_url = format!("{mirror}/metadata/{}", MetadataFile::of(&RoleName::root(), Version::ONE));
    let data = args.data.display().to_string();
    Ok(Answer { coordinator, mirror, root_url, data, layout, task, skipped: collected.skipped, verified })
}

/// The repository's layout, which the coordinator knows as soon as it has looked through its state.
async fn layout(client: &Client) -> Result<String, Error> {
    let known = async {
        loop {
            let described = client.describe().await?;
            if described.id.is_some() {
                let unknown = || Error::failed("the coordinator answered a layout that is not known here");
                return described.layout.map(|layout| layout.to_string()).ok_or_else(unknown);
            }
            tokio::time::sleep(START_POLL).await;
        }
    };
    let late = |_| Error::failed("the coordinator does not get ready");
    tokio::time::timeout(START_TIMEOUT, known).await.map_err(late)?
}

/// The bytes first: who sees an artifact in the metadata can fetch it.
async fn publish_files(
    context: &Context,
    client: &Client,
    files: Vec<Found>,
    changes: &[Change],
    artifacts_dir: &Path,
) -> Result<view::Task, Error> {
    artifacts_dir::copy(files, changes, artifacts_dir).await?;
    let request_id = uuid::Uuid::new_v4().to_string();
    let task = submit::send(client, context.output, changes, false, &request_id).await?;
    let waited = wait::until_finished(client, context.output, task, PUBLISH_TIMEOUT).await?;
    waited.verdict()?;
    Ok(waited.task)
}

fn human(answer: &Answer) -> String {
    let Answer { coordinator, mirror, root_url, data, layout, task, verified, .. } = answer;
    let mut lines = vec![
        format!("a repository, layout {layout}, with everything in this process and {data}, all keys among it:"),
        "a convenience for one machine, not a deployment".to_owned(),
        String::new(),
        format!("coordinator  {coordinator}"),
        format!("mirror       {mirror}"),
        format!("first root   {root_url}"),
    ];
    lines.extend(task.iter().filter_map(|task| {
        task.counts.as_ref().map(|counts| format!("artifacts    {}{}", counts.words(), wait::publication(task)))
    }));
    if let Some(verified) = verified {
        lines.push(format!("verified     {verified} artifacts, read back through the mirror as a client does"));
        return lines.join("\n");
    }
    let server =
        if coordinator == crate::settings::SERVER_DEFAULT { String::new() } else { format!(" --server {coordinator}") };
    let rstuf = program(std::env::var_os("PATH"), std::env::current_exe().ok());
    lines.extend([
        String::new(),
        "next, in another terminal:".to_owned(),
        format!("  {rstuf} status{server}"),
        format!("  {rstuf} artifact add{server} --artifacts-dir {data}/artifacts FILE"),
        format!("  {rstuf} artifact list{server}"),
        format!("  curl {mirror}/metadata/timestamp.json"),
        "Ctrl-C stops it; the next start goes on where it was".to_owned(),
    ]);
    lines.join("\n")
}

/// How this command is called in another terminal: by its name where that is found, else by where it is.
fn program(path: Option<OsString>, itself: Option<PathBuf>) -> String {
    let found = std::env::split_paths(&path.unwrap_or_default()).any(|folder| folder.join(NAME).is_file());
    match itself.filter(|_| !found) {
        Some(itself) => quoted(&itself.display().to_string()),
        None => NAME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_works_as_it_is_pasted() {
        let dir = tempfile::tempdir().unwrap();
        let path = || Some(dir.path().as_os_str().to_owned());
        assert_eq!(program(path(), Some("/my builds/rstuf".into())), "'/my builds/rstuf'");
        std::fs::write(dir.path().join("rstuf"), "").unwrap();
        assert_eq!(program(path(), Some("/my builds/rstuf".into())), "rstuf");
    }
}
