//! A small service (OTLP's collector, since its code is generated already) that tests serve with the real thing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_client::TraceServiceClient,
    trace_service_server::{TraceService, TraceServiceServer},
};
use rstuf_runtime::{Channel, Clock, Context, ServeOptions, Shutdown, connect, listen, serve};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tonic::{Request, Response, Status, metadata::MetadataMap, service::Routes};

pub(crate) type Client = TraceServiceClient<Channel>;
pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Answers each call when it is given a permit, reports what it was called with, and may call another one first.
#[derive(Clone)]
pub(crate) struct Gated {
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) seen: mpsc::UnboundedSender<MetadataMap>,
    pub(crate) next: Option<Client>,
}

#[tonic::async_trait]
impl TraceService for Gated {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.seen.send(request.metadata().clone());
        self.gate.acquire().await.unwrap().forget();
        if let Some(mut next) = self.next.clone() {
            next.export(ExportTraceServiceRequest::default()).await?;
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) context: Context,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) seen: mpsc::UnboundedReceiver<MetadataMap>,
    pub(crate) server: JoinHandle<Result<(), rstuf_runtime::server::Error>>,
}

impl Served {
    pub(crate) async fn start(service: &str, adjust: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::start_with(service, None, adjust).await
    }

    pub(crate) async fn start_with(
        service: &str,
        next: Option<Client>,
        adjust: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        let context = context(service);
        let gate = Arc::new(Semaphore::new(0));
        let (sender, seen) = mpsc::unbounded_channel();
        let gated = Gated { gate: gate.clone(), seen: sender, next };
        let mut options = ServeOptions::new(&context);
        adjust(&mut options);
        let (listener, address) = port().await;
        let routes = Routes::new(TraceServiceServer::new(gated));
        let server = tokio::spawn(serve(listener, routes, options, context.shutdown.clone()));
        Self { address, context, gate, seen, server }
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(1_000);
    }

    /// A client on a connection of its own.
    pub(crate) fn client(&self) -> Client {
        TraceServiceClient::new(self.channel())
    }

    pub(crate) fn channel(&self) -> Channel {
        connect(&format!("http://{}", self.address)).unwrap()
    }

    pub(crate) fn connections(&self) -> i64 {
        self.context.metrics.grpc().connections()
    }

    pub(crate) async fn stop(self) {
        self.context.shutdown.trigger();
        within(self.server).await.unwrap().unwrap();
    }
}

pub(crate) fn context(service: &str) -> Context {
    Context::new(service, Clock::manual(Timestamp::UNIX_EPOCH).0, Shutdown::new())
}

pub(crate) async fn port() -> (TcpListener, SocketAddr) {
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn call(client: &mut Client) -> Result<(), Status> {
    client.export(ExportTraceServiceRequest::default()).await.map(|_| ())
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("took longer than 20 s")
}

/// Waits until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
