//! The ceremony of a development repository: one root key, made here, kept beside the data.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rstuf_api::{
    convert,
    proto::{
        repository::v1::{self as proto, repository_service_client::RepositoryServiceClient},
        tasks::v1::{GetTaskRequest, TaskState, WatchTaskRequest, task_service_client::TaskServiceClient},
    },
};
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_runtime::{Channel, Clock, retry::Policy};
use rstuf_tuf::{
    MetadataFile, PublicKey, TopLevel, Unsigned, Version,
    ceremony::{self, Plan, Signers},
};

use crate::options::Options;

/// Default lifetimes, in days.
const OFFLINE_DAYS: u64 = 365;
const BINS_DAYS: u64 = 30;
const TIMESTAMP_DAYS: u64 = 1;
const DAY: u64 = 24 * 3_600;

/// How long the coordinator's start may take, and how often it is asked meanwhile.
const START_MAX: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(10);

/// Holds the ceremony of the repository whose coordinator answers at `coordinator_url`, unless it was held; answers
/// when the repository is published. The root key and what was signed are kept under `options.data_dir`, for a ceremony
/// that broke.
///
/// # Errors
/// What the coordinator says.
pub async fn hold_ceremony(options: &Options, clock: &Clock, coordinator_url: &str) -> anyhow::Result<()> {
    let channel = rstuf_runtime::connect(coordinator_url)?;
    let mut client = RepositoryServiceClient::new(channel.clone());
    let started = tokio::time::timeout(START_MAX, started(&mut client)).await;
    let status = started.context("the coordinator takes no work: its start waits for a signer")??;
    if status.publication > 0 {
        return Ok(());
    }
    let signed = signed_documents(options, clock, &mut client).await?;
    // The start may take a moment longer, and then refuses for that long.
    let policy = Policy { attempts_max: 100, elapsed_max: START_MAX, ..Policy::default() };
    let held = policy.run(&mut rand::rng(), async || client.hold_ceremony(signed.clone()).await).await?;
    let task = held.into_inner().task.context("no task for the ceremony")?;
    wait_done(channel, task.id).await
}

/// How the repository does, once the coordinator's start is over.
async fn started(client: &mut RepositoryServiceClient<Channel>) -> anyhow::Result<proto::GetStatusResponse> {
    let policy = Policy { attempts_max: 100, elapsed_max: START_MAX, ..Policy::default() };
    loop {
        let asked = async || client.get_status(proto::GetStatusRequest {}).await;
        let answer = policy.run(&mut rand::rng(), asked).await;
        let status = answer.context("the coordinator does not answer")?.into_inner();
        // What is published is known before the start is over, but until then no work is taken.
        if status.publication == 0 || status.ceremony_held {
            return Ok(status);
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// Root 1 and targets 1, kept as files so that a start that was interrupted goes on with the same ones.
async fn signed_documents(
    options: &Options,
    clock: &Clock,
    client: &mut RepositoryServiceClient<Channel>,
) -> anyhow::Result<proto::HoldCeremonyRequest> {
    let folder = options.data_dir.join("keys");
    rstuf_store::create_dir(&folder)?;
    let signers = client.list_signers(proto::ListSignersRequest {}).await?.into_inner().signers;
    let key = root_key(folder.join("root.pem"))?;
    let plan = Plan {
        layout: options.layout,
        holders: Signers::one(key.public_key().clone()),
        targets: Signers::one(public_key(&signers, TopLevel::Targets)?),
        snapshot: Signers::one(public_key(&signers, TopLevel::Snapshot)?),
        timestamp: Signers::one(public_key(&signers, TopLevel::Timestamp)?),
    };
    let expires = clock.now().checked_add(Duration::from_secs(OFFLINE_DAYS * DAY))?;
    let root = sign(&key, &Unsigned::new(&ceremony::first_root(&plan, expires)?)?)?;
    let targets = match ceremony::first_targets(&plan, expires)? {
        Some(targets) => sign(&key, &Unsigned::new(&targets)?)?,
        None => Vec::new(),
    };
    let days = |days| Some(convert::duration_message(Duration::from_secs(days * DAY)));
    Ok(proto::HoldCeremonyRequest {
        root: kept(&folder, TopLevel::Root, root)?.into(),
        targets: kept(&folder, TopLevel::Targets, targets)?.into(),
        layout: Some(options.layout.into()),
        lifetimes: Some(proto::Lifetimes {
            bins: days(BINS_DAYS),
            snapshot: Some(convert::duration_message(options.snapshot_lifetime)),
            timestamp: days(TIMESTAMP_DAYS),
            targets: days(OFFLINE_DAYS),
        }),
    })
}

fn root_key(path: PathBuf) -> anyhow::Result<FileKey> {
    if path.exists() {
        return Ok(FileKey::open(&path, None)?);
    }
    let key = FileKey::generate(&mut SysRng)?;
    key.save(&path, None, &mut SysRng)?;
    Ok(key)
}

fn kept(folder: &Path, role: TopLevel, made: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let path = folder.join(MetadataFile::of(&role.into(), Version::ONE).to_string());
    if !path.exists() {
        // The next start takes it for what was signed and sent.
        rstuf_store::replace(&path, &made)?;
    }
    fs::read(&path).with_context(|| format!("can't read {}", path.display()))
}

fn sign(key: &FileKey, unsigned: &Unsigned) -> anyhow::Result<Vec<u8>> {
    Ok(unsigned.seal(vec![key.sign(unsigned.to_sign())?]))
}

fn public_key(signers: &[proto::SignerStatus], role: TopLevel) -> anyhow::Result<PublicKey> {
    let group = convert::signer_group_message(role);
    let signer = signers.iter().find(|signer| signer.group == Some(group));
    let key = signer.and_then(|signer| signer.public_key.as_ref());
    let key = key.with_context(|| format!("the {role} signer has no key"))?;
    Ok(PublicKey::from_value(&serde_json::from_str(&key.key_json)?)?)
}

async fn wait_done(channel: Channel, id: String) -> anyhow::Result<()> {
    let mut client = TaskServiceClient::new(channel);
    let mut watch = client.watch_task(WatchTaskRequest { id: id.clone() }).await?.into_inner();
    while watch.message().await?.is_some() {}
    let task =
        client.get_task(GetTaskRequest::by_id(id)).await?.into_inner().task.context("the ceremony's task is gone")?;
    match (task.state(), task.error) {
        (TaskState::Done, _) => Ok(()),
        (_, Some(error)) => bail!("the ceremony failed: {}", error.message),
        (state, None) => bail!("the ceremony ended as {}", state.as_str_name()),
    }
}
