//! The trace that the running work belongs to: begun here or by a caller, shown in every log line
//! of that work, and told to every node that is asked on its behalf.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::files::{self, FileError};
use crate::server::RequestId;
use crate::traceparent::{ParentId, TraceId, TraceParent};

/// The header's name.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

tokio::task_local! {
    static CURRENT: Trace;
}

/// A trace as one step of it sees it.
#[derive(Clone, Debug)]
pub struct Trace {
    step: TraceParent,
    request: Option<RequestId>,
}

/// Makes ids of traces. Clones share one sequence.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Sequence>);

#[derive(Debug)]
struct Sequence {
    /// Tells the ids of this start from those of all others, and keeps them unpredictable.
    seed: [u8; 32],
    number: AtomicU64,
}

impl Trace {
    /// The trace of the work that is under way, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Does this work as part of the trace.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Does work on another thread as part of the trace, if there is one.
    pub fn carry<R>(trace: Option<Self>, work: impl FnOnce() -> R) -> R {
        match trace {
            Some(trace) => CURRENT.sync_scope(trace, work),
            None => work(),
        }
    }

    /// Its id.
    pub fn id(&self) -> TraceId {
        self.step.trace()
    }

    /// The request that is answered, if it is one.
    pub fn request(&self) -> Option<&RequestId> {
        self.request.as_ref()
    }

    /// What a node is told that is asked on its behalf.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.step.to_string()).expect("hex digits and dashes are a value")
    }

    /// The same, as the answer to a request.
    #[must_use]
    pub(crate) fn answering(self, request: RequestId) -> Self {
        Self { request: Some(request), ..self }
    }
}

impl Tracer {
    /// Begins a sequence that nobody can foresee.
    pub fn new() -> Result<Self, FileError> {
        Ok(Self(Arc::new(Sequence { seed: files::random()?, number: AtomicU64::new(0) })))
    }

    /// Begins a trace.
    pub fn root(&self) -> Trace {
        let (trace, parent) = self.ids();
        Trace { step: TraceParent::new(trace, parent), request: None }
    }

    /// Goes on with the caller's trace, if a request names one as it should; else begins one.
    pub fn continued(&self, headers: &HeaderMap) -> Trace {
        let (trace, parent) = self.ids();
        let step = match caller(headers) {
            Some(caller) => caller.step(parent),
            None => TraceParent::new(trace, parent),
        };
        Trace { step, request: None }
    }

    fn ids(&self) -> (TraceId, ParentId) {
        loop {
            let number = self.0.number.fetch_add(1, Ordering::Relaxed);
            let digest: [u8; 32] = Sha256::new()
                .chain_update(self.0.seed)
                .chain_update(number.to_be_bytes())
                .finalize()
                .into();
            let trace = digest.first_chunk().copied().and_then(TraceId::new);
            let parent = digest.last_chunk().copied().and_then(ParentId::new);
            if let (Some(trace), Some(parent)) = (trace, parent) {
                return (trace, parent);
            }
        }
    }
}

/// What the only header of that name says.
fn caller(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn no_two_traces_have_one_id() {
        let (one, other) = (Tracer::new().unwrap(), Tracer::new().unwrap());

        let ids = [one.root().id(), one.root().id(), other.root().id()];

        assert_ne!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
    }

    #[test]
    fn a_callers_trace_goes_on_and_what_is_none_is_begun_anew() {
        let tracer = Tracer::new().unwrap();
        let go_on = |values: &[&'static str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append(TRACEPARENT, HeaderValue::from_static(value));
            }
            tracer.continued(&map).header().to_str().unwrap().to_owned()
        };

        let told = go_on(&[CALLER]);

        assert_eq!((&told[..36], &told[52..]), (&CALLER[..36], "-00"));
        assert_ne!(told[36..52], CALLER[36..52], "the step is this node's own");
        for unusable in [&["00-junk"][..], &[CALLER, CALLER], &[]] {
            assert!(!go_on(unusable).contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{unusable:?}");
        }
    }

    #[tokio::test]
    async fn work_of_a_trace_knows_it_and_other_work_does_not() {
        let trace = Tracer::new().unwrap().root();
        let id = trace.id();

        let seen = trace.scope(async { Trace::current() }).await;
        let carried = Trace::carry(seen.clone(), Trace::current);

        assert_eq!(seen.map(|trace| trace.id()), Some(id));
        assert_eq!(carried.map(|trace| trace.id()), Some(id));
        assert!(Trace::current().is_none());
    }
}
