//! What a targets signer works on goes to its disk too, and leaves the floor to its state.

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use prost::Message as _;
use rstuf_api::{
    Reason, convert,
    proto::signer::v1::{
        Revision, RoleChanges, SignTargetsRequest, SigningHeader, SubmittedChange, sign_targets_request::Part,
        targets_signer_service_client::TargetsSignerServiceClient,
    },
};
use rstuf_runtime::Clock;
use rstuf_tests::{
    client::removal,
    processes::{Processes, Service},
};
use sha2::{Digest as _, Sha256};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Code, Status};

use crate::disks::{FLOOR_MIB, SmallDisk};

/// A request of which more has come than stays in memory.
fn large(root: &[u8]) -> anyhow::Result<Vec<SignTargetsRequest>> {
    let header = SigningHeader {
        format: 1,
        repository_id: Sha256::digest(root).to_vec().into(),
        batch_id: "large".to_owned(),
        roots: Vec::new(),
    };
    let expires = Timestamp::from_second(Clock::system().now().as_second() + 24 * 3_600)?;
    let revision = Revision { base: None, version: 2, expires: Some(convert::timestamp_message(expires)) };
    let change = |number: u32| {
        let path = format!("{number:0400}");
        SubmittedChange { submission: 1, change: Some(removal(&path).encode_to_vec().into()) }
    };
    let changes = (0..10_000).map(change).collect();
    let role = RoleChanges { role: "bins-0".to_owned(), revision: Some(revision), renew: false, changes };
    let parts = [Part::Header(header), Part::RoleChanges(role)];
    Ok(parts.map(|part| SignTargetsRequest { part: Some(part) }).to_vec())
}

async fn refusal(
    url: &str,
    request: impl Stream<Item = SignTargetsRequest> + Send + 'static,
) -> anyhow::Result<Status> {
    let mut client = TargetsSignerServiceClient::new(rstuf_runtime::connect(url)?);
    let asked = async {
        let mut answer = client.sign_targets(request).await?.into_inner();
        while answer.message().await?.is_some() {}
        Ok(())
    };
    rstuf_tests::within("a refusal", asked).await?.err().context("it was signed")
}

/// Where the changes of a request don't fit beside the floor, it is refused before all of it has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_fit_on_the_disk_is_refused_as_it_comes() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&dir.path().join("targets"))? else { return Ok(()) };
    let system = Processes::start(dir.path(), "succinct:2").await?;
    let (url, request) = (system.url(Service::Targets), large(&system.root_bytes()?)?);
    disk.leave(FLOOR_MIB + 1)?;
    let unending = tokio_stream::iter(request.clone()).chain(tokio_stream::pending());
    let status = refusal(&url, unending).await?;
    ensure!(status.code() == Code::ResourceExhausted && status.message().contains("space"), "{status:?}");
    disk.make_space()?;
    // With space, the whole of it is judged.
    let status = refusal(&url, tokio_stream::iter(request)).await?;
    let reason = Reason::of(&status).with_context(|| format!("{status:?}"))?;
    ensure!(["BASE_MISMATCH", "VERSION_USED"].contains(&reason.name.as_str()), "{status:?}");
    Ok(())
}
