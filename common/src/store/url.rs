//! Where the database is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::config::Settings;
use crate::exit::Failure;

/// `sqlite://<path>` or `postgres://user:password@host/database?sslmode=...`.
///
/// [`fmt::Display`] and [`fmt::Debug`] never show a password.
#[derive(Clone)]
pub struct DatabaseUrl(Target);

#[derive(Clone)]
pub(super) enum Target {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// Why a text names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither SQLite nor PostgreSQL.
    #[error("a database is sqlite://<path> or postgres://<user>@<host>/<database>")]
    Scheme,
    /// SQLite without a file; a log in memory would be lost.
    #[error("sqlite:// needs the path of a file")]
    NoPath,
    /// Parameters after an SQLite path.
    #[error("a sqlite:// address takes no parameters")]
    Parameters,
    /// PostgreSQL parameters that do not parse.
    #[error("this PostgreSQL address is not readable: {0}")]
    Postgres(String),
}

impl DatabaseUrl {
    /// The database of these settings.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        settings.database_url().expose().parse().map_err(|error: UrlError| {
            Failure::unsafe_state(
                "database_url",
                format!("DATABASE_URL is not usable: {error}"),
                "use sqlite:///path/log.db or postgres://user:password@host/database",
            )
        })
    }

    /// The database in a file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Target::Sqlite(path.into()))
    }

    /// The file of an SQLite database.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.0 {
            Target::Sqlite(path) => Some(path),
            Target::Postgres(_) => None,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        match scheme {
            "sqlite" if rest.is_empty() || rest == ":memory:" => Err(UrlError::NoPath),
            "sqlite" if rest.contains('?') => Err(UrlError::Parameters),
            "sqlite" => Ok(Self::sqlite(rest)),
            // The last is how Python programs spell it, with asyncpg's `ssl` for `sslmode`.
            "postgres" | "postgresql" | "postgresql+asyncpg" => {
                let rest = rest.replace("?ssl=", "?sslmode=").replace("&ssl=", "&sslmode=");
                format!("postgres://{rest}")
                    .parse()
                    .map(|options| Self(Target::Postgres(Box::new(options))))
                    .map_err(|error: sqlx::Error| UrlError::Postgres(error.to_string()))
            }
            _ => Err(UrlError::Scheme),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Target::Postgres(options) => write!(
                f,
                "postgres://{}@{}:{}/{}",
                options.get_username(),
                options.get_host(),
                options.get_port(),
                options.get_database().unwrap_or_default()
            ),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_and_the_python_spelling_are_read() {
        let shown = |text: &str| text.parse::<DatabaseUrl>().map(|url| url.to_string());

        assert_eq!(shown("sqlite:///var/lib/log.db"), Ok("sqlite:///var/lib/log.db".into()));
        assert_eq!(shown("sqlite://log.db"), Ok("sqlite://log.db".into()));
        for scheme in ["postgres", "postgresql", "postgresql+asyncpg"] {
            assert_eq!(
                shown(&format!("{scheme}://me:secret@db.example:5433/log?ssl=require")),
                Ok("postgres://me@db.example:5433/log".into()),
            );
        }
    }

    #[test]
    fn what_names_no_durable_database_is_refused() {
        let refused = |text: &str| text.parse::<DatabaseUrl>().map(|_| ());

        assert_eq!(refused("mysql://host/db"), Err(UrlError::Scheme));
        assert_eq!(refused("log.db"), Err(UrlError::Scheme));
        assert_eq!(refused("sqlite://"), Err(UrlError::NoPath));
        assert_eq!(refused("sqlite://:memory:"), Err(UrlError::NoPath));
        assert_eq!(refused("sqlite://log.db?mode=rwc"), Err(UrlError::Parameters));
        assert!(matches!(refused("postgres://h/db?sslmode=perhaps"), Err(UrlError::Postgres(_))));
    }
}
