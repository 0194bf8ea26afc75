//! Query parameters, read strictly: a bad value is refused, never clamped.

use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::leaf::EventType;
use crate::server::problem::{Code, Problem};
use crate::store::{Filter, Order, Span};

/// The parameters of a query. Those that a handler does not ask for are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// Paging of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Which page, from 1.
    pub page: u64,
    /// How many rows it has at most.
    pub per_page: u64,
}

/// The words for the direction of a list.
pub(super) const ORDERS: [(&str, Order); 2] =
    [("asc", Order::Ascending), ("desc", Order::Descending)];

/// The words of a switch: `?name` alone turns it on.
pub(crate) const SWITCH: [(&str, bool); 5] =
    [("true", true), ("1", true), ("", true), ("false", false), ("0", false)];

/// The last row of a filtered list that can be asked for.
pub(super) const DEEPEST_ROW: u64 = 10_000;

/// The largest number that JSON carries exactly, and so that the document can name as a bound.
pub(crate) const LARGEST: u64 = (1 << 53) - 1;

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(Code::BadRequest, "the query of the URL cannot be read"))?;
        Ok(Self(pairs.0))
    }
}

impl Params {
    /// A parameter; given twice it is refused.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(given, _)| given == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(Problem::invalid(name, format!("`{name}` is given more than once")));
        }
        if first.is_some_and(|text| text.contains('\0')) {
            // No text of the log holds one, and PostgreSQL takes none.
            let detail = format!("`{name}` holds a NUL character");
            return Err(Problem::new(Code::NulCharacter, detail.clone()).error(name, detail));
        }
        Ok(first)
    }

    /// A text that is not empty and not too long.
    pub(super) fn bounded(&self, name: &'static str, most: usize) -> Result<Option<&str>, Problem> {
        match self.text(name)? {
            Some(text) if text.is_empty() || text.len() > most => {
                Err(Problem::invalid(name, format!("`{name}` has from 1 to {most} bytes")))
            }
            text => Ok(text),
        }
    }

    /// `event_type`: a type that an entry can have.
    pub(super) fn event_type(&self) -> Result<Option<&str>, Problem> {
        match self.text("event_type")? {
            Some(text) if !text.parse().is_ok_and(|of: EventType| of.is_known()) => {
                Err(Problem::invalid(
                    "event_type",
                    "`event_type` is one of this log's own types, such as `attestation`, or \
                 x-<namespace>:<name>",
                ))
            }
            text => Ok(text),
        }
    }

    /// A whole number within a range.
    pub fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|value| digits && range.contains(value));
        let (least, most) = (range.start(), range.end());
        value.map(Some).ok_or_else(|| {
            Problem::invalid(
                name,
                match *most {
                    u64::MAX => format!("`{name}` is a whole number from {least} on"),
                    most => format!("`{name}` is a whole number from {least} to {most}"),
                },
            )
        })
    }

    /// A number that cannot be left out.
    pub fn required(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<u64, Problem> {
        let missing = || Problem::invalid(name, format!("`{name}` is missing"));
        self.number(name, range)?.ok_or_else(missing)
    }

    /// One of some words.
    pub fn choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let words: Vec<&str> =
                choices.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
            Problem::invalid(name, format!("`{name}` is one of: {}", words.join(", ")))
        })
    }

    /// Whether a switch is given: `?name`, `?name=true` or `?name=1`.
    pub fn switch(&self, name: &'static str) -> Result<bool, Problem> {
        self.choice(name, &SWITCH).map(Option::unwrap_or_default)
    }

    /// `page` and `per_page`, 50 unless given and at most 200.
    pub(super) fn paging(&self) -> Result<Paging, Problem> {
        self.pages_of(50, 200)
    }

    /// `page` and `per_page` of the lists that are meant to be read whole: up to 1,000 rows, which
    /// is what they have unless less is asked for.
    pub fn long_paging(&self) -> Result<Paging, Problem> {
        self.pages_of(1000, 1000)
    }

    /// `page` and `page_size` of files, which have 100 rows unless more is asked for.
    pub(super) fn file_paging(&self, most: u64) -> Result<Paging, Problem> {
        self.pages_by("page_size", 100, most)
    }

    fn pages_of(&self, usual: u64, most: u64) -> Result<Paging, Problem> {
        self.pages_by("per_page", usual, most)
    }

    fn pages_by(&self, size: &'static str, usual: u64, most: u64) -> Result<Paging, Problem> {
        Ok(Paging {
            page: self.number("page", 1..=u64::from(u32::MAX))?.unwrap_or(1),
            per_page: self.number(size, 1..=most)?.unwrap_or(usual),
        })
    }

    /// The part of the log up to a size that is asked for: `after` and `order`.
    pub(super) fn span(&self, size: u64) -> Result<Span, Problem> {
        Ok(Span {
            after: self.number("after", 0..=LARGEST)?.unwrap_or(0),
            upto: size,
            order: self.choice("order", &ORDERS)?.unwrap_or_default(),
        })
    }

    /// The same query with another page, for a link.
    pub fn with_page(&self, page: u64) -> String {
        self.with(&[("page", page)])
    }

    /// The same query from the first page of what follows an entry, for a link.
    pub(super) fn with_after(&self, id: u64) -> String {
        self.with(&[("after", id), ("page", 1)])
    }

    fn with(&self, numbers: &[(&str, u64)]) -> String {
        let is_kept = |name: &str| numbers.iter().all(|(replaced, _)| *replaced != name);
        let mut query = String::new();
        for (name, value) in self.0.iter().filter(|(name, _)| is_kept(name)) {
            encode(name, &mut query);
            query.push('=');
            encode(value, &mut query);
            query.push('&');
        }
        let numbers: Vec<String> =
            numbers.iter().map(|(name, number)| format!("{name}={number}")).collect();
        query.push_str(&numbers.join("&"));
        query
    }
}

