//! How a server behaves when there is too much of something, and when it is told to stop.

use std::time::Duration;

use rstuf_runtime::listen;
use tokio::net::TcpStream;
use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::ServiceExt as _;

use crate::common::{Client, EXPORT, Served, call, context, port, until, within};

async fn health(served: &Served) -> ServingStatus {
    let mut client = HealthClient::new(served.channel());
    let answer: HealthCheckResponse = client.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    answer.status()
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_a_way_out() {
    let taken = listen::bind("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let address = taken.local_addr().unwrap();
    let refused = listen::bind(address, false).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("cannot listen on {address}")) && refused.contains("port 0"), "{refused}");
}

#[tokio::test]
async fn overload_is_refused_at_once_and_health_still_answers() {
    let mut served = Served::start("overloaded", |options| options.requests_max = 3).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let other = Client::new(endpoint.local_address(Some([127, 0, 0, 2].into())).connect_lazy().into());
    let mut waiting = Vec::new();
    for mut client in [served.client(), served.client(), other.clone()] {
        waiting.push(tokio::spawn(async move { call(&mut client).await }));
        within(served.seen.recv()).await.unwrap();
    }
    // One peer has its half, and together they have all.
    let cases = [
        (served.client(), "2 requests of 127.0.0.1 are", "(requests_max, peer_percent_max)"),
        (other, "3 requests are", "which is requests_max"),
    ];
    for (mut client, says, setting) in cases {
        let refused = within(call(&mut client)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().starts_with(says) && refused.message().contains(setting), "{refused}");
    }
    assert_eq!(within(health(&served)).await, ServingStatus::Serving);

    served.open();
    for answer in waiting {
        within(answer).await.unwrap().unwrap();
    }
    within(call(&mut served.client())).await.unwrap();
    let metrics = served.context.metrics.grpc();
    until(|| metrics.requests(EXPORT, "OK") == 4).await;
    assert_eq!(metrics.requests(EXPORT, "RESOURCE_EXHAUSTED"), 2);
    served.stop().await;
}

