//! W3C trace context: where a trace leaves this process, and where it comes back.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::TraceContextExt,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// The current span's place in its trace, as a W3C `traceparent`, to be stored with work that another task will do
/// later; none where traces are not recorded.
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span`, which must be new (not entered yet), continue the trace of `traceparent`. Does nothing where that is
/// malformed or where traces are not recorded: a trace is never a reason to fail.
pub fn set_parent(span: &Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    adopt(span, &TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier));
}

/// Makes `span` continue the trace that a request's headers name.
pub(crate) fn extract(span: &Span, headers: &HeaderMap) {
    adopt(span, &TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers)));
}

/// Names the current span's trace in a request's headers.
pub(crate) fn inject(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeadersMut(headers));
}

/// The identifier of the trace that `span` belongs to, for logs; none where traces are not recorded.
pub(crate) fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| context.trace_id().to_string())
}

fn adopt(span: &Span, parent: &Context) {
    if parent.span().span_context().is_valid() {
        // Fails only where nothing records traces.
        let _ = span.set_parent(parent.clone());
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