impl Paging {
    /// How many rows come before the page.
    pub const fn offset(self) -> u64 {
        (self.page - 1) * self.per_page
    }

    /// The rows of this page.
    pub(super) fn rows<T>(self, all: &[T]) -> &[T] {
        let place = |row: u64| usize::try_from(row).unwrap_or(usize::MAX).min(all.len());
        &all[place(self.offset())..place(self.offset() + self.per_page)]
    }

    /// The entries of this page, as the store is asked for them.
    pub(super) fn filter(self, event_type: Option<&str>, span: Span) -> Filter<'_> {
        Filter {
            event_type,
            after: span.after,
            offset: self.offset(),
            limit: self.per_page,
            order: span.order,
        }
    }

    /// The page after this one, if there are more rows and it may be asked for.
    pub fn next(self, total: u64, is_filtered: bool) -> Option<u64> {
        let next = Self { page: self.page + 1, ..self };
        let may = !is_filtered || next.not_too_deep().is_ok();
        (may && next.offset() < total).then_some(next.page)
    }

    /// Refuses pages that reach beyond the last row of a filtered list.
    pub(super) fn not_too_deep(self) -> Result<(), Problem> {
        self.ends_before(
            "a filtered list ends at row 10,000; go on with after=<id of the last entry seen>",
        )
    }

    /// Refuses pages that reach beyond the last row of a list of keys.
    pub(super) fn keys_not_too_deep(self) -> Result<(), Problem> {
        self.ends_before(
            "a list of keys ends at row 10,000; go on with after=<first_entry_id of the last key \
             seen>",
        )
    }

    /// Refuses pages that reach beyond the last row of a list that can't be asked for in parts.
    pub fn list_not_too_deep(self) -> Result<(), Problem> {
        self.ends_before("this list ends at row 10,000; see GET /log/audit-trail for all of them")
    }

    /// Refuses pages that reach beyond the last row of a list that is read as files.
    pub(super) fn file_not_too_deep(self) -> Result<(), Problem> {
        if self.is_too_deep() {
            let hint = "an export ends at row 10,000: narrow it by scope, key, document or dates, or \
                        go on with after=<id of the last entry seen>; the whole log is at \
                        /api/v1/log/replicate";
            let detail = "page times page_size is at most 10,000";
            return Err(Problem::new(Code::PageTooDeep, hint).error("page", detail));
        }
        Ok(())
    }

    fn ends_before(self, hint: &'static str) -> Result<(), Problem> {
        if self.is_too_deep() {
            let detail = "page times per_page is at most 10,000 in such a list";
            return Err(Problem::new(Code::PageTooDeep, hint).error("page", detail));
        }
        Ok(())
    }

    const fn is_too_deep(self) -> bool {
        self.offset() + self.per_page > DEEPEST_ROW
    }
}

