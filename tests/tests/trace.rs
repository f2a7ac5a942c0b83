//! One trace follows a submission, or an import, through all services, as a collector receives it over OTLP.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use rstuf_api::proto::artifacts::v1::{AppendImportRequest, CommitImportRequest, CreateImportRequest};
use rstuf_runtime::telemetry::{self, TelemetryConfig};
use rstuf_tests::{Client, TestRepo};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

/// An import in steps, until it is published.
async fn import(client: &Client) -> anyhow::Result<()> {
    let mut artifacts = client.artifacts();
    let import = artifacts.create_import(CreateImportRequest::default()).await?.into_inner().import.unwrap();
    for offset in 0..2 {
        let changes = vec![client.file(&format!("imported/{offset}"), b"i")?];
        artifacts.append_import(AppendImportRequest { id: import.id.clone(), offset, changes }).await?;
    }
    let task =
        artifacts.commit_import(CommitImportRequest { id: import.id, offset: 2 }).await?.into_inner().task.unwrap();
    client.done(&task.id).await.map(drop)
}

/// How often which call was made in the trace that a span with this name began. The signers must be asked once each,
/// and are not counted.
fn requests<'a>(spans: &'a [Span], root: &str) -> BTreeMap<&'a str, usize> {
    let root = spans.iter().find(|span| span.name == root).unwrap();
    let trace: Vec<&Span> = spans.iter().filter(|span| span.trace_id == root.trace_id).collect();
    let effects: Vec<String> =
        trace.iter().map(|span| text(span, "effect")).filter(|effect| !effect.is_empty()).collect();
    for effect in ["sign_targets", "sign_snapshot", "sign_timestamp", "replace_timestamp", "finish"] {
        assert_eq!(effects.iter().filter(|name| *name == effect).count(), 1, "{effect} once: {effects:?}");
    }
    // Every span hangs together: its parent is in the trace too, up to the caller's.
    let ids: BTreeSet<&[u8]> = trace.iter().map(|span| span.span_id.as_slice()).collect();
    for span in &trace {
        let is_root = span.span_id == root.span_id;
        assert_eq!(is_root, !ids.contains(span.parent_span_id.as_slice()), "{} has no parent", span.name);
    }
    let mut requests = BTreeMap::new();
    for span in trace.iter().filter(|span| !text(span, "service").is_empty()) {
        *requests.entry(span.name.rsplit('/').next().unwrap()).or_insert(0) += 1;
    }
    for (service, method) in [("targets", "SignTargets"), ("snapshot", "SignSnapshot"), ("timestamp", "SignTimestamp")]
    {
        assert_eq!(requests.remove(method), Some(1), "{method}");
        assert!(trace.iter().any(|span| span.name.ends_with(method) && text(span, "service") == service), "{service}");
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_follows_a_submission_and_an_import_through_all_services() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let (sender, mut received) = mpsc::unbounded_channel();
    let collector = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(collector.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
    // What is logged is not what this is about; it would only stand between the results of tests.
    let quiet = TelemetryConfig { log_filter: "error".to_owned(), ..TelemetryConfig::new("rstuf-test") };
    let guard = telemetry::init(&TelemetryConfig { otlp_endpoint: Some(endpoint), ..quiet })?;

    let mut repo = TestRepo::builder().layout("succinct:4").start().await?;
    let client = repo.client();
    client.add(&[("unrelated", b"u")]).await?;
    let files: [(&str, &[u8]); 2] = [("traced/one", b"1"), ("traced/two", b"2")];
    client.add(&files).instrument(tracing::info_span!(target: "rstuf_test", "build")).await?;
    import(&client).instrument(tracing::info_span!(target: "rstuf_test", "import")).await?;
    repo.stop().await?;
    assert!(guard.shutdown(Duration::from_secs(10)).await, "everything was sent");

    let mut spans: Vec<Span> = Vec::new();
    while let Ok(batch) = received.try_recv() {
        spans.extend(batch.resource_spans.into_iter().flat_map(|it| it.scope_spans).flat_map(|it| it.spans));
    }
    assert_eq!(requests(&spans, "build"), [("SubmitArtifacts", 1), ("WatchTask", 1)].into());
    let import = [("CreateImport", 1), ("AppendImport", 2), ("CommitImport", 1), ("WatchTask", 1)];
    assert_eq!(requests(&spans, "import"), import.into());
    Ok(())
}
