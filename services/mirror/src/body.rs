//! Bodies of answers: bytes in memory, files, documents that are compressed as they are read.

use std::{
    io,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    files::OpenFile,
    gzip::Packing,
    metrics::Counted,
    wire::{Answers, Part, Piece},
};

/// What is given at a time of bytes in memory: the larger, the fewer calls; the smaller, the less waits here for a slow
/// reader.
const WHOLE_BYTES_MAX: usize = 64 * 1024;

/// The body of an answer.
pub(crate) struct AnswerBody {
    source: Source,
    counted: Option<Counted>,
    answers: Answers,
}

impl AnswerBody {
    /// Counted until what it gives has been sent over the connection of these answers.
    pub(crate) fn new(source: Source, counted: Counted, answers: Answers) -> Self {
        Self { source, counted: Some(counted), answers }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(counted) = self.counted.take() {
            self.answers.ended(counted);
        }
    }
}

/// Where the bytes of a body come from.
pub(crate) enum Source {
    Whole(Bytes),
    Range(FileRange),
    Gzip(Compressed),
}

impl Source {
    pub(crate) const EMPTY: Self = Self::Whole(Bytes::new());
}

impl Body for AnswerBody {
    type Data = Piece;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, io::Error>>> {
        let piece = match &mut self.source {
            Source::Whole(bytes) => Piece::Bytes(bytes.split_to(bytes.len().min(WHOLE_BYTES_MAX))),
            Source::Range(range) => range.next(),
            Source::Gzip(compressed) => Piece::Bytes(ready!(compressed.poll_next(context))?),
        };
        if !piece.has_remaining() {
            return Poll::Ready(None);
        }
        if let Some(counted) = &self.counted {
            counted.sent(piece.remaining());
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Range(range) => SizeHint::with_exact(range.left.end - range.left.start),
            Source::Gzip(_) => SizeHint::default(),
        }
    }
}

/// A range of a file, which the connection itself reads and sends.
pub(crate) struct FileRange {
    file: OpenFile,
    left: Range<u64>,
    answers: Answers,
}

impl FileRange {
    /// Sent over the connection of these answers.
    pub(crate) fn new(file: OpenFile, range: Range<u64>, answers: Answers) -> Self {
        Self { file, left: range, answers }
    }

    fn next(&mut self) -> Piece {
        if self.left.is_empty() {
            return Piece::Bytes(Bytes::new());
        }
        let part = Part::first_of(&self.file, &self.left);
        self.left.start = part.end();
        self.answers.place(part)
    }
}

/// A document that is compressed as it is read.
pub(crate) enum Compressed {
    Reading(JoinHandle<(Packing, io::Result<Bytes>)>),
    Ended,
}

impl Compressed {
    pub(crate) fn new(file: OpenFile) -> Self {
        Self::read(Packing::new(file))
    }

    fn read(mut packing: Packing) -> Self {
        Self::Reading(spawn_blocking(move || {
            let bytes = packing.next();
            (packing, bytes)
        }))
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Self::Reading(reading) = self else { return Poll::Ready(Ok(Bytes::new())) };
        let (packing, bytes) = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other)?;
        *self = Self::Ended;
        let bytes = bytes?;
        if !bytes.is_empty() {
            *self = Self::read(packing);
        }
        Poll::Ready(Ok(bytes))
    }
}
