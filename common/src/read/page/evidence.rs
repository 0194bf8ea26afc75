//! Files that show what went wrong, for whoever wants to judge for themselves.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

use crate::read::reads::Reads;
use crate::server::body::Path;
use crate::server::headers::NO_STORE;
use crate::server::problem::{Code, Problem};

/// `GET /evidence/{id}.json`.
pub(super) async fn file(
    State(reads): State<Reads>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let absent = || Problem::new(Code::NotFound, "no evidence file has this name");
    let id = number(&name).ok_or_else(absent)?;
    let evidence = reads.store().evidence(id).await?.ok_or_else(absent)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CONTENT_DISPOSITION, attachment(id)),
        (CACHE_CONTROL, NO_STORE),
    ];
    Ok((headers, evidence.bytes).into_response())
}

/// Reads `<number>.json`.
fn number(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".json")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn attachment(id: i64) -> HeaderValue {
    let name = format!("attachment; filename=\"evidence-{id}.json\"");
    HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_numbers() {
        assert_eq!(number("12.json"), Some(12));
        for name in
            ["12", ".json", "-1.json", "+1.json", "1.json.json", "99999999999999999999.json"]
        {
            assert_eq!(number(name), None, "{name}");
        }
    }
}
