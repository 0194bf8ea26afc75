//! Endorsements as the edges between keys: of many keys at once, in one order, up to a limit.
//!
//! Every list comes key by key, in the order in which the keys were asked for. It is read in that
//! order, too, and ends at its limit: the work is bounded by what is handed out, not by what there
//! is. `CROSS JOIN` and `INDEXED BY` fix the loops of SQLite; PostgreSQL is told the order, which it
//! gets from the same indexes. A filter that little passes makes a statement read more than it
//! hands out, so callers with many keys ask for some at a time.

use futures_util::TryStreamExt as _;

use super::Store;
use super::bulk::{Session as _, Sql, packed, unpacked};
use super::commit::number;
use super::edges::Moment;
use super::error::StoreError;
use super::pool::on_pool;
use super::trust::ENDORSEMENTS;
use super::views::{ENDORSED, read_rows};
use crate::clock::Timestamp;
use crate::event::text::folded;
use crate::keys::Fingerprint;
use crate::statement::Category;
use crate::trust::Side;
use crate::view::EndorsementState;

/// Which endorsements are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeFilter {
    /// Only those of this category.
    pub category: Option<Category>,
    /// Only those in this state.
    pub state: Option<EndorsementState>,
    /// Only those that name this institution, folded.
    pub institution: Option<String>,
    /// Only those that were offered after this entry,
    pub after: u64,
    /// and not after this one.
    pub upto: u64,
}

/// An endorsement as an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRow {
    /// The entry that offered it; of one by the operator, its only entry.
    pub offer_id: u64,
    /// Who gives it.
    pub endorser: Fingerprint,
    /// Who receives it.
    pub endorsed: Fingerprint,
    /// As what.
    pub category: Category,
    /// Its state.
    pub state: EndorsementState,
    /// From when on it is active, if it was accepted.
    pub active_from: Option<Timestamp>,
    /// From when on it is expired.
    pub valid_until: Option<Timestamp>,
}

/// The state of an endorsement `e` in the log up to `$2` at the instant `$3`: what
/// `EndorsementRow::state_at` says, but that what was offered to a key that is no more is void.
macro_rules! state {
    () => {
        "CASE
            WHEN e.ended_by <= $2 THEN e.ended_how
            WHEN e.valid_until <= $3 THEN 'expired'
            WHEN e.accept_id <= $2 AND e.active_from <= $3 THEN 'active'
            WHEN e.accept_id <= $2 THEN 'accepted'
            WHEN EXISTS (SELECT 1 FROM view_keys AS k
                         WHERE k.fingerprint = e.endorsed AND k.ended_by <= $2) THEN 'void'
            ELSE 'offered'
        END"
    };
}

/// The columns of a [`StoredEdge`] with this far end.
macro_rules! edge_columns {
    ($place:literal, $far:literal) => {
        concat!(
            "SELECT ",
            $place,
            " AS place, e.",
            $far,
            " AS far, e.offer_id, e.category,
               CASE WHEN e.accept_id <= $2 THEN e.active_from END AS active_from,
               e.valid_until, ",
            state!(),
            " AS state"
        )
    };
}

