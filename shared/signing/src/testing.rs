//! What tests of signers share: a tiny ceremony, and a signer in this process that is reached through its gRPC door.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on ends")]

use std::{collections::BTreeMap, fmt::Debug, future::Future, path::Path, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rstuf_api::{
    convert,
    proto::{
        metadata::v1 as metadata,
        signer::v1::{self as proto, signer_service_client::SignerServiceClient},
    },
};
use rstuf_keys::{FileKey, KeySource as _, SysRng};
use rstuf_runtime::{
    Channel, Clock, Context, ManualClock, Reason, Shutdown,
    config::{CommonRaw, ProcessRaw},
};
use rstuf_tuf::{Document, Envelope, PublicKey, RoleKeys, Root, RootRoles, Sha256, Unsigned, Version, keys_by_id};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::Status;

use crate::{Budget, RunError, SignerConfigRaw};

/// The time at which tests begin.
pub fn start_time() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().expect("a time")
}

/// A key that somebody else holds.
pub fn holder() -> FileKey {
    FileKey::generate(&mut SysRng).expect("randomness")
}

/// `days` after the time at which tests begin.
pub fn after_days(days: i64) -> Timestamp {
    Timestamp::from_second(start_time().as_second() + days * 86_400).expect("a time")
}

/// A version.
pub fn version(number: u32) -> Version {
    Version::new(number).expect("a version")
}

/// The exact bytes of a document signed by these keys.
pub fn signed(document: &impl Document, keys: &[&FileKey]) -> Bytes {
    let unsigned = Unsigned::new(document).expect("a document");
    let signatures = keys.iter().map(|key| key.sign(unsigned.to_sign()).expect("a signature"));
    unsigned.seal(signatures.collect()).into()
}

/// A root with one key for each role: of `targets`, `snapshot` and `timestamp`. Root keys are `root`'s.
pub fn root(number: u32, root: &FileKey, online: [&PublicKey; 3]) -> Root {
    let keys = |key: &PublicKey| RoleKeys::new(vec![key.key_id()], 1).expect("a role");
    let [targets, snapshot, timestamp] = online;
    Root {
        version: version(number),
        expires: after_days(3650),
        keys: keys_by_id([root.public_key(), targets, snapshot, timestamp].map(Clone::clone)),
        roles: RootRoles {
            root: keys(root.public_key()),
            targets: keys(targets),
            snapshot: keys(snapshot),
            timestamp: keys(timestamp),
            unknown: Default::default(),
        },
        unknown: Default::default(),
    }
}

/// The header of a request.
pub fn header(repository: Sha256, batch_id: &str) -> proto::SigningHeader {
    proto::SigningHeader {
        format: 1,
        repository_id: Bytes::copy_from_slice(repository.as_bytes()),
        batch_id: batch_id.to_owned(),
        roots: Vec::new(),
    }
}

/// A revision after `base`, which is the exact bytes of a document of `role`.
pub fn revision(role: &str, base: Option<&[u8]>, number: u32, expires: Timestamp) -> proto::Revision {
    let base = base.map(|bytes| metadata::DocumentRef {
        role: role.to_owned(),
        version: Envelope::parse(bytes).expect("a document").version().get(),
        sha256: Bytes::copy_from_slice(Sha256::of(bytes).as_bytes()),
        length: bytes.len() as u64,
    });
    proto::Revision { base, version: number, expires: Some(convert::timestamp_message(expires)) }
}

/// A document as messages hold it.
pub fn document(role: &str, envelope: &Bytes) -> metadata::Document {
    metadata::Document { role: role.to_owned(), envelope: envelope.clone() }
}

/// The reason of a refusal.
pub fn reason(status: &Status) -> String {
    rstuf_api::Reason::of(status)
        .map(|reason| reason.name.to_string())
        .unwrap_or_else(|| panic!("no reason in {status:?}"))
}

/// The refusal of a request that never ends. It has to come all the same.
pub async fn refused_before_the_end<T: Debug>(answer: impl Future<Output = Result<T, Status>>) -> Status {
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    answer.expect("an answer before the end of the request").unwrap_err()
}

/// Settings of a signer with this state directory, which may make its key.
pub fn config(dir: &Path, create_key: bool) -> SignerConfigRaw {
    let common = CommonRaw {
        listen: Some("127.0.0.1:0".into()),
        state_dir: Some(dir.to_str().expect("a path").into()),
        process: ProcessRaw { admin_listen: Some("127.0.0.1:0".into()), ..ProcessRaw::default() },
        ..CommonRaw::default()
    };
    let create_key = Some(if create_key { "true" } else { "false" }.into());
    SignerConfigRaw { common, create_key, ..SignerConfigRaw::default() }
}

/// A context on a clock that the test moves.
pub fn context(service: &str) -> (Context, ManualClock) {
    let (clock, hand) = Clock::manual(start_time());
    (Context::new(service, clock, Shutdown::new()), hand)
}

/// The versions of a role at a signer that has just started.
#[derive(Debug, Default)]
pub struct Versions {
    budget: Budget,
}

impl Versions {
    /// Signs the next one so long after the start.
    ///
    /// # Panics
    /// Where the signer would refuse that for having signed too many.
    pub fn sign_next(&mut self, after: Duration) {
        let now = start_time().checked_add(after).expect("a time");
        self.budget = self.budget.spend(1, now).expect("a version that the budget allows");
    }
}

/// A signer that runs in this process.
#[derive(Debug)]
pub struct Running {
    /// To its door.
    pub channel: Channel,
    /// Its clock.
    pub clock: ManualClock,
    context: Context,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Runs a built service; `run` is its `run`.
    pub async fn new<F>(context: Context, clock: ManualClock, run: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(run(listener));
        let started = async {
            while context.readiness.reasons().iter().any(|reason| matches!(reason, Reason::Pending(_))) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), started).await.expect("started in time");
        Self { channel: rstuf_runtime::connect(&uri).expect("a channel"), clock, context, task }
    }

    /// Ends it, and waits until its state directory is free.
    pub async fn stop(self) {
        self.context.shutdown.trigger();
        drop(self.channel);
        self.task.await.expect("no panic").expect("a clean end");
    }

    /// What every signer answers.
    pub fn client(&self) -> SignerServiceClient<Channel> {
        SignerServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    /// The signer's public key, as it describes itself.
    pub async fn public_key(&self) -> PublicKey {
        let description = self.client().describe_signer(proto::DescribeSignerRequest {}).await.expect("described");
        let key = &description.get_ref().public_keys[0];
        PublicKey::from_value(&serde_json::from_str(&key.key_json).expect("JSON")).expect("a key")
    }

    /// Base version (0 for none) and watermark by role.
    pub async fn role_states(&self) -> BTreeMap<String, (u32, u32)> {
        let mut stream =
            self.client().list_role_states(proto::ListRoleStatesRequest {}).await.expect("listed").into_inner();
        let mut roles = BTreeMap::new();
        while let Some(state) = stream.message().await.expect("a role") {
            roles.insert(state.role, (state.base.map_or(0, |base| base.version), state.watermark));
        }
        roles
    }

    /// Why it is not ready.
    pub fn reasons(&self) -> Vec<Reason> {
        self.context.readiness.reasons()
    }

    /// The metrics as text.
    pub fn metrics(&self) -> String {
        self.context.metrics.encode().expect("text")
    }
}
