//! `rstuf.repository.v1`.

use std::time::Duration;

use rstuf_api::{
    convert::{duration, duration_message, layout, signer_group_message, timestamp_message},
    limits,
    proto::{metadata::v1::Document, repository::v1 as proto},
    status,
};
use rstuf_tuf::RoleName;
use tonic::{Request, Response, Status};

use super::{shared::Shared, tasks::task_message};
use crate::{
    Error, Result,
    blocking::blocking,
    fitness,
    intake::queue,
    journal::{
        Journal,
        rows::{Lifetimes, RoleRow},
    },
    signers::{Description, Group},
    start::ceremony::Ceremony,
    troubles::clock_fault,
};

/// What clients take without a length in the snapshot, in bytes.
const CLIENT_TARGETS_BYTES_MAX: u64 = 5_000_000;
/// What clients take of a snapshot, in bytes.
const CLIENT_SNAPSHOT_BYTES_MAX: u64 = 2_000_000;
/// Days before the expiry of what is signed offline when status begins to warn.
const OFFLINE_EXPIRY_WARNING_DAYS: i64 = 30;
/// Tasks that are set aside and that status names.
const SET_ASIDE_NAMED: usize = 3;

pub(super) struct Service {
    shared: Shared,
}

impl Service {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn describe(&self) -> proto::DescribeRepositoryResponse {
        let repository = self.shared.handles.published.repository();
        proto::DescribeRepositoryResponse {
            repository_id: repository
                .as_ref()
                .map(|repository| bytes::Bytes::copy_from_slice(repository.id.as_bytes()))
                .unwrap_or_default(),
            layout: repository.as_ref().map(|repository| repository.layout.into()),
            lifetimes: repository.as_ref().map(|repository| lifetimes_message(repository.lifetimes)),
            limits: Some(proto::Limits {
                changes_per_submission_max: u32::try_from(limits::CHANGES_PER_SUBMISSION_MAX).unwrap_or(u32::MAX),
                message_bytes_max: limits::REQUEST_BYTES_MAX as u64,
                submissions_waiting_max: u32::try_from(queue::SUBMISSIONS_WAITING_MAX).unwrap_or(u32::MAX),
            }),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn get_status(&self) -> proto::GetStatusResponse {
        let publication = self.shared.handles.published.publication();
        let roles = self.shared.handles.published.roles();
        let (waiting, held, set_aside) = {
            let queue = self.shared.intake.queue();
            (queue.waiting(), queue.held(), queue.set_aside.len())
        };
        // What is on its way into the queue counts too: it is never overlooked.
        let unfinished = self.shared.handles.journal.requests_unfinished();
        let running = unfinished.saturating_sub(waiting + held + set_aside);
        proto::GetStatusResponse {
            ceremony_held: self.shared.handles.published.repository().is_some(),
            publication: publication.number,
            published_at: (publication.number > 0).then(|| timestamp_message(publication.at)),
            submissions_waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            submissions_held: u32::try_from(held).unwrap_or(u32::MAX),
            roles: role_statuses(&roles),
            roles_total: u32::try_from(roles.len()).unwrap_or(u32::MAX),
            signers: self.signers(self.shared.handles.signers.describe_all().await),
            warnings: self.set_aside_warning().await.into_iter().chain(self.warnings(&roles)).collect(),
            submissions_set_aside: u32::try_from(set_aside).unwrap_or(u32::MAX),
            submissions_running: u32::try_from(running).unwrap_or(u32::MAX),
        }
    }

    fn signers(&self, described: Vec<(Group, Result<Description>)>) -> Vec<proto::SignerStatus> {
        let status = |(group, described): (Group, Result<Description>)| {
            let complaint = self.shared.handles.signers.complaint(group).unwrap_or_default();
            let mut signer = proto::SignerStatus {
                group: Some(signer_group_message(group.role())),
                endpoint: self.shared.handles.signers.uri(group).to_owned(),
                reachable: described.is_ok(),
                public_key: None,
                message: complaint,
            };
            match described {
                Ok(described) => {
                    let repository = self.shared.handles.published.repository();
                    let fault = repository.and_then(|repository| fitness::fault(&repository, group, &described));
                    signer.message = fault.unwrap_or(signer.message);
                    signer.public_key = described.public_keys.into_iter().next();
                }
                Err(error) => signer.message = error.to_string(),
            }
            signer
        };
        described.into_iter().map(status).collect()
    }

    /// Names what is set aside, the first of it with the reason, and what to do.
    async fn set_aside_warning(&self) -> Option<String> {
        let (count, first) = {
            let queue = self.shared.intake.queue();
            (queue.set_aside.len(), queue.set_aside.tasks().take(SET_ASIDE_NAMED).collect::<Vec<_>>())
        };
        let tasks = self.shared.handles.tasks.clone();
        let id = *first.first()?;
        let error = blocking(move || tasks.get(id)).await.ok().and_then(|(row, _)| row.error);
        let why = error.map(|error| format!(": {} ({})", error.message, error.reason)).unwrap_or_default();
        let ids = first.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let more = if count > first.len() { ", ..." } else { "" };
        Some(format!(
            "submissions are set aside: {count}, task {ids}{more}{why}; mend that and `rstuf task retry \
             ID`, or drop it with `rstuf task cancel ID`; `rstuf task list --state set_aside` shows all"
        ))
    }

    fn warnings(&self, roles: &[(RoleName, RoleRow)]) -> Vec<String> {
        let now = self.shared.handles.clock.now();
        let repository = self.shared.handles.published.repository();
        let mut warnings = self.shared.handles.troubles.standing();
        warnings.extend(self.shared.handles.clock.jump().map(clock_fault));
        for (role, row) in roles {
            let left_days = row.expires.duration_since(now).as_hours() / 24;
            let offline = match role.top_level() {
                Some(rstuf_tuf::TopLevel::Root) => true,
                Some(rstuf_tuf::TopLevel::Targets) => {
                    repository.as_ref().is_some_and(|repository| repository.layout != rstuf_tuf::Layout::Flat)
                }
                _ => false,
            };
            if row.expires <= now {
                warnings.push(format!("{role} has expired"));
            } else if offline && left_days < OFFLINE_EXPIRY_WARNING_DAYS {
                warnings.push(format!("{role} expires in {left_days} days and must be signed by its holders"));
            }
            let bytes_max = match role.top_level() {
                Some(rstuf_tuf::TopLevel::Snapshot) => CLIENT_SNAPSHOT_BYTES_MAX,
                _ => CLIENT_TARGETS_BYTES_MAX,
            };
            if row.length > bytes_max {
                let length = row.length;
                warnings.push(format!("{role} has {length} bytes, many clients take {bytes_max}: use more bins"));
            }
        }
        warnings
    }

    async fn hold_ceremony(&self, request: proto::HoldCeremonyRequest) -> Result<proto::HoldCeremonyResponse> {
        let ceremony = Ceremony {
            root: request.root,
            targets: request.targets,
            layout: layout("layout", request.layout)?,
            lifetimes: lifetimes(request.lifetimes.unwrap_or_default())?,
        };
        // Goes on to its end also if the caller goes away, so that what is journalled is carried out.
        let ceremonies = self.shared.ceremonies.clone();
        let accepted = tokio::spawn(async move { ceremonies.accept(ceremony).await });
        let task = accepted.await.map_err(|_| Error::Stopping)??;
        Ok(proto::HoldCeremonyResponse { task: Some(task_message(&self.shared.handles.tasks, task).await?) })
    }

    async fn root(&self) -> Result<proto::GetRootResponse> {
        let row = self.shared.handles.read(Journal::repository).await?.ok_or(Error::NoCeremony)?;
        let envelope = self.shared.handles.published.document(&row.root).await?;
        Ok(proto::GetRootResponse { root: Some(Document { role: RoleName::root().to_string(), envelope }) })
    }
}

fn lifetimes_message(lifetimes: Lifetimes) -> proto::Lifetimes {
    let message = |seconds| Some(duration_message(Duration::from_secs(seconds)));
    proto::Lifetimes {
        bins: message(lifetimes.bins_seconds),
        snapshot: message(lifetimes.snapshot_seconds),
        timestamp: message(lifetimes.timestamp_seconds),
        targets: message(lifetimes.targets_seconds),
    }
}

fn lifetimes(message: proto::Lifetimes) -> Result<Lifetimes> {
    let seconds = |field, message| Ok::<_, Error>(duration(field, message)?.as_secs());
    Ok(Lifetimes {
        bins_seconds: seconds("lifetimes.bins", message.bins)?,
        snapshot_seconds: seconds("lifetimes.snapshot", message.snapshot)?,
        timestamp_seconds: seconds("lifetimes.timestamp", message.timestamp)?,
        targets_seconds: seconds("lifetimes.targets", message.targets)?,
    })
}

/// The top-level roles, and the delegated one that expires first.
fn role_statuses(roles: &[(RoleName, RoleRow)]) -> Vec<proto::RoleStatus> {
    let message = |(role, row): &(RoleName, RoleRow)| proto::RoleStatus {
        role: role.to_string(),
        version: row.version.get(),
        expires_at: Some(timestamp_message(row.expires)),
    };
    let top = roles.iter().filter(|(role, _)| role.top_level().is_some());
    let delegated = roles.iter().filter(|(role, _)| role.top_level().is_none());
    let first = delegated.min_by_key(|(_, row)| row.expires);
    top.chain(first).map(message).collect()
}

#[tonic::async_trait]
impl proto::repository_service_server::RepositoryService for Service {
    async fn describe_repository(
        &self,
        _: Request<proto::DescribeRepositoryRequest>,
    ) -> Result<Response<proto::DescribeRepositoryResponse>, Status> {
        Ok(Response::new(self.describe()))
    }

    async fn get_status(
        &self,
        _: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Ok(Response::new(self.get_status().await))
    }

    async fn list_signers(
        &self,
        _: Request<proto::ListSignersRequest>,
    ) -> Result<Response<proto::ListSignersResponse>, Status> {
        let described = self.shared.handles.signers.describe_all().await;
        let all = described.into_iter().map(|(group, described)| described.map(|it| (group, Ok(it))));
        let all = all.collect::<Result<_>>().map_err(status)?;
        Ok(Response::new(proto::ListSignersResponse { signers: self.signers(all) }))
    }

    async fn hold_ceremony(
        &self,
        request: Request<proto::HoldCeremonyRequest>,
    ) -> Result<Response<proto::HoldCeremonyResponse>, Status> {
        self.hold_ceremony(request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_root(&self, _: Request<proto::GetRootRequest>) -> Result<Response<proto::GetRootResponse>, Status> {
        self.root().await.map(Response::new).map_err(status)
    }
}