/// What is asked of the endorsements of a key at their near end.
macro_rules! edge_conditions {
    ($near:literal) => {
        concat!(
            " ON e.",
            $near,
            " = asked.value
             WHERE e.endorser <> e.endorsed AND e.offer_id > $4 AND e.offer_id <= $5
               AND ($6 IS NULL OR e.category = $6) AND ($7 IS NULL OR $7 = ",
            state!(),
            ")"
        )
    };
}

/// The endorsements of keys at their near end, read by an index and in its order.
macro_rules! edges {
    ($near:literal, $far:literal, $index:literal, $order:literal, [$($condition:literal),+]) => {
        packed!(
            "place, far, offer_id, category, active_from, valid_until, state",
            [
                edge_columns!("asked.key", $far),
                " FROM json_each($1) AS asked CROSS JOIN view_endorsements AS e INDEXED BY ",
                $index,
                edge_conditions!($near),
                $($condition,)+
                " LIMIT $8"
            ],
            [
                edge_columns!("asked.key - 1", $far),
                " FROM json_array_elements_text($1::json) WITH ORDINALITY AS asked(value, key)
                  JOIN view_endorsements AS e",
                edge_conditions!($near),
                $($condition,)+
                " ORDER BY asked.key, ",
                $order,
                " LIMIT $8"
            ]
        )
    };
}

/// All that keys gave.
macro_rules! given {
    ($condition:literal) => {
        edges!(
            "endorser",
            "endorsed",
            "view_endorsements_issued",
            "e.endorsed, e.offer_id",
            [$condition]
        )
    };
}

/// All that keys received, offers included that they never answered: of those anybody can make as
/// many as they like.
macro_rules! received {
    ($condition:literal) => {
        edges!("endorsed", "endorser", "view_endorsements_received", "e.offer_id", [$condition])
    };
}

/// What keys received, accepted and still have: rules bound the number.
macro_rules! accepted {
    ($condition:literal) => {
        edges!(
            "endorsed",
            "endorser",
            "view_endorsements_accepted",
            "e.offer_id",
            [" AND e.ended_by IS NULL AND e.accept_id IS NOT NULL", $condition]
        )
    };
}

/// The columns of a [`StoredOperatorEdge`].
macro_rules! operator_columns {
    () => {
        "SELECT e.fingerprint, e.category, e.entry_id, e.since,
                CASE WHEN e.revoked_by <= $2 THEN 'withdrawn' ELSE 'active' END, e.name"
    };
}

/// What is asked of an endorsement by the operator.
macro_rules! operator_conditions {
    () => {
        "e.entry_id > $3 AND e.entry_id <= $4
         AND ($5 IS NULL OR $5 = CASE WHEN e.revoked_by <= $2 THEN 'withdrawn' ELSE 'active' END)"
    };
}

impl EdgeFilter {
    /// Leaves nothing out.
    pub const ALL: Self =
        Self { category: None, state: None, institution: None, after: 0, upto: u64::MAX };

    fn statement(&self, side: Side) -> Sql {
        use EndorsementState::{Accepted, Active};
        let of_institution = self.institution.is_some();
        match (side, self.state) {
            (Side::Given, _) if of_institution => given!(" AND e.institution = $9"),
            (Side::Given, _) => given!(""),
            (Side::Received, Some(Accepted | Active)) if of_institution => {
                accepted!(" AND e.institution = $9")
            }
            (Side::Received, Some(Accepted | Active)) => accepted!(""),
            (Side::Received, _) if of_institution => received!(" AND e.institution = $9"),
            (Side::Received, _) => received!(""),
        }
    }
}

impl Store {
    /// The endorsements that these keys gave or received, as far as they pass the filter.
    ///
    /// Of each key, what it gave comes by who received it, and what it received by age.
    pub async fn endorsement_edges(
        &self,
        side: Side,
        keys: &[Fingerprint],
        filter: &EdgeFilter,
        moment: Moment,
        limit: usize,
    ) -> Result<Vec<EdgeRow>, StoreError> {
        let sql = filter.statement(side);
        let rows: String = on_pool!(&self.0.readers, db => {
            let query = sqlx::query_scalar(db.text(sql))
                .bind(texts(keys))
                .bind(number(moment.size))
                .bind(moment.at.millis())
                .bind(number(filter.after))
                .bind(number(filter.upto.min(moment.size)))
                .bind(filter.category.map(Category::as_str))
                .bind(filter.state.map(EndorsementState::as_str))
                .bind(limited(limit));
            match &filter.institution {
                Some(institution) => query.bind(institution),
                None => query,
            }
            .fetch_one(db)
        })?;
        let rows = unpacked(&rows, ENDORSEMENTS)?;
        read_rows(rows, |row| edge(side, keys, row), ENDORSEMENTS)
    }

    /// What the operator gave to these keys: one to each key and category at most.
    pub async fn edges_from_operator(
        &self,
        operator: Fingerprint,
        keys: &[Fingerprint],
        filter: &EdgeFilter,
        moment: Moment,
    ) -> Result<Vec<EdgeRow>, StoreError> {
        const SQL: Sql = Sql {
            sqlite: concat!(
                operator_columns!(),
                " FROM json_each($6) AS asked CROSS JOIN view_endorsed AS e
                    ON e.fingerprint = asked.value WHERE e.category = $1 AND ",
                operator_conditions!(),
                " ORDER BY asked.key"
            ),
            postgres: concat!(
                operator_columns!(),
                " FROM json_array_elements_text($6::json) WITH ORDINALITY AS asked(value, key)
                  JOIN view_endorsed AS e
                    ON e.fingerprint = asked.value WHERE e.category = $1 AND ",
                operator_conditions!(),
                " ORDER BY asked.key"
            ),
        };
        let mut found = Vec::new();
        for category in filter.operator_categories() {
            let rows: Vec<StoredOperatorEdge> = on_pool!(&self.0.readers, db => {
                sqlx::query_as(db.text(SQL))
                    .bind(category.as_str())
                    .bind(number(moment.size))
                    .bind(number(filter.after))
                    .bind(number(filter.upto.min(moment.size)))
                    .bind(filter.state.map(EndorsementState::as_str))
                    .bind(texts(keys))
                    .fetch_all(db)
            })?;
            let rows = rows.into_iter().filter(|row| filter.names(row)).collect();
            found.extend(read_rows(rows, |row| operator_edge(operator, row), ENDORSED)?);
        }
        Ok(found)
    }

    /// What the operator gave to anybody: by category, and then by age.
    pub async fn edges_of_operator(
        &self,
        operator: Fingerprint,
        filter: &EdgeFilter,
        moment: Moment,
        limit: usize,
    ) -> Result<Vec<EdgeRow>, StoreError> {
        const SQL: &str = concat!(
            operator_columns!(),
            " FROM view_endorsed AS e WHERE e.category = $1 AND ",
            operator_conditions!(),
            " ORDER BY e.entry_id"
        );
        let mut found = Vec::new();
        for category in filter.operator_categories() {
            // Names are compared here: SQL folds ASCII alone.
            let rows = on_pool!(&self.0.readers, db => async {
                let mut rows = sqlx::query_as(SQL)
                    .bind(category.as_str())
                    .bind(number(moment.size))
                    .bind(number(filter.after))
                    .bind(number(filter.upto.min(moment.size)))
                    .bind(filter.state.map(EndorsementState::as_str))
                    .fetch(db);
                let mut passed: Vec<StoredOperatorEdge> = Vec::new();
                while passed.len() < limit
                    && let Some(row) = rows.try_next().await?
                {
                    passed.extend(Some(row).filter(|row| filter.names(row)));
                }
                Ok::<_, sqlx::Error>(passed)
            })?;
            found.extend(read_rows(rows, |row| operator_edge(operator, row), ENDORSED)?);
        }
        found.truncate(limit);
        Ok(found)
    }
}

impl EdgeFilter {
    /// The categories in which an endorsement by the operator can pass.
    fn operator_categories(&self) -> impl Iterator<Item = Category> + use<> {
        let only = self.category;
        [Category::HumanAttestation, Category::InstitutionalEndorsement]
            .into_iter()
            .filter(move |of| only.is_none_or(|only| only == *of))
    }

    /// Whether the operator named the institution that is asked for.
    fn names(&self, row: &StoredOperatorEdge) -> bool {
        let Some(wanted) = &self.institution else { return true };
        row.5.as_deref().is_some_and(|name| folded(name) == *wanted)
    }
}

/// An endorsement as it is read: the place of its key among those asked for, the other end, the
/// entry, category, `active_from`, `valid_until` and state.
type StoredEdge<'a> = (i64, &'a str, i64, &'a str, Option<i64>, Option<i64>, &'a str);

