//! A door before the snapshot signer, at which a test refuses what the signer itself would sign.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use rstuf_api::{
    ErrorKind, Kinded, Reason, Refusal, limits,
    proto::{
        metadata::v1::Document,
        signer::v1::{
            self as proto,
            sign_snapshot_request::Part,
            signer_service_client::SignerServiceClient,
            signer_service_server::{SignerService, SignerServiceServer},
            snapshot_signer_service_client::SnapshotSignerServiceClient,
            snapshot_signer_service_server::{SnapshotSignerService, SnapshotSignerServiceServer},
        },
    },
};
use rstuf_runtime::Channel;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, async_trait, transport::Server};

/// What becomes of a request for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The signer decides.
    Asked,
    /// It is refused, for this reason.
    Refused(Refusal),
    /// It is refused, because by the signer's clock what it shows has expired.
    Expired,
    /// Nobody hears of it.
    Lost,
    /// The signer signs, and nobody hears of that.
    Unheard,
    /// The signer signs, and something else is answered.
    Garbled,
}

/// Decides by the documents that a request shows.
type Rule = Box<dyn Fn(&[Document]) -> Fate + Send + Sync>;

/// The door; whoever asks there asks the signer behind it.
pub(crate) struct Gate {
    /// Where it is, `http://HOST:PORT`.
    pub(crate) url: String,
    rule: Arc<Mutex<Rule>>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Gate {
    /// Before the signer at this URL; everything passes.
    pub(crate) async fn before(signer_url: &str) -> anyhow::Result<Self> {
        let channel = rstuf_runtime::connect(signer_url)?;
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Fate::Asked)));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes_max = limits::DOCUMENT_MESSAGE_BYTES_MAX;
        let behind = Behind { channel, rule: rule.clone() };
        let server = Server::builder()
            .add_service(SignerServiceServer::new(behind.clone()).max_decoding_message_size(bytes_max))
            .add_service(SnapshotSignerServiceServer::new(behind).max_decoding_message_size(bytes_max));
        let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(Self { url, rule, serving })
    }

    /// From now on this decides.
    pub(crate) fn set(&self, rule: impl Fn(&[Document]) -> Fate + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Whether one of these lists a path that begins so.
pub(crate) fn lists(documents: &[Document], path: &str) -> bool {
    let path = format!("\"{path}");
    documents.iter().any(|document| document.envelope.windows(path.len()).any(|part| part == path.as_bytes()))
}

#[derive(Debug)]
struct Refused(Reason);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a test refuses this")
    }
}

impl std::error::Error for Refused {}

impl Kinded for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }

    fn reason(&self) -> Option<Reason> {
        Some(self.0.clone())
    }
}

#[derive(Clone)]
struct Behind {
    channel: Channel,
    rule: Arc<Mutex<Rule>>,
}

impl Behind {
    fn common(&self) -> SignerServiceClient<Channel> {
        SignerServiceClient::new(self.channel.clone()).max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX)
    }
}

#[async_trait]
impl SnapshotSignerService for Behind {
    async fn sign_snapshot(
        &self,
        request: Request<Streaming<proto::SignSnapshotRequest>>,
    ) -> Result<Response<proto::SignSnapshotResponse>, Status> {
        let (mut stream, mut parts, mut documents) = (request.into_inner(), Vec::new(), Vec::new());
        while let Some(part) = stream.message().await? {
            if let Some(Part::Document(document)) = &part.part {
                documents.push(document.clone());
            }
            parts.push(part);
        }
        let fate = (self.rule.lock().unwrap())(&documents);
        let sign = async || {
            let client = SnapshotSignerServiceClient::new(self.channel.clone());
            let mut client = client.max_decoding_message_size(limits::DOCUMENT_MESSAGE_BYTES_MAX);
            client.sign_snapshot(tokio_stream::iter(parts)).await
        };
        match fate {
            Fate::Asked => sign().await,
            Fate::Refused(reason) => Err(rstuf_api::status(Refused(Reason::new(reason)))),
            Fate::Expired => {
                let reason = Reason::new(Refusal::EvidenceInvalid).with("expired_at", "2030-01-01T00:00:00Z");
                Err(rstuf_api::status(Refused(reason)))
            }
            Fate::Lost => Err(Status::unavailable("a test lost this")),
            Fate::Unheard => {
                sign().await?;
                Err(Status::unavailable("a test lost the answer"))
            }
            Fate::Garbled => {
                let mut answer = sign().await?;
                answer.get_mut().document = documents.into_iter().next();
                Ok(answer)
            }
        }
    }
}

#[async_trait]
impl SignerService for Behind {
    type ListRoleStatesStream = Streaming<proto::ListRoleStatesResponse>;
    type GetDocumentsStream = Streaming<proto::GetDocumentsResponse>;

    async fn describe_signer(
        &self,
        request: Request<proto::DescribeSignerRequest>,
    ) -> Result<Response<proto::DescribeSignerResponse>, Status> {
        self.common().describe_signer(request.into_inner()).await
    }

    async fn pin(&self, request: Request<proto::PinRequest>) -> Result<Response<proto::PinResponse>, Status> {
        self.common().pin(request.into_inner()).await
    }

    async fn list_role_states(
        &self,
        request: Request<proto::ListRoleStatesRequest>,
    ) -> Result<Response<Self::ListRoleStatesStream>, Status> {
        self.common().list_role_states(request.into_inner()).await
    }

    async fn get_documents(
        &self,
        request: Request<proto::GetDocumentsRequest>,
    ) -> Result<Response<Self::GetDocumentsStream>, Status> {
        self.common().get_documents(request.into_inner()).await
    }

    async fn load_documents(
        &self,
        request: Request<Streaming<proto::LoadDocumentsRequest>>,
    ) -> Result<Response<proto::LoadDocumentsResponse>, Status> {
        let (mut stream, mut documents) = (request.into_inner(), Vec::new());
        while let Some(document) = stream.message().await? {
            documents.push(document);
        }
        self.common().load_documents(tokio_stream::iter(documents)).await
    }
}
