//! The status page: how the log, those who mirror it and those who watch it stand.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use super::commands::{Check, check};
use super::followers::{Follower, Mirror, followers, mirror};
use super::frame::{Frame, answer, verdict};
use super::growth::{Growth, growth};
use super::incidents::{self, Incidents};
use super::numbers::{Number, numbers};
use super::recent::{Recent, asked, recent};
use super::ruler::{Ruler, ruler};
use super::text::{ago, grouped};
use super::witnesses::{self, Witnesses};
use crate::clock::Timestamp;
use crate::read::query::Params;
use crate::read::reads::Reads;
use crate::wire::status::{Colour, seconds_since};

/// The status of the log and of everybody who mirrors and watches it, for people.
#[utoipa::path(
    get,
    path = "/",
    tag = "node",
    params(("search" = Option<String>, Query, description = "What to look for among the entries")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(super) async fn page(
    State(reads): State<Reads>,
    params: Params,
    headers: HeaderMap,
) -> Response {
    let search = asked(params.text("search").ok().flatten().unwrap_or_default());
    let home = view(&reads, search, &headers).await;
    answer(&reads, Ok(home))
}

#[derive(Template)]
#[template(path = "status.html")]
struct Home {
    frame: Frame,
    sentence: String,
    numbers: Vec<Number>,
    ruler: Option<Ruler>,
    mirror: Option<Mirror>,
    followers: Vec<Follower>,
    witnesses: Witnesses,
    growth: Option<Growth>,
    verified: Verified,
    incidents: Incidents,
    recent: Recent,
    tree_size: u64,
    check: Option<Check>,
}

/// The last verification of the whole log.
struct Verified {
    colour: &'static str,
    text: String,
}

async fn view(reads: &Reads, search: String, headers: &HeaderMap) -> Home {
    let now = reads.now();
    let shown = reads.board().shown();
    let status = shown.as_ref().map(|shown| shown.status());
    let snapshot = reads.snapshot().ok();
    let rows = witnesses::rows(reads, status, snapshot.as_deref()).await;
    let quorum = witnesses::quorum(reads, status, &rows);
    let all = incidents::all(reads).await;
    let grown = match &snapshot {
        None => None,
        Some(snapshot) => growth(reads, snapshot, now)
            .await
            .inspect_err(|error| tracing::warn!(%error, "the status page shows no growth"))
            .ok(),
    };
    Home {
        frame: Frame::of(reads, None),
        sentence: verdict(reads).sentence,
        numbers: numbers(status, now),
        ruler: ruler(status, &rows, quorum.required),
        mirror: mirror(status, now),
        followers: followers(status),
        witnesses: witnesses::witnesses(&rows, quorum, &all),
        growth: grown,
        verified: verified(reads, now),
        incidents: incidents::incidents(&all, now),
        recent: recent(reads, snapshot.as_deref(), search).await,
        tree_size: snapshot.map_or(0, |snapshot| snapshot.size().get()),
        check: check(&reads.facts(), headers, None),
    }
}

fn verified(reads: &Reads, now: Timestamp) -> Verified {
    let Some(run) = reads.last_verification() else {
        let text = "not since this process started".to_owned();
        return Verified { colour: "quiet", text };
    };
    let when = ago(Some(seconds_since(now, run.at)));
    let size = grouped(run.tree.size.get());
    let (colour, errors) = match run.errors {
        0 => (Colour::Green, "no error".to_owned()),
        1 => (Colour::Red, "1 error".to_owned()),
        errors => (Colour::Red, format!("{} errors", grouped(errors))),
    };
    Verified { colour: colour.as_str(), text: format!("{when}, {size} entries, {errors}") }
}
