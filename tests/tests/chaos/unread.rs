//! Callers that ask for much and read nothing of it.

use std::{collections::BTreeMap, fs, net::IpAddr};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use rstuf_api::{
    limits,
    proto::{
        artifacts::v1::{ListArtifactsRequest, SubmitArtifactsRequest},
        signer::v1::{
            GetDocumentsRequest, ListRoleStatesRequest, RoleChanges, SignTargetsRequest, SigningHeader,
            sign_targets_request::Part, signer_service_client::SignerServiceClient,
            targets_signer_service_client::TargetsSignerServiceClient,
        },
        tasks::v1::{WatchTaskRequest, task_service_client::TaskServiceClient},
    },
};
use rstuf_tests::{
    Client,
    client::addition,
    processes::{Processes, Service},
    until, within,
};
use rstuf_tuf::Sha256;
use tokio::task::JoinSet;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::callers::revision;

/// More than a process has threads for what blocks.
const CALLS: usize = 600;
const PEERS: u8 = 6;
const CONNECTIONS_OF_PEER: usize = 4;
/// What comes on a stream although nobody reads it, in bytes: the least that HTTP/2 begins with.
const WINDOW_BYTES: u32 = 65_535;
/// What a service may take at its worst, in KiB.
const MEMORY_KIB_MAX: u64 = 300 << 10;

/// A call whose answer is kept and not read.
type Call = fn(Channel, Asked) -> futures::future::BoxFuture<'static, Result<Box<dyn Send>, Status>>;

/// What is asked for.
#[derive(Clone)]
struct Asked {
    sign: Vec<SignTargetsRequest>,
    task: String,
}

fn boxed<T: Send + 'static>(answer: T) -> Box<dyn Send> {
    Box::new(answer)
}

/// The largest answer that each gives.
fn calls() -> Vec<(Service, &'static str, Call)> {
    const SIGN: Call = |channel, asked| {
        let mut client = TargetsSignerServiceClient::new(channel);
        Box::pin(async move { client.sign_targets(tokio_stream::iter(asked.sign)).await.map(boxed) })
    };
    const DOCUMENTS: Call = |channel, _| {
        let mut client = SignerServiceClient::new(channel);
        // Whatever it signs: as often as may be.
        Box::pin(async move {
            let mut states = client.list_role_states(ListRoleStatesRequest {}).await?.into_inner();
            let role = states.message().await?.map(|state| state.role).unwrap_or_default();
            let roles = vec![role; limits::ROLES_PER_CALL_MAX];
            client.get_documents(GetDocumentsRequest { roles }).await.map(boxed)
        })
    };
    // The message of a unary call is read by the client itself: so this one asks as if it were a stream.
    const LIST: Call = |channel, _| {
        let mut client = tonic::client::Grpc::new(channel);
        Box::pin(async move {
            client.ready().await.map_err(|error| Status::from_error(error.into()))?;
            let asked = ListArtifactsRequest { page_size: 1_000, ..Default::default() };
            let path = "/rstuf.artifacts.v1.ArtifactService/ListArtifacts".parse().unwrap();
            let codec = tonic_prost::ProstCodec::<_, rstuf_api::proto::artifacts::v1::ListArtifactsResponse>::default();
            client.server_streaming(tonic::Request::new(asked), path, codec).await.map(boxed)
        })
    };
    const WATCH: Call = |channel, asked| {
        let mut client = TaskServiceClient::new(channel);
        Box::pin(async move { client.watch_task(WatchTaskRequest { id: asked.task }).await.map(boxed) })
    };
    vec![
        (Service::Targets, "SignTargets", SIGN),
        (Service::Targets, "GetDocuments", DOCUMENTS),
        (Service::Snapshot, "GetDocuments", DOCUMENTS),
        (Service::Timestamp, "GetDocuments", DOCUMENTS),
        (Service::Coordinator, "ListArtifacts", LIST),
        (Service::Coordinator, "WatchTask", WATCH),
    ]
}

