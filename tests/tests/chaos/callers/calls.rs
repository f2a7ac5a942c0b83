//! Calls as bytes: any method, any number of messages, and what came back.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use rstuf_runtime::Channel;
use rstuf_tests::processes::Service;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Code, Request, Response, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// Messages of an answer that are read.
const MESSAGES_MAX: usize = 64;
/// How long the next message of an answer is waited for that has begun: a task may be watched for ever.
const NEXT_MAX: Duration = Duration::from_millis(50);

/// One method at one process.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    pub(crate) at: Service,
    pub(crate) descriptor: MethodDescriptor,
}

impl Method {
    /// Every method of the interface, at every process that serves it.
    pub(crate) fn all(pool: &DescriptorPool) -> Vec<Self> {
        let of = |service: &prost_reflect::ServiceDescriptor| match service.name() {
            "SignerService" => Service::SIGNERS.to_vec(),
            "TargetsSignerService" => vec![Service::Targets],
            "SnapshotSignerService" => vec![Service::Snapshot],
            "TimestampSignerService" => vec![Service::Timestamp],
            _ => vec![Service::Coordinator],
        };
        let methods = pool.services().flat_map(|service| {
            let methods: Vec<_> = service.methods().collect();
            of(&service)
                .into_iter()
                .flat_map(move |at| methods.clone().into_iter().map(move |descriptor| Self { at, descriptor }))
        });
        methods.collect()
    }

    /// As it is counted.
    pub(crate) fn name(&self) -> String {
        format!("{}: {}", self.at.name(), self.descriptor.name())
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Bytes>,
    /// Why it was refused, or broke.
    pub(crate) error: Option<Status>,
}

impl Answer {
    pub(crate) fn code(&self) -> Code {
        self.error.as_ref().map_or(Code::Ok, Status::code)
    }
}

/// Calls a method, and reads the answer as far as it is of use; `read` is false for a caller who does not look at it.
pub(crate) async fn call(channel: &Channel, method: &Method, messages: Vec<Bytes>, read: bool) -> Answer {
    match begin(channel, method, tokio_stream::iter(messages)).await {
        Err(error) => Answer { messages: Vec::new(), error: Some(error) },
        Ok(_) if !read => Answer { messages: Vec::new(), error: None },
        Ok(answer) => finish(answer.into_inner()).await,
    }
}

/// Sends the messages of a stream, and waits until the answer begins.
pub(crate) async fn begin(
    channel: &Channel,
    method: &Method,
    messages: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Response<Streaming<Bytes>>, Status> {
    let path = format!("/{}/{}", method.descriptor.parent_service().full_name(), method.descriptor.name());
    let path = PathAndQuery::try_from(path).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    client.streaming(Request::new(messages), path, Raw).await
}

async fn finish(mut answer: Streaming<Bytes>) -> Answer {
    let mut messages = Vec::new();
    while messages.len() < MESSAGES_MAX {
        match tokio::time::timeout(NEXT_MAX, answer.next()).await {
            Ok(Some(Ok(message))) => messages.push(message),
            Ok(Some(Err(error))) => return Answer { messages, error: Some(error) },
            Ok(None) | Err(_) => break,
        }
    }
    Answer { messages, error: None }
}

/// A channel to each of them.
pub(crate) fn channels(urls: &BTreeMap<Service, String>) -> anyhow::Result<BTreeMap<Service, Channel>> {
    let channel = |(service, url): (&Service, &String)| Ok((*service, rstuf_runtime::connect(url).context("a url")?));
    urls.iter().map(channel).collect()
}

/// Messages stay the bytes that they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
