//! Log lines: where they go, how much is said, and which request they belong to.
//!
//! A line that is written while a trace is worked on ends with that trace's id, and the id of the
//! request if it is one: `"trace_id":"4bf9…","request.id":"…"` in JSON, `trace_id=4bf9…
//! request.id=…` in text. Lines that nobody asked for cost nothing.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LOG_FORMAT, LOG_LEVEL, LogFormat, Settings};
use crate::exit::Failure;
use crate::reload::{Prepared, Reloadable};
use crate::trace::Trace;

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// For `serve` and `run`.
    Stdout,
    /// For every other command, whose standard output is its answer.
    Stderr,
}

/// The log that was started: takes another level.
#[derive(Clone)]
pub struct Logging(Arc<dyn Fn(EnvFilter) + Send + Sync>);

/// What lies below the node, as its log lines name it.
const LIBRARIES: [&str; 7] =
    ["h2", "hyper", "hyper_util", "reqwest", "rustls", "sqlx", "tokio_cron_scheduler"];

/// Starts logging as the settings say; a second call changes nothing.
///
/// Libraries below the node are heard from warnings upward, unless the level is `trace`.
pub fn init_logging(settings: &Settings, to: LogTo) -> Logging {
    let (writer, is_terminal) = match to {
        LogTo::Stdout => (BoxMakeWriter::new(io::stdout), io::stdout().is_terminal()),
        LogTo::Stderr => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
    };
    let by_default = if is_terminal { LogFormat::Text } else { LogFormat::Json };
    let format = settings.value(&LOG_FORMAT).unwrap_or(by_default);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(settings)))
        .with_writer(writer)
        .with_ansi(is_terminal);
    // Several nodes in one process, as in tests, share the first one's log and its level.
    match format {
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true);
            let builder = builder.map_event_format(|inner| InTrace { inner, format });
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            drop(builder.try_init());
            Logging(Arc::new(move |filter| drop(handle.reload(filter))))
        }
        LogFormat::Text => {
            let builder = builder.map_event_format(|inner| {
                let inner = inner.with_ansi(is_terminal);
                InTrace { inner, format }
            });
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            drop(builder.try_init());
            Logging(Arc::new(move |filter| drop(handle.reload(filter))))
        }
    }
}

fn filter(settings: &Settings) -> String {
    match settings.value(&LOG_LEVEL).as_str() {
        "trace" => "trace".to_owned(),
        level => {
            LIBRARIES.iter().fold(level.to_owned(), |filter, name| format!("{filter},{name}=warn"))
        }
    }
}

impl Reloadable for Logging {
    fn takes(&self) -> &'static [&'static str] {
        const { &[LOG_LEVEL.row().name] }
    }

    fn prepare(&self, settings: &Settings) -> Result<Prepared, Failure> {
        let (set, filter) = (self.0.clone(), EnvFilter::new(filter(settings)));
        Ok(Prepared::new(move || set(filter)))
    }
}

/// Ends the lines of another format with the trace that they belong to.
struct InTrace<F> {
    inner: F,
    format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for InTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(trace) = Trace::current() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&in_trace(&line, &trace, self.format))
    }
}

/// The line with the trace at its end.
fn in_trace(line: &str, trace: &Trace, format: LogFormat) -> String {
    let (id, request) = (trace.id(), trace.request());
    let line = line.trim_end_matches('\n');
    match format {
        LogFormat::Json => {
            // The ids are hex digits, letters, dashes and underscores: nothing is to be escaped.
            let request = request.map(|id| format!(r#","request.id":"{}""#, id.as_str()));
            let object = line.strip_suffix('}').unwrap_or(line);
            format!("{object},\"trace_id\":\"{id}\"{}}}\n", request.unwrap_or_default())
        }
        LogFormat::Text => {
            let request = request.map(|id| format!(" request.id={}", id.as_str()));
            format!("{line} trace_id={id}{}\n", request.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::server::RequestId;
    use crate::trace::Tracer;

    #[test]
    fn lines_end_with_the_trace_and_the_request() {
        let trace = Tracer::new().unwrap().root();
        let id = trace.id();
        let request = RequestId::for_test("client-0001");

        let by_itself = in_trace("{\"message\":\"m\"}\n", &trace, LogFormat::Json);
        let answering = trace.answering(request);
        let json = in_trace("{\"message\":\"m\"}\n", &answering, LogFormat::Json);
        let text = in_trace("INFO m\n", &answering, LogFormat::Text);

        assert_eq!(by_itself, format!("{{\"message\":\"m\",\"trace_id\":\"{id}\"}}\n"));
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["trace_id"], id.to_string());
        assert_eq!(parsed["request.id"], "client-0001");
        assert_eq!(text, format!("INFO m trace_id={id} request.id=client-0001\n"));
    }

    /// What was written, as one text.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_belongs_to_a_trace_names_one() {
        let written = Written::default();
        let to = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .map_event_format(|inner| InTrace { inner, format: LogFormat::Json })
            .with_writer(move || to.clone());
        let trace = Tracer::new().unwrap().root();
        let id = trace.id().to_string();

        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!("alone");
            Trace::carry(Some(trace), || tracing::info!(entry = 7, "in it"));
        });

        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["trace_id"], serde_json::Value::Null);
        assert_eq!(lines[1]["trace_id"], id);
        assert_eq!(lines[1]["entry"], 7);
    }
}