fn edge(side: Side, keys: &[Fingerprint], row: StoredEdge<'_>) -> Option<EdgeRow> {
    let (place, far, offer_id, category, active_from, valid_until, state) = row;
    let near = *keys.get(usize::try_from(place).ok()?)?;
    let far = far.parse().ok()?;
    let (endorser, endorsed) = match side {
        Side::Given => (near, far),
        Side::Received => (far, near),
    };
    Some(EdgeRow {
        offer_id: offer_id.cast_unsigned(),
        endorser,
        endorsed,
        category: Category::of_trust(category)?,
        state: EndorsementState::from_name(state)?,
        active_from: instant(active_from)?,
        valid_until: instant(valid_until)?,
    })
}

/// An endorsement by the operator: who received it, as what, the entry, its time, the state and the
/// name that the operator gave.
type StoredOperatorEdge = (String, String, i64, i64, String, Option<String>);

fn operator_edge(operator: Fingerprint, row: StoredOperatorEdge) -> Option<EdgeRow> {
    let (endorsed, category, entry_id, since, state, _) = row;
    Some(EdgeRow {
        offer_id: entry_id.cast_unsigned(),
        endorser: operator,
        endorsed: endorsed.parse().ok()?,
        category: Category::of_trust(&category)?,
        state: EndorsementState::from_name(&state)?,
        active_from: instant(Some(since))?,
        valid_until: None,
    })
}

/// `None` for a number that is no instant.
#[expect(
    clippy::option_option,
    reason = "whether there is an instant is one thing, whether it can be read another"
)]
fn instant(millis: Option<i64>) -> Option<Option<Timestamp>> {
    match millis {
        None => Some(None),
        Some(millis) => Timestamp::from_millis(millis).map(Some),
    }
}

/// Keys as one JSON parameter.
pub(super) fn texts(keys: &[Fingerprint]) -> String {
    let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
    serde_json::to_string(&texts).expect("a list of texts serialises")
}

/// A limit as SQL counts.
pub(super) fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
