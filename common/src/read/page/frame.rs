//! What stands around every page, and pages that only say that there is nothing.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::text::spoken;
use crate::read::reads::Reads;
use crate::server::headers::PAGE_HEADERS;
use crate::server::problem::Problem;
use crate::store::StoreError;
use crate::wire::node::NodeRole;
use crate::wire::status::{Colour, ReplicationStatus, Verdict};

/// The head and foot of a page.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) colour: &'static str,
    /// The colour in a word, for those who do not see it.
    pub(super) word: &'static str,
    pub(super) origin: String,
    pub(super) role: &'static str,
    pub(super) is_leader: bool,
    pub(super) leader_url: Option<String>,
    pub(super) version: &'static str,
    pub(super) shown_at: String,
    pub(super) shown_at_spoken: String,
}

impl Frame {
    /// The frame of a page about `subject`; the status page is about the node itself.
    pub(super) fn of(reads: &Reads, subject: Option<&str>) -> Self {
        let facts = reads.facts();
        let now = reads.now();
        let verdict = verdict(reads);
        let log = facts.log.as_ref();
        let origin = log.map_or_else(String::new, |log| log.origin.to_string());
        let word = word(verdict.colour);
        let name = if origin.is_empty() { "Diogenes" } else { &origin };
        let title = match subject {
            Some(subject) => format!("{subject} · {name}"),
            None => format!("{word} · {name}"),
        };
        Self {
            title,
            colour: verdict.colour.as_str(),
            word,
            origin,
            role: facts.role.as_str(),
            is_leader: facts.role == NodeRole::Leader,
            leader_url: facts.leader_url.clone(),
            version: facts.version,
            shown_at: now.to_string(),
            shown_at_spoken: spoken(now),
        }
    }
}

/// The sentence of the status, or that there is none yet.
pub(super) fn verdict(reads: &Reads) -> Verdict {
    let shown = reads.board().shown();
    shown.as_ref().map(|shown| shown.status()).map_or_else(
        || starting(reads.has_snapshot()),
        |status: &ReplicationStatus| status.verdict().clone(),
    )
}

fn starting(has_head: bool) -> Verdict {
    let sentence = if has_head {
        "This node has just started; its status is not known yet."
    } else {
        "This node has no signed head yet."
    };
    Verdict { colour: Colour::Amber, sentence: sentence.to_owned() }
}

/// What a colour means.
pub(super) const fn word(colour: Colour) -> &'static str {
    match colour {
        Colour::Green => "OK",
        Colour::Amber => "Attention",
        Colour::Red => "Alarm",
    }
}

/// A page that only says something.
#[derive(Template)]
#[template(path = "message.html")]
struct Message {
    frame: Frame,
    heading: &'static str,
    text: String,
}

/// Why a page cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The log has no such thing.
    Absent(String),
    /// The database does not answer, or what it holds is damaged.
    Unavailable(String),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        // The problem logs what is wrong.
        Problem::from(error).into()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let detail = sentence(problem.detail());
        if problem.code().status().is_client_error() {
            Self::Absent(detail)
        } else {
            Self::Unavailable(detail)
        }
    }
}

fn sentence(detail: &str) -> String {
    let mut characters = detail.chars();
    let first: String = characters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// A page, or why there is none, as an answer.
pub(super) fn answer<T: Template>(reads: &Reads, page: Result<T, Fault>) -> Response {
    match page {
        Ok(page) => html(StatusCode::OK, &page),
        Err(Fault::Absent(text)) => message(reads, StatusCode::NOT_FOUND, "Nothing here", text),
        Err(Fault::Unavailable(text)) => {
            message(reads, StatusCode::SERVICE_UNAVAILABLE, "Not at the moment", text)
        }
    }
}

fn message(reads: &Reads, status: StatusCode, heading: &'static str, text: String) -> Response {
    html(status, &Message { frame: Frame::of(reads, Some(heading)), heading, text })
}

/// A page as an answer that nobody keeps.
fn html(status: StatusCode, page: &impl Template) -> Response {
    let html = page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page cannot be shown");
        "This page cannot be shown; see /api/v1/log/replication-status.".to_owned()
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, PAGE_HEADERS, html).into_response()
}
