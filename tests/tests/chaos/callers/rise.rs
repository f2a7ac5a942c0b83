//! How far versions rise.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use rstuf_api::{
    Reason, Refusal, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            GetDocumentsRequest, ListRoleStatesRequest, ListRoleStatesResponse, SignTimestampRequest, SigningHeader,
            signer_service_client::SignerServiceClient, timestamp_signer_service_client::TimestampSignerServiceClient,
        },
    },
};
use rstuf_tests::processes::{Processes, Service};

use super::aimed::revision;

/// What versions may rise by at once, and in a second.
const BURST: u32 = 1_000;
const VERSIONS_PER_SECOND: u32 = 4;
/// As far above the last version as one may be.
const LEAP: u32 = 16;

/// Where every role stood, and when.
#[derive(Debug)]
pub(crate) struct Rise {
    begun: Instant,
    versions: BTreeMap<(Service, String), u32>,
}

impl Rise {
    pub(crate) async fn begin(processes: &Processes) -> anyhow::Result<Self> {
        Ok(Self { begun: Instant::now(), versions: versions(processes).await? })
    }

    /// No role has risen by more than its budget since.
    pub(crate) async fn check(&self, processes: &Processes) -> anyhow::Result<u32> {
        let versions = versions(processes).await?;
        let most = BURST + VERSIONS_PER_SECOND * (u32::try_from(self.begun.elapsed().as_secs())? + 1);
        let mut highest = 0;
        for (role, before) in &self.versions {
            let now = *versions.get(role).with_context(|| format!("{role:?} is gone"))?;
            ensure!((*before..=before + most).contains(&now), "{role:?} rose from {before} to {now}, budget {most}");
            highest = highest.max(now - before);
        }
        Ok(highest)
    }
}

/// The highest version that each signer has signed, or knows, of each of its roles.
async fn versions(processes: &Processes) -> anyhow::Result<BTreeMap<(Service, String), u32>> {
    let mut versions = BTreeMap::new();
    for signer in Service::SIGNERS {
        for state in states(processes, signer).await? {
            versions.insert((signer, state.role.clone()), highest(&state));
        }
    }
    Ok(versions)
}

async fn states(processes: &Processes, signer: Service) -> anyhow::Result<Vec<ListRoleStatesResponse>> {
    let mut client = SignerServiceClient::new(rstuf_runtime::connect(&processes.url(signer))?);
    let mut answer = client.list_role_states(ListRoleStatesRequest {}).await?.into_inner();
    let mut states = Vec::new();
    while let Some(state) = answer.message().await? {
        states.push(state);
    }
    Ok(states)
}

/// The one that was signed last.
async fn snapshot(processes: &Processes) -> anyhow::Result<Document> {
    let mut client = SignerServiceClient::new(rstuf_runtime::connect(&processes.url(Service::Snapshot))?);
    let asked = GetDocumentsRequest { roles: vec!["snapshot".to_owned()] };
    let answer = client.get_documents(asked).await?.into_inner().message().await?;
    answer.and_then(|answer| answer.document).context("no snapshot")
}

fn highest(state: &ListRoleStatesResponse) -> u32 {
    state.base.as_ref().map_or(0, |base| base.version).max(state.watermark)
}

/// Raises timestamps as far and as fast as they can be, across a death of their signer, which forgets nothing: they are
/// refused, and told when they would not be.
pub(crate) async fn leap(processes: &mut Processes, repository: &Bytes) -> anyhow::Result<()> {
    for life in 0..2 {
        let mut client = TimestampSignerServiceClient::new(rstuf_runtime::connect(&processes.url(Service::Timestamp))?);
        let mut leaps = 0;
        loop {
            let state = states(processes, Service::Timestamp).await?.pop().context("no timestamp")?;
            let snapshot = Some(snapshot(processes).await?);
            let header = SigningHeader {
                format: limits::SIGNING_FORMAT,
                repository_id: repository.clone(),
                batch_id: format!("leap-{life}-{leaps}"),
                roots: Vec::<Bytes>::new(),
            };
            let revision = Some(revision(&state, highest(&state) + LEAP));
            let asked = SignTimestampRequest { header: Some(header), revision, snapshot };
            match client.sign_timestamp(asked).await {
                Ok(_) => leaps += 1,
                Err(status) => match Reason::of(&status).map(|reason| reason.name) {
                    Some(Refusal::VersionBudget) => break,
                    // The coordinator was faster, here or at the snapshot.
                    Some(Refusal::VersionUsed | Refusal::BaseMismatch | Refusal::EvidenceInvalid) => {}
                    _ => return Err(status).context("a leap"),
                },
            }
            ensure!(leaps <= 2 * BURST / LEAP, "nobody minds how fast versions rise");
        }
        if life == 0 {
            processes.kill(Service::Timestamp)?;
            processes.spawn(Service::Timestamp)?;
            processes.ready(Service::Timestamp).await?;
        } else if leaps > BURST / LEAP / 2 {
            bail!("it forgot what was spent: {leaps} more");
        }
    }
    Ok(())
}
