//! A running signer, the other holders, and requests.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use prost::Message as _;
use rstuf_api::{
    Reason,
    proto::{
        artifacts::v1 as artifacts,
        signer::v1::{
            self as proto, sign_targets_request::Part, targets_signer_service_client::TargetsSignerServiceClient,
        },
        tasks::v1::Outcome,
    },
};
use rstuf_keys::{FileKey, KeySource as _};
use rstuf_signing::{StartError, testing::*};
use rstuf_targets::{ConfigRaw, Service};
use rstuf_tuf::{Change, Custom, Envelope, Layout, Sha256, Target, Targets};
use tonic::Status;

pub(crate) async fn build(dir: &Path, document_bytes_max: usize) -> Result<Running, StartError> {
    let document_bytes_max = Some(document_bytes_max.to_string().into());
    build_with(ConfigRaw { signer: config(dir, true), document_bytes_max, ..ConfigRaw::default() }).await
}

pub(crate) async fn build_with(raw: ConfigRaw) -> Result<Running, StartError> {
    let config = rstuf_runtime::config::checked(&raw).unwrap();
    let (context, clock) = context("targets");
    let service = Service::build(&config, context.clone()).await?;
    Ok(Running::new(context, clock, |listener| service.run(listener)).await)
}

pub(crate) async fn start(dir: &Path) -> Running {
    build(dir, 16 << 20).await.unwrap()
}

/// The other holders of a tiny ceremony, with root 1 and targets 1.
pub(crate) struct Repo {
    pub(crate) layout: Layout,
    pub(crate) offline: FileKey,
    pub(crate) root: Bytes,
    pub(crate) targets: Bytes,
}

impl Repo {
    pub(crate) async fn new(signer: &Running, layout: &str) -> Self {
        let (root_key, offline, snapshot, timestamp) = (holder(), holder(), holder(), holder());
        let (layout, own): (Layout, _) = (layout.parse().unwrap(), signer.public_key().await);
        let targets = layout.delegations(vec![own.clone()], 1).unwrap().map(|delegations| {
            let (targets, unknown) = (BTreeMap::new(), Default::default());
            let delegations = Some(delegations);
            signed(
                &Targets { version: version(1), expires: after_days(365), role: None, targets, delegations, unknown },
                &[&offline],
            )
        });
        let by = if targets.is_some() { offline.public_key() } else { &own };
        let root = root(1, &root_key, [by, snapshot.public_key(), timestamp.public_key()]);
        Self { layout, offline, root: signed(&root, &[&root_key]), targets: targets.unwrap_or_default() }
    }

    pub(crate) async fn pinned(signer: &Running, layout: &str) -> Self {
        let repo = Self::new(signer, layout).await;
        pin(signer, &repo.root, &repo.targets).await.unwrap();
        repo
    }

    pub(crate) fn request(&self, batch_id: &str, roles: Vec<proto::RoleChanges>) -> Vec<Part> {
        let header = Part::Header(header(Sha256::of(&self.root), batch_id));
        std::iter::once(header).chain(roles.into_iter().map(Part::RoleChanges)).collect()
    }

    pub(crate) fn role_of(&self, path: &str) -> String {
        self.layout.role_for(&path.parse().unwrap()).to_string()
    }
}

pub(crate) async fn pin(signer: &Running, root: &Bytes, targets: &Bytes) -> Result<(), Status> {
    let request = proto::PinRequest { root: root.clone(), targets: targets.clone() };
    signer.client().pin(request).await.map(|_| ())
}

pub(crate) fn target(length: u64) -> Target {
    Target::new(length, Sha256([7; 32]).into(), None).unwrap()
}

pub(crate) fn large(bytes: usize) -> Target {
    let custom = format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    Target::new(1, Sha256([7; 32]).into(), Some(Custom::from_json(custom.as_bytes()).unwrap())).unwrap()
}

pub(crate) fn submitted(submission: u32, change: artifacts::Change) -> proto::SubmittedChange {
    proto::SubmittedChange { submission, change: Some(change.encode_to_vec().into()) }
}

pub(crate) fn add(submission: u32, path: &str, target: Target) -> proto::SubmittedChange {
    let change = Change::Add { path: path.parse().unwrap(), target };
    submitted(submission, (&change).into())
}

pub(crate) fn remove(submission: u32, path: &str) -> proto::SubmittedChange {
    let change = Change::Remove { path: path.parse().unwrap() };
    submitted(submission, (&change).into())
}

pub(crate) fn role(
    name: &str,
    base: Option<&[u8]>,
    number: u32,
    changes: Vec<proto::SubmittedChange>,
) -> proto::RoleChanges {
    let revision = Some(revision(name, base, number, after_days(30)));
    proto::RoleChanges { role: name.to_owned(), revision, renew: false, changes }
}

/// By role: the document, if there is one, and outcomes.
pub(crate) type Signed = BTreeMap<String, (Option<Bytes>, Vec<Outcome>)>;

pub(crate) async fn sign(signer: &Running, request: Vec<Part>) -> Result<Signed, Status> {
    let messages: Vec<_> = request.into_iter().map(|part| proto::SignTargetsRequest { part: Some(part) }).collect();
    let client = TargetsSignerServiceClient::new(signer.channel.clone());
    let answer = client.max_decoding_message_size(usize::MAX).sign_targets(tokio_stream::iter(messages)).await?;
    let (mut stream, mut signed) = (answer.into_inner(), Signed::new());
    while let Some(message) = stream.message().await? {
        let more: Vec<_> = message.outcomes().collect();
        let (document, outcomes) = signed.entry(message.role).or_default();
        outcomes.extend(more);
        *document = message.document.map(|document| document.envelope).or(document.take());
    }
    Ok(signed)
}

pub(crate) async fn refused(signer: &Running, request: Vec<Part>) -> Reason {
    let before = signer.role_states().await;
    let status = sign(signer, request).await.unwrap_err();
    assert_eq!(signer.role_states().await, before, "a refusal changes nothing");
    Reason::of(&status).unwrap_or_else(|| panic!("no reason in {status:?}"))
}

pub(crate) async fn load(signer: &Running, role: &str, envelope: &Bytes) -> Result<(), Status> {
    let message = proto::LoadDocumentsRequest { document: Some(document(role, envelope)) };
    signer.client().load_documents(tokio_stream::iter([message])).await.map(|_| ())
}

pub(crate) fn paths(document: &Bytes) -> Vec<String> {
    let targets: Targets = Envelope::parse(document).unwrap().decode().unwrap();
    targets.targets.keys().map(ToString::to_string).collect()
}
