//! The coordinator, as this command calls it: bounded in time, tried again where that is safe, and with answers that
//! say what to do. The only module that knows messages and statuses of gRPC.

mod answer;
mod artifacts;
mod imports;
mod messages;
mod patience;
mod repository;
mod stranger;
mod tasks;

use std::time::Duration;

use rstuf_api::proto::{
    artifacts::v1::artifact_service_client::ArtifactServiceClient,
    repository::v1::repository_service_client::RepositoryServiceClient,
    tasks::v1::{Task, task_service_client::TaskServiceClient},
};
use rstuf_runtime::{Channel, Keepalive, retry::Policy};
use tonic::{Request, Response, Status};

pub(crate) use self::answer::silence;
use self::answer::{Call, explain, is_silence, is_unknown, no_coordinator, unknown_before};
pub(crate) use self::artifacts::Located;
pub(crate) use self::imports::{Created, Digest, Elsewhere, OpenImport};
pub(crate) use self::messages::{Outgoing, Part, addition};
pub(crate) use self::patience::Patience;
pub(crate) use self::repository::Ceremony;
use crate::{error::Error, output::Output, view};

/// How long a call may take that answers at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Whoever waits for an answer longer than this is told so.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// A coordinator that hangs is noticed within eight seconds: somebody waits.
const KEEPALIVE: Keepalive = Keepalive { interval: Duration::from_secs(3), timeout: Duration::from_secs(5) };

/// The largest answer that is taken: a page of a thousand artifacts, each with the largest `custom`.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How calls are tried again: at most five attempts within 15 seconds. All are reads, or carry a request id.
const RETRY: Policy = Policy {
    attempts_max: 5,
    delay_base: Duration::from_millis(100),
    delay_max: Duration::from_secs(2),
    elapsed_max: Duration::from_secs(15),
    unknown_outcome: true,
};

/// The coordinator at one address. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    server: String,
    channel: Channel,
    output: Output,
}

impl Client {
    /// A client of `server`, `http://HOST:PORT`; connects at the first call, and tells `output` of troubles.
    ///
    /// # Errors
    /// [`crate::error::Exit::Usage`] where `server` is not of that form.
    pub(crate) fn new(server: &str, output: Output) -> Result<Self, Error> {
        let channel =
            rstuf_runtime::connect_with(server, KEEPALIVE).map_err(|error| Error::usage(error.to_string()))?;
        Ok(Self { server: server.to_owned(), channel, output })
    }

    /// The address.
    #[must_use]
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn artifacts(&self) -> ArtifactServiceClient<Channel> {
        ArtifactServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn tasks(&self) -> TaskServiceClient<Channel> {
        TaskServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn repository(&self) -> RepositoryServiceClient<Channel> {
        RepositoryServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Attempts of something that the coordinator does, as `policy` says.
    #[must_use]
    pub(crate) fn patience(&self, policy: Policy) -> Patience {
        Patience::new(policy, self.output)
    }

    async fn retried<T>(
        &self,
        kind: Call,
        mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Error> {
        let waiting = || {
            let within = humantime::format_duration(CALL_TIMEOUT);
            self.output.note(&format!(
                "no answer from {} yet: waiting while the connection lives, at most {within}",
                self.server
            ));
        };
        let attempt = async || match told(call(), waiting).await {
            Ok(answer) => Ok(Ok(answer.into_inner())),
            Err(status) => self.broken(&status, kind).await.map(Err),
        };
        attempts(self.patience(RETRY), attempt).await
    }

    /// Tells whether the call that ended with `status` may be tried again: that is the inner value.
    async fn broken(&self, status: &Status, kind: Call) -> Result<Broken, Error> {
        let may_be_another = std::error::Error::source(status).is_some() && !is_silence(status);
        if may_be_another && stranger::speaks_http1(&self.server).await {
            let message = format!("{} is not a coordinator: it speaks HTTP/1, as the mirror does", self.server);
            return Err(no_coordinator(message));
        }
        let error = explain(status, &self.server, kind);
        if !RETRY.allows(status) {
            return Err(error);
        }
        Ok(Broken { error, unknown: kind == Call::Write && is_unknown(status) })
    }
}

/// Why a call broke off that may be tried again.
#[derive(Debug)]
pub(crate) struct Broken {
    /// What to say of it.
    pub(crate) error: Error,
    /// It may have taken effect nevertheless.
    pub(crate) unknown: bool,
}

/// The task of an answer.
fn accepted(task: Option<Task>) -> Result<view::Task, Error> {
    task.map(view::Task::from).ok_or_else(|| Error::failed("the coordinator answered without a task"))
}

/// Makes attempts as long as there is patience. The outer error of one is final; after the inner one comes another.
async fn attempts<T>(
    mut patience: Patience,
    mut attempt: impl AsyncFnMut() -> Result<Result<T, Broken>, Error>,
) -> Result<T, Error> {
    let mut unknown = false;
    loop {
        let broken = match attempt().await? {
            Ok(answer) => return Ok(answer),
            Err(broken) => broken,
        };
        unknown |= broken.unknown;
        patience.again(if unknown { unknown_before(broken.error) } else { broken.error }).await?;
    }
}

/// Waits for an answer; where that takes long, `tell` is called once.
async fn told<T>(answer: impl Future<Output = T>, tell: impl FnOnce()) -> T {
    let mut answer = std::pin::pin!(answer);
    match tokio::time::timeout(QUIET_MAX, &mut answer).await {
        Ok(answer) => answer,
        Err(_late) => {
            tell();
            answer.await
        }
    }
}

/// Bounds the time of a call, on both sides.
fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{error::Exit, output::Format};

    /// What tonic makes of a connection that ends during a call, against what a coordinator answers itself.
    #[test]
    fn a_broken_connection_is_an_unknown_outcome() {
        let broken = Status::from_error(Box::new(std::io::Error::other("error reading a body from connection")));
        assert!(RETRY.allows(&broken), "{broken:?}");
        assert_eq!(explain(&broken, "http://a:1", Call::Write).exit, Exit::TryAgain);
        assert!(!RETRY.allows(&Status::unknown("why")) && !RETRY.allows(&Status::internal("why")));
    }

    /// As where a disk hangs, so that the coordinator is there and its answer is not.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_is_waited_for_and_that_is_told() {
        let notes = Cell::new(0);
        let answer = async |after: Duration| {
            let answer = async { tokio::time::sleep(after).await };
            told(answer, || notes.set(notes.get() + 1)).await;
        };
        answer(QUIET_MAX / 2).await;
        assert_eq!(notes.get(), 0);
        answer(QUIET_MAX * 4).await;
        assert_eq!(notes.get(), 1);
    }

    /// A port that was free a moment ago: nobody listens there.
    #[tokio::test]
    async fn nobody_at_the_address_is_unreachable_and_says_how_to_get_somebody() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Client::new(&server, Output::new(Format::Json)).unwrap().status().await.unwrap_err();
        assert_eq!(error.exit, Exit::Unreachable);
        assert!(error.message.contains(&server) && error.to_string().contains("rstuf dev"), "{error}");
    }
}
