//! The URL space: `/metadata/...`, `/targets/...`, and nothing else.

use std::{fmt::Display, io, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::RETRY_AFTER};
use rstuf_tuf::Sha256;
use tokio::{sync::Semaphore, task::spawn_blocking, time::Instant};
use tower::util::MapResponseLayer;
use tower_http::compression::{CompressionLayer, CompressionLevel};

use crate::{
    digests::Digests,
    files::{Directory, OpenFile},
    metrics::{Kind, Metrics},
    path::{MetadataName, Wanted, readings},
    published::Published,
    respond::{Caching, Compressible, Content, Representation, mark_compressed, refusal},
};

/// Everything that answering a request takes.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) metadata: Shelf,
    pub(crate) artifacts: Option<Shelf>,
    pub(crate) published: Published,
    /// Held by the answers to all that is not `timestamp.json`, until their bodies end.
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) short_max_age_seconds: u32,
    pub(crate) metrics: Metrics,
}

/// Files of one kind, and their digests: each kind has permits of its own, so that artifacts never keep metadata
/// waiting.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) directory: Directory,
    pub(crate) digests: Digests,
}

/// How many of so many connections may be in an answer at once that is not `timestamp.json`: three of four. Whoever
/// reads slowly, or asks for what must be hashed first, leaves places to those who look whether there is anything new.
pub(crate) const fn transfers_max(connections_max: usize) -> usize {
    let fourth = connections_max.div_ceil(4);
    if connections_max > fourth { connections_max - fourth } else { 1 }
}

/// What a client that found no place is told to wait.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// The mirror's whole HTTP application.
pub(crate) fn router(site: Site) -> Router {
    let compression = CompressionLayer::new()
        .gzip(true)
        .quality(CompressionLevel::Fastest)
        .compress_when(|_, _, _: &HeaderMap, extensions: &http::Extensions| extensions.get::<Compressible>().is_some());
    let counted = (site.metrics.clone(), Arc::clone(&site.transfers));
    Router::new()
        .route("/metadata/{*name}", get(metadata))
        .route("/targets/{*path}", get(artifact))
        .fallback(async || refusal(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || refusal(StatusCode::METHOD_NOT_ALLOWED))
        .with_state(Arc::new(site))
        .layer(compression)
        .layer(MapResponseLayer::new(mark_compressed))
        .layer(middleware::from_fn_with_state(counted, count))
}

async fn count(
    State((metrics, transfers)): State<(Metrics, Arc<Semaphore>)>,
    request: Request,
    next: Next,
) -> Response {
    let (kind, start) = (Kind::of(request.uri().path()), Instant::now());
    let place = if kind == Kind::Timestamp { None } else { transfers.try_acquire_owned().ok() };
    let answer = match kind == Kind::Timestamp || place.is_some() {
        true => next.run(request).await,
        false => {
            let mut busy = refusal(StatusCode::SERVICE_UNAVAILABLE);
            busy.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
            busy
        }
    };
    metrics.answered(kind, start, place, answer)
}

async fn metadata(State(site): State<Arc<Site>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let Some(name) = uri.path().strip_prefix("/metadata/").and_then(MetadataName::parse) else {
        return refusal(StatusCode::NOT_FOUND);
    };
    let found = match open(&site.metadata.directory, name.file).await {
        Ok(Some(file)) => site.metadata.digests.of(&file).await.map(|known| Some((file, known.digest))),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    match found {
        Ok(Some((file, digest))) => {
            let short = Caching::Seconds(site.short_max_age_seconds);
            let caching = if name.versioned { Caching::Immutable } else { short };
            Representation { file, digest, content: Content::Metadata, caching }.respond(&method, &headers)
        }
        Ok(None) => refusal(StatusCode::NOT_FOUND),
        Err(error) => failure(&uri, &error),
    }
}

async fn artifact(State(site): State<Arc<Site>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let Some(artifacts) = &site.artifacts else { return refusal(StatusCode::NOT_FOUND) };
    let readings = readings(uri.path().strip_prefix("/targets/").unwrap_or_default());
    match find(&site, artifacts, &readings).await {
        Ok(Some((file, digest, caching))) => {
            Representation { file, digest, content: Content::Artifact, caching }.respond(&method, &headers)
        }
        Ok(None) => refusal(StatusCode::NOT_FOUND),
        Err(error) => failure(&uri, &error),
    }
}

/// The artifact that a URL means, and how long it will. A blob that the URL names by its SHA-256 needs no metadata; so
/// clients that still hold older metadata are served too.
async fn find(
    site: &Site,
    artifacts: &Shelf,
    readings: &[Wanted],
) -> anyhow::Result<Option<(OpenFile, Sha256, Caching)>> {
    for digest in readings.iter().filter_map(|wanted| wanted.hash.as_ref()?.parse().ok()) {
        if let Some(file) = verified(site, artifacts, digest).await? {
            return Ok(Some((file, digest, Caching::Immutable)));
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
        if let Some(file) = verified(site, artifacts, digest).await? {
            return Ok(Some((file, digest, caching)));
        }
    }
    Ok(None)
}

/// Opens the blob of that digest, if it is there and its bytes still have that digest.
async fn verified(site: &Site, artifacts: &Shelf, digest: Sha256) -> io::Result<Option<OpenFile>> {
    let name = digest.to_string();
    let Some(file) = open(&artifacts.directory, &name).await? else { return Ok(None) };
    let known = artifacts.digests.of(&file).await?;
    if known.digest == digest {
        return Ok(Some(file));
    }
    site.metrics.mismatched();
    if known.fresh {
        tracing::error!(file = %name, actual = %known.digest, "artifact does not match its digest and is not served");
    }
    Ok(None)
}

async fn open(directory: &Directory, name: &str) -> io::Result<Option<OpenFile>> {
    let (directory, name) = (directory.clone(), name.to_owned());
    spawn_blocking(move || directory.open(&name)).await.map_err(io::Error::other)?
}

fn failure(uri: &Uri, error: &impl Display) -> Response {
    tracing::error!(path = uri.path(), %error, "request failed");
    refusal(StatusCode::INTERNAL_SERVER_ERROR)
}
