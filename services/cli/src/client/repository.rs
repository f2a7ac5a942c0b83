//! Calls about the repository.

use rstuf_api::{
    convert::duration_message,
    proto::repository::v1::{
        DescribeRepositoryRequest, GetStatusRequest, HoldCeremonyRequest, Lifetimes, ListSignersRequest,
    },
};
use rstuf_tuf::Layout;

use super::{Client, accepted, answer::Call, timed};
use crate::{error::Error, view};

/// What was made at a ceremony.
#[derive(Debug)]
pub(crate) struct Ceremony {
    /// Signed bytes.
    pub(crate) root: Vec<u8>,
    /// Signed bytes; none in the flat layout.
    pub(crate) targets: Option<Vec<u8>>,
    pub(crate) layout: Layout,
    pub(crate) lifetimes: view::Lifetimes,
}

impl Client {
    /// What the repository is.
    pub(crate) async fn describe(&self) -> Result<view::Repository, Error> {
        let request = DescribeRepositoryRequest {};
        let call = async || self.repository().describe_repository(timed(request)).await;
        self.retried(Call::Read, call).await.map(view::Repository::from)
    }

    /// How the repository does.
    pub(crate) async fn status(&self) -> Result<view::Health, Error> {
        let request = GetStatusRequest {};
        let call = async || self.repository().get_status(timed(request)).await;
        self.retried(Call::Read, call).await.map(view::Health::from)
    }

    /// The key of every signer.
    pub(crate) async fn list_signers(&self) -> Result<Vec<view::Signer>, Error> {
        let request = ListSignersRequest {};
        let answer = self.retried(Call::Read, async || self.repository().list_signers(timed(request)).await).await?;
        Ok(answer.signers.into_iter().map(view::Signer::from).collect())
    }

    /// Hands over what was signed at the first ceremony.
    pub(crate) async fn hold_ceremony(&self, ceremony: Ceremony) -> Result<view::Task, Error> {
        let Ceremony { root, targets, layout, lifetimes } = ceremony;
        let duration = |seconds| Some(duration_message(std::time::Duration::from_secs(seconds)));
        let request = HoldCeremonyRequest {
            root: root.into(),
            targets: targets.unwrap_or_default().into(),
            layout: Some(layout.into()),
            lifetimes: Some(Lifetimes {
                bins: duration(lifetimes.bins_seconds),
                snapshot: duration(lifetimes.snapshot_seconds),
                timestamp: duration(lifetimes.timestamp_seconds),
                targets: duration(lifetimes.targets_seconds),
            }),
        };
        let call = async || self.repository().hold_ceremony(timed(request.clone())).await;
        accepted(self.retried(Call::Write, call).await?.task)
    }
}