/// A renewal of every bin, which whoever reaches the signer may ask for.
async fn renewal(system: &Processes) -> anyhow::Result<Vec<SignTargetsRequest>> {
    let mut client = SignerServiceClient::new(rstuf_runtime::connect(&system.url(Service::Targets))?);
    let mut states = client.list_role_states(ListRoleStatesRequest {}).await?.into_inner();
    let header = SigningHeader {
        format: limits::SIGNING_FORMAT,
        repository_id: Bytes::copy_from_slice(Sha256::of(&system.root_bytes()?).as_bytes()),
        batch_id: "unread".to_owned(),
        roots: Vec::new(),
    };
    let mut parts = vec![Part::Header(header)];
    while let Some(state) = states.message().await? {
        // It knows more roles than it signs.
        if state.watermark == 0 {
            continue;
        }
        let revision = Some(revision(&state, state.watermark + 1));
        parts.push(Part::RoleChanges(RoleChanges { role: state.role, revision, renew: true, changes: Vec::new() }));
    }
    Ok(parts.into_iter().map(|part| SignTargetsRequest { part: Some(part) }).collect())
}

/// Calls from several machines, which go on to call while they are answered. Answers what nobody reads.
async fn flood(url: String, call: Call, asked: Asked) -> anyhow::Result<Vec<Box<dyn Send>>> {
    let mut peers = JoinSet::new();
    for number in 0..PEERS {
        let (url, asked) = (url.clone(), asked.clone());
        peers.spawn(async move {
            let address = IpAddr::from([127, 0, 1, number + 1]);
            let endpoint = Endpoint::from_shared(url)?.local_address(Some(address));
            let endpoint =
                endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(u32::MAX >> 1);
            let connections: Vec<Channel> = (0..CONNECTIONS_OF_PEER).map(|_| endpoint.connect_lazy()).collect();
            let mut unread = Vec::new();
            for (_, connection) in (0..CALLS / usize::from(PEERS)).zip(connections.iter().cycle()) {
                match within("an answer or a refusal", call(connection.clone(), asked.clone())).await? {
                    Ok(answer) => unread.push(answer),
                    Err(status) => ensure!(status.code() == Code::ResourceExhausted, "{status:?}"),
                }
            }
            anyhow::Ok(unread)
        });
    }
    let mut unread = Vec::new();
    while let Some(of_peer) = peers.join_next().await {
        unread.extend(of_peer??);
    }
    Ok(unread)
}

/// Somebody honest, who tries again when told to.
async fn publish(client: &Client, path: &str) -> anyhow::Result<()> {
    let busy = |status: &Status| status.code() == Code::ResourceExhausted;
    let added = async || match client.add(&[(path, path.as_bytes())]).await {
        Ok(_) => Ok(true),
        Err(error) if error.downcast_ref().is_some_and(busy) => Ok(false),
        Err(error) => Err(error),
    };
    until("an honest publication", added).await
}

fn peak_kib(system: &Processes, service: Service) -> anyhow::Result<u64> {
    let id = system.id(service).context("it does not run")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Somebody honest is served all the same, and what is not read takes little.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_keep_nobody_out() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let system = Processes::start(dir.path(), "succinct:16").await?;
    let client = system.client()?;
    let long = "long/".repeat(40);
    let artifacts: Vec<_> = (0..8_000).map(|number| addition(&format!("{long}{number}"), b"content")).collect();
    let task = client.submit(artifacts).await?;
    client.done(&task).await?;
    let changes = vec![addition("held", b"never published")];
    let held = SubmitArtifactsRequest { changes, hold: true, ..Default::default() };
    let held = client.artifacts().submit_artifacts(held).await?.into_inner().task.context("no task")?.id;
    let asked = Asked { sign: renewal(&system).await?, task: held };
    let mut peaks = BTreeMap::new();
    for (service, method, call) in calls() {
        let unread = flood(system.url(service), call, asked.clone()).await;
        let unread = unread.with_context(|| format!("{method} of the {}", service.name()))?;
        ensure!(!unread.is_empty(), "{method} of the {} answers", service.name());
        let path = format!("{method}/{}", service.name());
        let published = publish(&client, &path).await;
        published.with_context(|| format!("while nobody reads {method} of the {}", service.name()))?;
        peaks.insert((service.name(), method), peak_kib(&system, service)?);
        drop(unread);
    }
    let large = peaks.iter().find(|(_, peak)| **peak > MEMORY_KIB_MAX);
    ensure!(large.is_none(), "KiB at most: {peaks:?}");
    Ok(())
}
