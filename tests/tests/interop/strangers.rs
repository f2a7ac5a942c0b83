//! Whoever reaches a signer's port may have it sign, within its rules. The coordinator goes on above whatever that was,
//! with nothing lost, and clients never find less than what is published.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use jiff::ToSpan as _;
use prost::Message as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rstuf_api::{
    convert, limits,
    proto::{
        metadata::v1 as metadata,
        repository::v1::ListSignersRequest,
        signer::v1::{
            self as proto, sign_snapshot_request::Part as SnapshotPart, sign_targets_request::Part as TargetsPart,
            signer_service_client::SignerServiceClient, snapshot_signer_service_client::SnapshotSignerServiceClient,
            targets_signer_service_client::TargetsSignerServiceClient,
            timestamp_signer_service_client::TimestampSignerServiceClient,
        },
    },
};
use rstuf_runtime::{Channel, Clock};
use rstuf_tests::{TestRepo, client::addition, until};
use rstuf_tuf::{Envelope, MetadataFile, RoleName, Sha256, Snapshot, Targets};
use sha2::Digest as _;

use crate::scene::Scene;

/// Rounds of one play.
const ROUNDS: usize = 24;

/// A caller who knows the signers' addresses, and the protocol.
struct Stranger {
    repository: Sha256,
    targets: Channel,
    snapshot: Channel,
    timestamp: Channel,
    clock: Clock,
    random: StdRng,
}

impl Stranger {
    async fn new(repo: &TestRepo, random: StdRng) -> anyhow::Result<Self> {
        let signers = repo.client().repository().list_signers(ListSignersRequest {}).await?.into_inner().signers;
        let channel = |index: usize| rstuf_runtime::connect(&signers[index].endpoint).context("an address");
        Ok(Self {
            repository: Sha256::of(&repo.root_bytes()?),
            targets: channel(0)?,
            snapshot: channel(1)?,
            timestamp: channel(2)?,
            clock: repo.clock().clone(),
            random,
        })
    }

    fn header(&mut self) -> proto::SigningHeader {
        proto::SigningHeader {
            format: limits::SIGNING_FORMAT,
            repository_id: Bytes::copy_from_slice(self.repository.as_bytes()),
            batch_id: format!("stranger-{}", self.random.random::<u64>()),
            roots: Vec::new(),
        }
    }

    async fn states(&self, channel: &Channel) -> anyhow::Result<Vec<proto::ListRoleStatesResponse>> {
        let mut client = SignerServiceClient::new(channel.clone());
        let mut stream = client.list_role_states(proto::ListRoleStatesRequest {}).await?.into_inner();
        let mut states = Vec::new();
        states.extend(stream.message().await?);
        while let Some(state) = stream.message().await? {
            states.push(state);
        }
        Ok(states)
    }

    async fn document(&self, channel: &Channel, role: &str) -> anyhow::Result<Bytes> {
        let request = proto::GetDocumentsRequest { roles: vec![role.to_owned()] };
        let mut stream = SignerServiceClient::new(channel.clone()).get_documents(request).await?.into_inner();
        Ok(stream.message().await?.and_then(|answer| answer.document).context("no document")?.envelope)
    }

    /// The next version of a role, or one a few above it.
    fn revision(&mut self, state: &proto::ListRoleStatesResponse) -> proto::Revision {
        let highest = state.base.as_ref().map_or(0, |base| base.version).max(state.watermark);
        let expires = rstuf_tuf::whole_seconds(self.clock.now() + 20.hours());
        proto::Revision {
            base: state.base.clone(),
            version: highest + self.random.random_range(1..=3),
            expires: Some(convert::timestamp_message(expires)),
        }
    }

    /// Puts a path of its own into the role that is responsible for it; answers the role.
    async fn sign_targets(&mut self, role: &RoleName, path: &str) -> anyhow::Result<()> {
        let states = self.states(&self.targets).await?;
        let state = states.into_iter().find(|state| state.role == role.as_str()).context("no such role")?;
        let change =
            proto::SubmittedChange { submission: 0, change: Some(addition(path, b"foreign").encode_to_vec().into()) };
        let changes = proto::RoleChanges {
            role: role.to_string(),
            revision: Some(self.revision(&state)),
            renew: true,
            changes: vec![change],
        };
        let parts = [TargetsPart::Header(self.header()), TargetsPart::RoleChanges(changes)];
        let messages = parts.map(|part| proto::SignTargetsRequest { part: Some(part) });
        let mut client = TargetsSignerServiceClient::new(self.targets.clone());
        let mut answer = client.sign_targets(tokio_stream::iter(messages)).await?.into_inner();
        while answer.message().await?.is_some() {}
        Ok(())
    }

    /// A snapshot that lists what was signed last of these roles.
    async fn sign_snapshot(&mut self, roles: &[RoleName]) -> anyhow::Result<()> {
        let state = self.states(&self.snapshot).await?.into_iter().next().context("no snapshot")?;
        let header = proto::SnapshotHeader { header: Some(self.header()), revision: Some(self.revision(&state)) };
        let (mut parts, mut list) = (vec![SnapshotPart::Header(header)], sha2::Sha256::new());
        for role in roles {
            let envelope = self.document(&self.targets, role.as_str()).await?;
            list.update(Sha256::of(&envelope).as_bytes());
            parts.push(SnapshotPart::Document(metadata::Document { role: role.to_string(), envelope }));
        }
        let documents_sha256 = Bytes::copy_from_slice(&list.finalize());
        parts.push(SnapshotPart::End(proto::EvidenceEnd { documents_sha256 }));
        let messages = parts.into_iter().map(|part| proto::SignSnapshotRequest { part: Some(part) });
        let mut client = SnapshotSignerServiceClient::new(self.snapshot.clone());
        client.sign_snapshot(tokio_stream::iter(messages.collect::<Vec<_>>())).await?;
        Ok(())
    }