/// Sends bytes in the place of a gRPC message, and reads the code that is answered instead of a message.
async fn send_bytes(served: &Served, method: &str, bytes: &[u8]) -> Code {
    let request = http::Request::post(format!("http://server{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(axum::body::Body::from(bytes.to_vec())))
        .unwrap();
    let answer = within(served.channel().oneshot(request)).await.unwrap();
    // After a message the status comes later.
    answer.headers().get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

#[tokio::test]
async fn what_is_no_message_is_the_callers_fault() {
    let served = Served::start("garbage", |_| {}).await;
    served.open();
    let check = "/grpc.health.v1.Health/Check";
    let export = EXPORT;
    // A length and a message that is not protobuf; a message cut short; a flag that does not exist; a string that is no
    // UTF-8.
    let frames: [&[u8]; 4] =
        [b"\0\0\0\0\x03\xff\xff\xff", b"\0\0\0\0\x09\x0a", b"\x07\0\0\0\0", b"\0\0\0\0\x03\x0a\x01\xff"];
    for bytes in frames {
        assert_eq!(send_bytes(&served, check, bytes).await, Code::InvalidArgument, "{bytes:?}");
    }
    assert_eq!(send_bytes(&served, export, frames[0]).await, Code::InvalidArgument);
    assert_eq!(send_bytes(&served, check, b"\0\0\0\0\0").await, Code::Ok);
    within(call(&mut served.client())).await.unwrap();
    let metrics = served.context.metrics.grpc();
    until(|| metrics.requests(check, "INVALID_ARGUMENT") == 4).await;
    assert_eq!(metrics.requests(check, "INTERNAL"), 0);
    served.stop().await;
}

#[tokio::test]
async fn stopping_lets_requests_finish_and_takes_no_new_connections() {
    let mut served = Served::start("stopping", |_| {}).await;
    let mut watch =
        HealthClient::new(served.channel()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    let hold = served.context.readiness.hold("something is missing");
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    hold.release();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);

    let mut client = served.client();
    let waiting = tokio::spawn(async move { call(&mut client).await });
    within(served.seen.recv()).await.unwrap();
    served.context.shutdown.trigger();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    within(async { while TcpStream::connect(served.address).await.is_ok() {} }).await;
    assert!(!served.server.is_finished());

    drop(watch);
    served.open();
    within(waiting).await.unwrap().unwrap();
    within(served.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut served = Served::start("stubborn", |options| options.shutdown_deadline = Duration::from_millis(100)).await;
    let mut client = served.client();
    let waiting = tokio::spawn(async move { call(&mut client).await });
    within(served.seen.recv()).await.unwrap();
    served.context.shutdown.trigger();
    within(&mut served.server).await.unwrap().unwrap();
    within(waiting).await.unwrap().unwrap_err();
    until(|| served.connections() == 0).await;
    let metrics = served.context.metrics.grpc();
    until(|| metrics.requests(EXPORT, "CANCELLED") == 1).await;
}

#[tokio::test]
async fn a_dropped_server_leaves_no_connection_behind() {
    let mut served = Served::start("dropped", |_| {}).await;
    let mut client = served.client();
    let waiting = tokio::spawn(async move { call(&mut client).await });
    within(served.seen.recv()).await.unwrap();
    served.server.abort();
    within(waiting).await.unwrap().unwrap_err();
    until(|| served.connections() == 0).await;
}

#[tokio::test]
async fn time_limits_are_passed_on_from_hop_to_hop() {
    let mut last = Served::start("last", |_| {}).await;
    let next = Some(last.client());
    let first = Served::start_with("first", next, |options| options.request_timeout = Duration::from_secs(7)).await;
    first.open();

    let mut client = first.client();
    let waiting = tokio::spawn(async move { call(&mut client).await });
    let passed = within(last.seen.recv()).await.unwrap();
    let millis: u64 = passed.get("grpc-timeout").unwrap().to_str().unwrap().trim_end_matches('m').parse().unwrap();
    assert!((1..=7_000).contains(&millis), "{millis}");
    last.open();
    within(waiting).await.unwrap().unwrap();

    let mut impatient = Request::new(Default::default());
    impatient.set_timeout(Duration::from_millis(1));
    last.gate.forget_permits(usize::MAX);
    let status = within(first.client().export(impatient)).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    first.stop().await;
    last.stop().await;
}

#[tokio::test]
async fn a_service_that_is_too_slow_answers_deadline_exceeded() {
    let served = Served::start("slow", |options| options.request_timeout = Duration::from_millis(20)).await;
    let status = within(call(&mut served.client())).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until(|| served.context.metrics.grpc().requests(EXPORT, "DEADLINE_EXCEEDED") == 1).await;
    served.stop().await;
}

#[tokio::test]
async fn unknown_methods_do_not_become_metrics() {
    let served = Served::start("probed", |_| {}).await;
    let mut grpc = tonic::client::Grpc::new(served.channel());
    for path in ["/no.such.Service/A", "/opentelemetry.proto.collector.trace.v1.TraceService/Nothing"] {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let request = Request::new(HealthCheckRequest::default());
        let status = within(grpc.unary(request, path.parse().unwrap(), codec)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
    }
    until(|| served.context.metrics.grpc().requests("unknown", "UNIMPLEMENTED") == 2).await;
    let text = served.context.metrics.encode().unwrap();
    assert!(!text.contains("no.such.Service") && !text.contains("Nothing"), "{text}");
    drop(grpc);
    served.stop().await;
}

#[tokio::test]
async fn reflection_lists_what_is_served() {
    use tonic_reflection::pb::v1::{
        FILE_DESCRIPTOR_SET, ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };

    let served = Served::start("open", |options| options.descriptor_set = Some(FILE_DESCRIPTOR_SET.to_vec())).await;
    let mut client = ServerReflectionClient::new(served.channel());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = within(answers.message()).await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|it| it.name.as_str()).collect();
    assert!(
        names.contains(&"grpc.health.v1.Health") && names.contains(&"grpc.reflection.v1.ServerReflection"),
        "{names:?}"
    );
    drop((answers, client));
    served.stop().await;
}

#[tokio::test]
async fn a_wrong_descriptor_set_is_refused_before_anything_is_served() {
    let served =
        Served::start("broken", |options| options.descriptor_set = Some(b"\xff\xff not protobuf".to_vec())).await;
    let error = within(served.server).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("descriptor set"), "{error}");
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_unavailable_and_found_when_it_comes() {
    let (listener, address) = port().await;
    drop(listener);
    let mut client = HealthClient::new(rstuf_runtime::connect(&format!("http://{address}")).unwrap());
    let status = within(client.check(HealthCheckRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    let listener = rstuf_runtime::listen::bind(address, false).await.unwrap();
    let context = context("late");
    let options = rstuf_runtime::ServeOptions::new(&context);
    let shutdown = context.shutdown.clone();
    let server =
        tokio::spawn(rstuf_runtime::serve(listener, tonic::service::Routes::default(), options, shutdown.clone()));
    within(client.check(HealthCheckRequest::default())).await.unwrap();
    shutdown.trigger();
    within(server).await.unwrap().unwrap();

    for wrong in ["", "127.0.0.1:50051", "https://127.0.0.1:50051", "http://127.0.0.1", "http://127.0.0.1:1/path"] {
        let error = rstuf_runtime::connect(wrong).unwrap_err().to_string();
        assert!(error.contains("allowed is http://HOST:PORT"), "{error}");
        assert_eq!(error.contains("did you mean http://127.0.0.1:50051?"), wrong == "127.0.0.1:50051", "{error}");
    }
}
