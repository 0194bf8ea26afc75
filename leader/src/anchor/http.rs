//! `POST /api/v1/log/anchor`.

use axum::response::Response;
use diogenes_common::server::problem::{Code, Problem};
use diogenes_common::wire::log::AnchorAnswer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AnchorError, CALENDARS, anchor};
use crate::app::App;
use crate::auth::Operator;

/// The routes of this feature.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_anchor))
}

/// Anchors the newest head with the calendars of `OpenTimestamps`.
///
/// No calendar can be configured in this version, so that it answers 503 alone.
#[utoipa::path(
    post,
    path = "/api/v1/log/anchor",
    tag = "log",
    security(("operator" = [])),
    extensions(("x-problems" = json!(["anchoring_not_configured"]))),
    responses((status = 200, description = "Anchored", body = AnchorAnswer)),
)]
async fn post_anchor(_: Operator) -> Result<Response, Problem> {
    match anchor()? {}
}

impl From<AnchorError> for Problem {
    fn from(error: AnchorError) -> Self {
        match error {
            AnchorError::NotConfigured => {
                Self::new(Code::AnchoringNotConfigured, error.to_string())
                    .member("setting", CALENDARS)
            }
        }
    }
}
