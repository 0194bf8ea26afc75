//! The table of all settings: what documentation and `.env.example` are made from.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::value::{
    AppendPolicy, FederationOperator, LogFormat, LogLevel, Networks, ReplicateFormat, Schedule,
    Secret, Size, Value, WitnessMode,
};
use crate::files::Role;

/// A setting that holds a `T`.
#[derive(Debug)]
pub struct Setting<T> {
    row: Row,
    holds: PhantomData<fn() -> T>,
}

/// What is declared about a setting.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The environment variable; without `DIOGENES_` in front, that may be put there too.
    pub name: &'static str,
    /// Who has it.
    pub roles: &'static [Role],
    help: &'static str,
    default: Default,
    hidden: Hidden,
    is_path: bool,
    check: fn(&str) -> Result<(), String>,
}

#[derive(Clone, Copy, Debug)]
enum Default {
    Same(&'static str),
    /// For leader, follower and witness.
    ByRole([&'static str; 3]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Nothing,
    UrlPassword,
    Everything,
}

const ALL: &[Role] = &Role::ALL;
const LEADER: &[Role] = &[Role::Leader];
const FOLLOWER: &[Role] = &[Role::Follower];
const WITNESS: &[Role] = &[Role::Witness];
const LOGS: &[Role] = &[Role::Leader, Role::Follower];

macro_rules! settings {
    ($($(#[doc = $help:literal])* $constant:ident: $type:ty = $name:literal, $default:expr, $roles:ident $(, $hide:ident)?;)*) => {
        $(
            $(#[doc = $help])*
            pub const $constant: Setting<$type> =
                Setting::new($name, $default, $roles, concat!($($help),*))$(.$hide())?;
        )*

        /// Every setting of every role.
        pub const ROWS: &[Row] = &[$($constant.row),*];
    };
}

settings! {
    /// The TOML file with settings; also `--config`.
    CONFIG: Option<PathBuf> = "DIOGENES_CONFIG", Default::Same(""), ALL;
    /// Where keys, database and state are kept (mode 0700).
    DATA_DIR: PathBuf = "DIOGENES_DATA_DIR",
        Default::ByRole(["~/.diogenes/leader", "~/.diogenes/follower", "~/.diogenes/witness"]), ALL;
    /// The address and port on which the node listens.
    LISTEN: SocketAddr = "DIOGENES_LISTEN",
        Default::ByRole(["127.0.0.1:8000", "127.0.0.1:8001", "127.0.0.1:8002"]), ALL;
    /// The only role that may run here; another binary's `serve` or `run` exits.
    FEDERATION_ROLE: Option<Role> = "DIOGENES_FEDERATION_ROLE", Default::Same(""), ALL;
    /// How much is logged: error, warn, info, debug or trace.
    LOG_LEVEL: LogLevel = "LOG_LEVEL", Default::Same("info"), ALL;
    /// How log lines look: json or text; by default text on a terminal.
    LOG_FORMAT: Option<LogFormat> = "LOG_FORMAT", Default::Same(""), ALL;
    /// How many threads run the node; by default one for each core.
    WORKERS: Option<u32> = "WORKERS", Default::Same(""), ALL;

    /// The log's database: sqlite:// or postgres://; by default log.db in the data directory.
    DATABASE_URL: Option<Secret> = "DATABASE_URL", Default::Same(""), LOGS, hide_password;
    /// Whether a start brings the database's schema up to date.
    AUTO_MIGRATE: bool = "DIOGENES_AUTO_MIGRATE", Default::Same("true"), LOGS;
    /// Below this much free disk space nothing more is appended or fetched.
    MIN_FREE: Size = "MIN_FREE", Default::Same("1 GiB"), LOGS;

    /// Whether requests must come over HTTPS.
    ENFORCE_HTTPS: bool = "ENFORCE_HTTPS", Default::Same("true"), ALL;
    /// The networks of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto count.
    TRUSTED_PROXIES: Networks = "TRUSTED_PROXIES", Default::Same(""), ALL;
    /// The certificate that the listener shows, a chain in PEM; with `TLS_KEY` it speaks HTTPS itself.
    TLS_CERT: Option<PathBuf> = "TLS_CERT", Default::Same(""), ALL;
    /// The certificate's private key in PEM (mode 0600).
    TLS_KEY: Option<PathBuf> = "TLS_KEY", Default::Same(""), ALL;
    /// Whether other nodes may be dialled over plain http beyond this machine.
    ALLOW_HTTP: bool = "DIOGENES_ALLOW_HTTP", Default::Same("false"), ALL;
    /// Reads of the log for each address and minute; 0 is no limit.
    RATE_LIMIT_LOG_READ: u32 = "RATE_LIMIT_LOG_READ", Default::Same("6000"), ALL;
    /// Proofs, reports and profiles for each address and minute; 0 is no limit.
    RATE_LIMIT_FEDERATION: u32 = "RATE_LIMIT_FEDERATION", Default::Same("600"), ALL;
    /// All other requests for each address and minute; 0 is no limit.
    RATE_LIMIT_API_QUERY: u32 = "RATE_LIMIT_API_QUERY", Default::Same("60"), ALL;
    /// Key registrations for each address and hour; 0 is no limit.
    RATE_LIMIT_KEY_REGISTRATION: u32 = "RATE_LIMIT_KEY_REGISTRATION", Default::Same("10"), LEADER;
    /// Endorsement offers for each address and day; 0 is no limit.
    RATE_LIMIT_ENDORSEMENT_OFFER: u32 = "RATE_LIMIT_ENDORSEMENT_OFFER", Default::Same("50"), LEADER;
    /// Attestations for each address and hour; 0 is no limit.
    RATE_LIMIT_ATTESTATION_EVENT: u32 = "RATE_LIMIT_ATTESTATION_EVENT", Default::Same("100"), LEADER;

    /// The key under which session tokens are signed, 32 bytes or more; made at first start.
    SECRET_KEY: Option<Secret> = "SECRET_KEY", Default::Same(""), LOGS, hide;
    /// The token of the operator's commands; made at first start.
    OPERATOR_TOKEN: Option<Secret> = "OPERATOR_TOKEN", Default::Same(""), LEADER, hide;
    /// Who may append events of their own types: authenticated, operator or open.
    APPEND_POLICY: AppendPolicy = "APPEND_POLICY", Default::Same("authenticated"), LEADER;
    /// The name of the log, fixed when it is made; also `serve --origin`.
    ORIGIN: Option<String> = "DIOGENES_ORIGIN", Default::Same(""), LEADER;
    /// URLs of other nodes of the log: a leader asks them for its newest head, a follower tells them proofs.
    PEERS: Vec<Url> = "DIOGENES_PEERS", Default::Same(""), LOGS;
    /// How often a head is signed when nothing is appended.
    HEARTBEAT: Duration = "DIOGENES_HEARTBEAT", Default::Same("60s"), LEADER;
    /// The file that says whose cosignatures a checkpoint needs; without one, or none: nobody's.
    WITNESS_POLICY: Option<PathBuf> = "WITNESS_POLICY", Default::Same(""), LEADER;
    /// What is served when the quorum of witnesses is late: `fail_open` or `fail_closed`.
    WITNESS_MODE: WitnessMode = "WITNESS_MODE", Default::Same("fail_open"), LEADER;
    /// The shortest time between two rounds of the witnesses of `WITNESS_POLICY`; 60s for public ones.
    WITNESS_ROUND_SPACING: Duration = "WITNESS_ROUND_SPACING", Default::Same("5s"), LEADER;
    /// The longest time between two rounds of the witnesses while nothing is appended.
    MAX_QUIET: Duration = "MAX_QUIET", Default::Same("1h"), LEADER;
    /// Whether a registration must prove that its sender holds the key.
    REQUIRE_KEY_PROOF: bool = "REQUIRE_KEY_PROOF", Default::Same("false"), LEADER;
    /// Whether the bare nonce that the original's clients sign is accepted.
    LEGACY_CHALLENGE: bool = "LEGACY_CHALLENGE", Default::Same("true"), LEADER;
    /// Seconds between the acceptance of an endorsement and its effect.
    ENDORSEMENT_ACTIVATION_DELAY_SECONDS: u32 =
        "ENDORSEMENT_ACTIVATION_DELAY_SECONDS", Default::Same("259200"), LEADER;
    /// Seconds after which a walk through the endorsement graph answers what it found.
    GRAPH_TRAVERSAL_TIMEOUT_SECONDS: u32 =
        "GRAPH_TRAVERSAL_TIMEOUT_SECONDS", Default::Same("10"), LOGS;
    /// Seconds for which answers about the endorsement graph are kept.
    GRAPH_TRAVERSAL_CACHE_TTL_SECONDS: u32 =
        "GRAPH_TRAVERSAL_CACHE_TTL_SECONDS", Default::Same("60"), LOGS;
    /// Whether webhooks may lead to private networks by https; never to this machine or the link.
    WEBHOOK_ALLOW_PRIVATE: bool = "WEBHOOK_ALLOW_PRIVATE", Default::Same("false"), LEADER;
    /// Networks that webhooks may lead to whatever they are, by plain http and on any port: for labs.
    WEBHOOK_ALLOW: Networks = "WEBHOOK_ALLOW", Default::Same(""), LEADER;
    /// When the whole log is verified (cron with seconds, UTC); empty is never.
    VERIFY_SCHEDULE: Option<Schedule> = "VERIFY_SCHEDULE", Default::Same("0 17 3 * * *"), LOGS;
    /// How much of the stored log is read again each second to find damage; 0 is none.
    SCRUB_BYTES_PER_SECOND: Size = "SCRUB_BYTES_PER_SECOND", Default::Same("1 MiB"), LOGS;
    /// The shortest time between the starts of two passes over everything that is stored.
    SCRUB_INTERVAL: Duration = "SCRUB_INTERVAL", Default::Same("1h"), LOGS;
    /// When a backup is made (cron with seconds, UTC), into `BACKUP_DIR`; empty is never.
    BACKUP_SCHEDULE: Option<Schedule> = "BACKUP_SCHEDULE", Default::Same(""), LOGS;
    /// Where scheduled backups are kept.
    BACKUP_DIR: Option<PathBuf> = "BACKUP_DIR", Default::Same(""), LOGS;
    /// How many scheduled backups are kept: older ones of the same log are deleted; 0 keeps all.
    BACKUP_KEEP: u32 = "BACKUP_KEEP", Default::Same("7"), LOGS;

    /// The sources of the log that is mirrored, as JSON: [{"url":"https://...","fingerprint":"sha256:..."}].
    FEDERATION_OPERATORS: Vec<FederationOperator> =
        "DIOGENES_FEDERATION_OPERATORS", Default::Same(""), FOLLOWER;
    /// How often the sources are asked for more.
    POLL: Duration = "DIOGENES_POLL", Default::Same("1s"), FOLLOWER;
    /// How batches are asked for: binary, or json for sources that know no other form.
    REPLICATE_FORMAT: ReplicateFormat =
        "DIOGENES_REPLICATE_FORMAT", Default::Same("binary"), FOLLOWER;

    /// Under this name, with /mirror behind it, checkpoints are cosigned as stored and served; empty is not at all.
    MIRROR_NAME: Option<String> = "MIRROR_NAME", Default::Same(""), FOLLOWER;

    /// Another name for the witness's data directory.
    WITNESS_HOME: Option<PathBuf> = "DIOGENES_WITNESS_HOME", Default::Same(""), WITNESS;
    /// The full fingerprint of the operator key that a log must have at first contact.
    WITNESS_OPERATOR: Option<String> = "DIOGENES_WITNESS_OPERATOR", Default::Same(""), WITNESS;
    /// The witness's name in cosignatures, fixed when its key is made.
    WITNESS_NAME: Option<String> = "DIOGENES_WITNESS_NAME", Default::Same(""), WITNESS;
    /// Files and URLs of the lists of logs (logs/v0) that `serve` cosigns, read hourly; also
    /// `serve --log-list`.
    LOG_LISTS: Vec<String> = "LOG_LISTS", Default::Same(""), WITNESS;
}

impl<T: Value> Setting<T> {
    const fn new(
        name: &'static str,
        default: Default,
        roles: &'static [Role],
        help: &'static str,
    ) -> Self {
        let (hidden, is_path) = (Hidden::Nothing, T::IS_PATH);
        let row = Row { name, roles, help, default, hidden, is_path, check: check::<T> };
        Self { row, holds: PhantomData }
    }

    const fn hide(mut self) -> Self {
        self.row.hidden = Hidden::Everything;
        self
    }

    const fn hide_password(mut self) -> Self {
        self.row.hidden = Hidden::UrlPassword;
        self
    }

    /// What is declared about it.
    pub const fn row(&self) -> &Row {
        &self.row
    }
}

fn check<T: Value>(text: &str) -> Result<(), String> {
    T::parse(text).map(drop)
}

impl Row {
    /// What it does, in sentences.
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }

    /// Says whether the role has this setting.
    pub fn applies_to(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What holds when nobody sets it; empty means absent.
    pub fn default_for(&self, role: Role) -> &'static str {
        match (self.default, role) {
            (Default::Same(text), _)
            | (Default::ByRole([text, _, _]), Role::Leader)
            | (Default::ByRole([_, text, _]), Role::Follower)
            | (Default::ByRole([_, _, text]), Role::Witness) => text,
        }
    }

    /// Says whether the value, or a part of it, must not be shown.
    pub fn is_secret(&self) -> bool {
        self.hidden != Hidden::Nothing
    }

    /// Its name in the configuration file.
    pub fn file_key(&self) -> String {
        self.name.strip_prefix("DIOGENES_").unwrap_or(self.name).to_lowercase()
    }

    /// Its flag.
    pub fn flag(&self) -> String {
        format!("--{}", self.file_key().replace('_', "-"))
    }

    /// The environment variables that set it for a role.
    pub fn variables(&self, role: Role) -> Vec<String> {
        let mut names = vec![self.name.to_owned()];
        if !self.name.starts_with("DIOGENES_") {
            names.push(format!("DIOGENES_{}", self.name));
        }
        if role == Role::Witness && self.name == DATA_DIR.row.name {
            names.push(WITNESS_HOME.row.name.to_owned());
        }
        names
    }

    /// The environment variables that set it for any role, with those that name a secret's file.
    pub(super) fn all_variables(&self) -> Vec<String> {
        with_files(self.variables(Role::Leader), self.is_secret(), "_FILE")
    }

    /// The keys that set it in the configuration file, with those that name a secret's file.
    pub(super) fn file_keys(&self) -> Vec<String> {
        with_files(vec![self.file_key()], self.is_secret(), "_file")
    }

    /// The same for one role, in which it may have a second name.
    pub(super) fn keys_for(&self, role: Role) -> Vec<String> {
        let mut keys = self.file_keys();
        if self.variables(role).iter().any(|name| name == WITNESS_HOME.row.name) {
            keys.push(WITNESS_HOME.row.file_key());
        }
        keys
    }

    pub(super) fn is_path(&self) -> bool {
        self.is_path
    }

    /// Says what is wrong with a value; a secret is not quoted.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        (self.check)(text)
    }

    /// The value as it may be shown.
    pub(super) fn redacted(&self, text: &str) -> String {
        match self.hidden {
            Hidden::Everything if !text.is_empty() => "***".to_owned(),
            Hidden::UrlPassword => without_password(text),
            Hidden::Everything | Hidden::Nothing => text.to_owned(),
        }
    }
}

fn with_files(mut names: Vec<String>, is_secret: bool, suffix: &str) -> Vec<String> {
    if is_secret {
        let files: Vec<String> = names.iter().map(|name| format!("{name}{suffix}")).collect();
        names.extend(files);
    }
    names
}

/// The URL with `***` for its password; parameters go too if one of them could hold one.
fn without_password(url: &str) -> String {
    let url = match url.split_once('?') {
        Some((head, query)) if query.to_ascii_lowercase().contains("password") => {
            format!("{head}?***")
        }
        _ => url.to_owned(),
    };
    let Some((scheme, rest)) = url.split_once("://") else { return url };
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    let Some(at) = rest[..authority].rfind('@') else {
        // A password with a slash hides the sign behind the first slash.
        return if rest.contains('@') { format!("{scheme}://***") } else { url };
    };
    let user = rest[..at].split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***{}", &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("", ""),
            ("sqlite:///var/log.db", "sqlite:///var/log.db"),
            ("postgres://u:p@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgres://u:p@q@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:p/q@h/d", "postgres://***"),
            ("postgres://h/d?user=u&password=p", "postgres://h/d?***"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn names_of_the_file_are_short_and_lower_case() {
        assert_eq!(POLL.row().file_key(), "poll");
        assert_eq!(MIN_FREE.row().file_key(), "min_free");
        assert_eq!(DATA_DIR.row().flag(), "--data-dir");
        assert_eq!(MIN_FREE.row().variables(Role::Leader), ["MIN_FREE", "DIOGENES_MIN_FREE"]);
        assert_eq!(POLL.row().variables(Role::Follower), ["DIOGENES_POLL"]);
    }
}