/// Writes a text so that it can stand in a query.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
                out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/x?{query}").parse().unwrap();
        Params(Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(params("n=5&other=x").number("n", 1..=9), Ok(Some(5)));
        assert_eq!(params("").number("n", 1..=9), Ok(None));
        for bad in ["n=0", "n=10", "n=+5", "n=-1", "n=", "n=5x", "n=1e1", "n=5&n=6", "n=%205"] {
            let problem = params(bad).number("n", 1..=9).unwrap_err();
            assert_eq!(problem.code(), Code::ValidationFailed, "{bad}");
            assert_eq!(problem.errors()[0].pointer, "n", "{bad}");
        }
    }

    #[test]
    fn words_are_those_that_are_known() {
        let choices = [("asc", 1), ("desc", 2)];
        assert_eq!(params("order=desc").choice("order", &choices), Ok(Some(2)));
        assert!(params("order=DESC").choice("order", &choices).is_err());
        assert_eq!(params("verbose").switch("verbose"), Ok(true));
        assert_eq!(params("verbose=false").switch("verbose"), Ok(false));
        assert!(params("verbose=perhaps").switch("verbose").is_err());
    }

    #[test]
    fn an_event_type_is_one_that_entries_have() {
        for known in ["attestation", "trust_config", "x-acme:deployed"] {
            let params = params(&format!("event_type={known}"));
            assert_eq!(params.event_type().unwrap(), Some(known));
        }
        for unknown in ["", "atestation", "x-acme", "X-acme:a", "acme:a"] {
            let problem = params(&format!("event_type={unknown}")).event_type().unwrap_err();
            assert_eq!(problem.code(), Code::ValidationFailed, "{unknown}");
        }
    }

    #[test]
    fn no_text_holds_a_nul() {
        let problem = params("search=a%00").text("search").unwrap_err();
        assert_eq!(problem.code(), Code::NulCharacter);
        assert_eq!(problem.errors()[0].pointer, "search");
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(params("").paging(), Ok(Paging { page: 1, per_page: 50 }));
        assert!(params("per_page=201").paging().is_err());
        assert_eq!(params("").long_paging(), Ok(Paging { page: 1, per_page: 1000 }));
        assert!(params("per_page=1001").long_paging().is_err());
        assert!(params("page=0").paging().is_err());
        assert!(Paging { page: 50, per_page: 200 }.not_too_deep().is_ok());
        let deep = Paging { page: 51, per_page: 200 }.not_too_deep().unwrap_err();
        assert_eq!(deep.code(), Code::PageTooDeep);
        let page = |page| Paging { page, per_page: 200 };
        assert_eq!(page(1).next(201, true), Some(2));
        assert_eq!(page(1).next(200, true), None);
        assert_eq!(page(50).next(20_000, true), None, "no link leads to a refusal");
        assert_eq!(page(50).next(20_000, false), Some(51));
    }

    #[test]
    fn links_keep_the_query_and_escape_it() {
        let link = params("search=a%26b%3Dc%20%C3%A9&page=2&event_type=x-a:b").with_page(3);
        assert_eq!(link, "search=a%26b%3Dc%20%C3%A9&event_type=x-a:b&page=3");
    }
}
