//! The URL space: `/metadata/...`, `/targets/...`, and nothing else.

use std::{fmt::Display, io, sync::Arc};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, RETRY_AFTER},
};
use rstuf_runtime::connections::UnderWay;
use rstuf_tuf::Sha256;
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    body::{AnswerBody, Source},
    metrics::{Kind, Metrics},
    path::{MetadataName, Wanted, readings},
    published::Published,
    respond::{Caching, Representation, refusal},
    shelf::{Found, Shelf},
    wire::Answers,
};

/// Everything that answering a request takes.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) metadata: Shelf,
    pub(crate) artifacts: Option<Shelf>,
    pub(crate) published: Published,
    /// Held by the answers to all that is not `timestamp.json`, until their bodies end.
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) short_max_age_seconds: u32,
    pub(crate) metrics: Metrics,
}

/// How many of so many connections may be in an answer at once that is not `timestamp.json`: three of four. Whoever
/// reads slowly, or asks for what must be hashed first, leaves places to those who look whether there is anything new.
pub(crate) const fn transfers_max(connections_max: usize) -> usize {
    let fourth = connections_max.div_ceil(4);
    if connections_max > fourth { connections_max - fourth } else { 1 }
}

/// What a client that found no place is told to wait.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

impl Site {
    /// Answers a request that came over the connection of `answers`, and counts it.
    pub(crate) async fn answer<B>(
        &self,
        request: &Request<B>,
        under_way: UnderWay,
        answers: &Answers,
    ) -> Response<AnswerBody> {
        let (kind, start) = (Kind::of(request.uri().path()), Instant::now());
        let place = if kind == Kind::Timestamp { None } else { self.transfers.clone().try_acquire_owned().ok() };
        let response = match kind == Kind::Timestamp || place.is_some() {
            true => self.routed(kind, request, answers).await,
            false => {
                let mut busy = refusal(StatusCode::SERVICE_UNAVAILABLE);
                busy.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
                busy
            }
        };
        let counted = self.metrics.answered(kind, start, (under_way, place), response.status());
        response.map(|source| AnswerBody::new(source, counted, answers.clone()))
    }

    async fn routed<B>(&self, kind: Kind, request: &Request<B>, answers: &Answers) -> Response<Source> {
        if kind == Kind::Other {
            return refusal(StatusCode::NOT_FOUND);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED);
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,HEAD"));
            return refused;
        }
        let path = request.uri().path();
        let found = match kind {
            Kind::Artifact => self.artifact(path.strip_prefix("/targets/").unwrap_or_default()).await,
            _ => self.metadata(path.strip_prefix("/metadata/").unwrap_or_default()).await,
        };
        match found {
            Ok(Some(found)) => found.respond(request.method(), request.headers(), answers),
            Ok(None) => refusal(StatusCode::NOT_FOUND),
            Err(error) => failure(path, &error),
        }
    }

    async fn metadata(&self, name: &str) -> anyhow::Result<Option<Representation>> {
        let Some(name) = MetadataName::parse(name) else { return Ok(None) };
        let Some(found) = self.metadata.find(name.file).await? else { return Ok(None) };
        let caching = if name.versioned { Caching::Immutable } else { Caching::Seconds(self.short_max_age_seconds) };
        Ok(Some(Representation { found, content: self.metadata.content(), caching }))
    }

    async fn artifact(&self, path: &str) -> anyhow::Result<Option<Representation>> {
        let Some(artifacts) = &self.artifacts else { return Ok(None) };
        let Some((found, caching)) = find(self, artifacts, &readings(path)).await? else { return Ok(None) };
        Ok(Some(Representation { found, content: artifacts.content(), caching }))
    }
}

/// The artifact that a URL means, and how long it will. A blob that the URL names by its SHA-256 needs no metadata; so
/// clients that still hold older metadata are served too.
async fn find(site: &Site, artifacts: &Shelf, readings: &[Wanted]) -> anyhow::Result<Option<(Found, Caching)>> {
    for digest in readings.iter().filter_map(|wanted| wanted.hash.as_ref()?.parse().ok()) {
        if let Some(found) = verified(site, artifacts, digest).await? {
            return Ok(Some((found, Caching::Immutable)));
        }
    }
    for Wanted { path, hash } in readings {
        let Some(target) = site.published.target(path).await? else { continue };
        let caching = match hash {
            None => Caching::Seconds(site.short_max_age_seconds),
            Some(named) if target.hashes().iter().any(|(_, value)| value == *named) => Caching::Immutable,
            Some(_) => continue,
        };
        let digest = target.hashes().as_sha256();
        if let Some(found) = verified(site, artifacts, digest).await? {
            return Ok(Some((found, caching)));
        }
    }
    Ok(None)
}

/// The blob of that digest, if it is there and its bytes still have that digest.
async fn verified(site: &Site, artifacts: &Shelf, digest: Sha256) -> io::Result<Option<Found>> {
    let name = digest.to_string();
    let Some(found) = artifacts.find(&name).await? else { return Ok(None) };
    if found.digest == digest {
        return Ok(Some(found));
    }
    site.metrics.mismatched();
    if found.fresh {
        tracing::error!(file = %name, actual = %found.digest, "artifact does not match its digest and is not served");
    }
    Ok(None)
}

fn failure(path: &str, error: &impl Display) -> Response<Source> {
    tracing::error!(path, %error, "request failed");
    refusal(StatusCode::INTERNAL_SERVER_ERROR)
}