    /// A timestamp over the newest snapshot.
    async fn sign_timestamp(&mut self) -> anyhow::Result<()> {
        let snapshot = self.document(&self.snapshot, "snapshot").await?;
        let state = self.states(&self.timestamp).await?.into_iter().next().context("no timestamp")?;
        let request = proto::SignTimestampRequest {
            header: Some(self.header()),
            revision: Some(self.revision(&state)),
            snapshot: Some(metadata::Document { role: "snapshot".to_owned(), envelope: snapshot }),
        };
        TimestampSignerServiceClient::new(self.timestamp.clone()).sign_timestamp(request).await?;
        Ok(())
    }
}

/// Paths of everything that a client reaches from `timestamp.json`.
fn published_paths(dir: &Path) -> anyhow::Result<BTreeSet<String>> {
    let parse = |name: String| Envelope::parse(&fs::read(dir.join(&name)).context(name)?).map_err(anyhow::Error::from);
    let timestamp: rstuf_tuf::Timestamp = parse("timestamp.json".to_owned())?.decode()?;
    let snapshot = MetadataFile::of(&RoleName::snapshot(), timestamp.snapshot.version);
    let snapshot: Snapshot = parse(snapshot.to_string())?.decode()?;
    let mut paths = BTreeSet::new();
    for (role, entry) in snapshot.meta {
        let targets: Targets = parse(MetadataFile::of(&role, entry.version).to_string())?.decode()?;
        paths.extend(targets.targets.keys().map(ToString::to_string));
    }
    Ok(paths)
}

/// Takes the task of a submission, as soon as the coordinator takes it.
async fn submitted(scene: &Scene, change: rstuf_api::proto::artifacts::v1::Change) -> anyhow::Result<String> {
    let (client, mut task) = (scene.client(), None);
    until("a submission is taken", async || {
        task = client.submit(vec![change.clone()]).await.ok();
        Ok(task.is_some())
    })
    .await?;
    task.context("no task")
}

/// In every round a stranger has some of the signers sign; sometimes everything restarts, sometimes the journal is
/// lost, before an honest submission comes, or while it is on its way.
async fn play(layout: &str, seed: u64) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut scene = Scene::start(layout).await?;
    let layout: rstuf_tuf::Layout = layout.parse()?;
    scene.add(&[("honest", b"first")]).await?;
    let mut timestamps = 0;
    for round in 0..ROUNDS {
        let mut stranger = Stranger::new(&scene.repo, StdRng::seed_from_u64(random.random())).await?;
        let (path, content) = (format!("honest/{round}"), format!("round {round}").into_bytes());
        let change = scene.client().file(&path, &content)?;
        let early = random.random_bool(0.3);
        let task = if early { Some(scene.client().submit(vec![change.clone()]).await?) } else { None };
        let mut signed = Vec::new();
        for number in 0..random.random_range(0..3) {
            let foreign = format!("foreign/{round}/{number}");
            let role = layout.role_for(&foreign.parse()?);
            // It may lose a race with the coordinator: then it is refused.
            if stranger.sign_targets(&role, &foreign).await.is_ok() && !signed.contains(&role) {
                signed.push(role);
            }
        }
        let mut overtaken = random.random_bool(0.6) && stranger.sign_snapshot(&signed).await.is_ok();
        overtaken = overtaken && random.random_bool(0.5) && stranger.sign_timestamp().await.is_ok();
        timestamps += usize::from(overtaken);
        drop(stranger);
        match random.random_range(0..6) {
            0 => scene.repo.restart().await?,
            1 if !early => {
                scene.repo.stop().await?;
                fs::remove_dir_all(scene.repo.data_dir().join("coordinator"))?;
                scene.repo.start().await?;
            }
            _ => {}
        }
        let task = match task {
            Some(task) => task,
            None => submitted(&scene, change).await?,
        };
        let done = scene.client().done(&task).await.with_context(|| format!("round {round}"))?;
        // Not by its publication: where everything restarts after both signed, what is found signed is published first,
        // and the submission then changes nothing.
        ensure!(published_paths(&scene.repo.metadata_dir())?.contains(&path), "round {round}: {done:?}");
        scene.expect(&[(&path, &content)]);
    }
    scene.judge().await?;
    let published = published_paths(&scene.repo.metadata_dir())?;
    let foreign = published.iter().any(|path| path.starts_with("foreign/"));
    ensure!(foreign && timestamps > 0, "the stranger had no part in it");
    let client = scene.client();
    until("the list shows what is published", async || {
        let listed = client.list("").await?;
        Ok(listed.into_iter().map(|artifact| artifact.path).collect::<BTreeSet<_>>() == published)
    })
    .await?;
    scene.repo.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_goes_on_above_whatever_signers_signed() -> anyhow::Result<()> {
    for layout in ["flat", "succinct:4"] {
        let seed: u64 = rand::rng().random();
        play(layout, seed).await.with_context(|| format!("{layout}, seed {seed}"))?;
    }
    Ok(())
}
