//! One trace from caller to service to service and through a stored context, as a collector receives it.

use std::{collections::BTreeSet, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::KeyValue,
    trace::v1::Span,
};
use rstuf_runtime::telemetry::{self, TelemetryConfig};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::common::{EXPORT, Served, call, port, within};

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

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|it| it.key == key).and_then(|it| it.value.clone());
    found.map(|it| format!("{:?}", it.value)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_receives_one_trace() {
    let (listener, address) = port().await;
    let (sender, mut received) = mpsc::unbounded_channel();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let collector = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(collector.serve_with_incoming(incoming));
    let config = TelemetryConfig {
        otlp_endpoint: Some(format!("http://{address}")),
        log_filter: "warn".to_owned(),
        ..TelemetryConfig::new("rstuf-test")
    };
    assert_eq!(telemetry::current_traceparent(), None);
    let guard = telemetry::init(&config).unwrap();
    assert!(matches!(telemetry::init(&config), Err(telemetry::Error::Twice)));

    let last = Served::start("traced-last", |_| {}).await;
    let first = Served::start_with("traced-first", Some(last.client()), |_| {}).await;
    last.open();
    first.open();
    let mut client = first.client();
    let submit = tracing::info_span!(target: "rstuf_test", "submit");
    let stored = async {
        call(&mut client).await.unwrap();
        telemetry::current_traceparent().unwrap()
    }
    .instrument(submit)
    .await;
    let later = tracing::info_span!(target: "rstuf_test", "publish");
    telemetry::set_parent(&later, &stored);
    drop(later);
    let unrelated = tracing::info_span!(target: "rstuf_test", "unrelated");
    telemetry::set_parent(&unrelated, "not a traceparent");
    drop(unrelated);
    drop(client);
    first.stop().await;
    last.stop().await;
    assert!(within(guard.shutdown(Duration::from_secs(10))).await);

    let mut spans: Vec<Span> = Vec::new();
    while let Ok(batch) = received.try_recv() {
        for resource in batch.resource_spans {
            assert!(text(&resource.resource.unwrap().attributes, "service.name").contains("rstuf-test"));
            spans.extend(resource.scope_spans.into_iter().flat_map(|it| it.spans));
        }
    }
    // Tests that run beside this one in the same process have services of other names.
    spans.retain(|it| {
        let service = text(&it.attributes, "service");
        service.is_empty() || service.contains("traced-")
    });
    let names: BTreeSet<_> = spans.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["submit", EXPORT, "publish", "unrelated"]), "and nothing of h2 or the exporter");
    let submit = spans.iter().find(|it| it.name == "submit").unwrap();
    let of = |service: &str| spans.iter().find(|it| text(&it.attributes, "service").contains(service)).unwrap();
    let (first, last) = (of("traced-first"), of("traced-last"));
    let publish = spans.iter().find(|it| it.name == "publish").unwrap();
    let unrelated = spans.iter().find(|it| it.name == "unrelated").unwrap();
    assert_eq!(first.parent_span_id, submit.span_id);
    assert_eq!(last.parent_span_id, first.span_id);
    assert_eq!(publish.parent_span_id, submit.span_id);
    assert!([first, last, publish].iter().all(|it| it.trace_id == submit.trace_id));
    assert_ne!(unrelated.trace_id, submit.trace_id);
    assert!(text(&last.attributes, "code").contains("OK"));
    assert!(text(&last.attributes, "method").contains("Export"));
    assert!(!text(&last.attributes, "request_id").is_empty());
}
