//! Settings: one declared table, read from flags, environment, file and defaults, in this order.
//!
//! Every value is parsed when the settings are loaded, and remembers where it came from. The
//! process environment is read in one place only, [`Environment::of_process`].

mod table;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use table::*;
pub use value::*;

use crate::exit::Failure;
use crate::files::Role;

/// The effective settings of one node.
#[derive(Clone)]
pub struct Settings {
    role: Role,
    values: BTreeMap<&'static str, Effective>,
}

/// A value as text, and where it came from.
#[derive(Clone)]
struct Effective {
    text: Zeroizing<String>,
    source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// A file in `$CREDENTIALS_DIRECTORY`.
    Credential(PathBuf),
    /// An environment variable.
    Environment(String),
    /// The file that a `*_FILE` setting names.
    SecretFile(PathBuf),
    /// The command line.
    Flag(String),
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two names for one setting have different values.
    #[error("{first} and {second} are both set, and differ")]
    BothSet {
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// No role has a setting of that name.
    #[error("{place} sets {name}, which is not a setting")]
    Unknown {
        /// The name as it was written.
        name: String,
        /// Where.
        place: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
    /// The value is not what the setting takes.
    #[error("{name} ({source_of}) {problem}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Where the value came from.
        source_of: Source,
        /// What is wrong, without the value if that is secret.
        problem: String,
    },
    /// A variable of ours is not text.
    #[error("the environment variable {name} is not UTF-8")]
    NotText {
        /// Which one.
        name: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {}", path.display(), io::Error::from(*kind))]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// The configuration file is not TOML.
    #[error("{} is not valid TOML: {problem}", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where it goes wrong.
        problem: String,
    },
    /// A path begins with `~`, and there is no home directory.
    #[error("{name} begins with ~, but HOME is not set")]
    NoHome {
        /// The setting.
        name: &'static str,
    },
    /// `DIOGENES_FEDERATION_ROLE` names another role than the binary's.
    #[error("DIOGENES_FEDERATION_ROLE is {}, but this is diogenes-{}", wanted.name(), role.name())]
    OtherRole {
        /// The role of this binary.
        role: Role,
        /// The role that was asked for.
        wanted: Role,
    },
}

/// What the command line sets.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

/// The flags that every command of every binary takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GlobalArgs {
    /// Read settings from this TOML file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep keys, database and state here (made with mode 0700).
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Log this much: error, warn, info, debug or trace [default: info].
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Log as json or text [default: text on a terminal].
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Run on this many threads [default: one for each core].
    #[arg(long, global = true, value_name = "N")]
    workers: Option<String>,
}

/// Environment variables, passed in so that tests own them.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// The variables of this process.
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// The given variables.
    pub fn of<K: Into<OsString>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// A variable that is not empty.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        match self.0.get(std::ffi::OsStr::new(name)).map(|value| value.to_str()) {
            None | Some(Some("")) => Ok(None),
            Some(Some(text)) => Ok(Some(text)),
            Some(None) => Err(ConfigError::NotText { name: name.to_owned() }),
        }
    }
}

impl Flags {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value if the flag was given.
    #[must_use]
    pub fn with<T: Value>(
        mut self,
        setting: &Setting<T>,
        value: Option<impl fmt::Display>,
    ) -> Self {
        if let Some(value) = value {
            self.values.insert(setting.row().name, value.to_string());
        }
        self
    }

    /// Names the configuration file.
    #[must_use]
    pub fn with_config(mut self, file: Option<PathBuf>) -> Self {
        self.config = file.or(self.config);
        self
    }
}

impl GlobalArgs {
    /// What these flags set.
    pub fn flags(&self) -> Flags {
        Flags::new()
            .with_config(self.config.clone())
            .with(&DATA_DIR, self.data_dir.as_ref())
            .with(&LOG_LEVEL, self.log_level.as_ref())
            .with(&LOG_FORMAT, self.log_format.as_ref())
            .with(&WORKERS, self.workers.as_ref())
    }
}

/// Where a node's settings come from: its command line and environment, which stay as they are,
/// and the file that they name, which may change.
#[derive(Clone, Debug)]
pub struct Loader {
    role: Role,
    flags: Flags,
    environment: Environment,
}

impl Loader {
    /// The settings of a role.
    pub fn new(role: Role, flags: Flags, environment: Environment) -> Self {
        Self { role, flags, environment }
    }

    /// Reads them as they are now.
    pub fn load(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.role, self.flags.clone(), &self.environment)
    }

    /// The environment of the process.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl Settings {
    /// Reads, merges and checks everything that the role has a setting for.
    pub fn load(role: Role, flags: Flags, environment: &Environment) -> Result<Self, ConfigError> {
        refuse_unknown_variables(environment)?;
        let path = match flags.config.clone() {
            Some(path) => Some(path),
            None => environment.text(CONFIG.row().name)?.map(PathBuf::from),
        };
        let file = path.map(|path| ConfigFile::read(&path)).transpose()?;
        let layers = Layers { role, flags, environment, file };
        let mut values = BTreeMap::new();
        for row in ROWS.iter().filter(|row| row.applies_to(role)) {
            values.insert(row.name, layers.effective(row)?);
        }
        Ok(Self { role, values })
    }

    /// The value of a setting; one of another role has its default.
    pub fn value<T: Value>(&self, setting: &Setting<T>) -> T {
        let row = setting.row();
        let text = match self.values.get(row.name) {
            Some(effective) => effective.text.as_str(),
            None => row.default_for(self.role),
        };
        T::parse(text).expect("values are checked when loaded, defaults by a test")
    }

    /// Where the value of a setting came from.
    pub fn source<T: Value>(&self, setting: &Setting<T>) -> &Source {
        self.values.get(setting.row().name).map_or(&Source::Default, |effective| &effective.source)
    }

    /// The settings that have another value than there, wherever it came from.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = |(name, effective): &(&&'static str, &Effective)| {
            other.values.get(*name).is_none_or(|there| *there.text != *effective.text)
        };
        self.values.iter().filter(differs).map(|(name, _)| *name).collect()
    }

    /// Whose settings they are.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The database: what was set, else `log.db` in the data directory.
    pub fn database_url(&self) -> Secret {
        self.value(&DATABASE_URL).unwrap_or_else(|| {
            let path = self.value(&DATA_DIR).join("log.db");
            Secret::new(format!("sqlite://{}", path.display()))
        })
    }

    /// Refuses to run when `DIOGENES_FEDERATION_ROLE` names another role: for `serve` and `run`.
    pub fn check_role(&self) -> Result<(), ConfigError> {
        match self.value(&FEDERATION_ROLE) {
            Some(wanted) if wanted != self.role => {
                Err(ConfigError::OtherRole { role: self.role, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Every effective value with its source as a configuration file, secrets redacted.
    pub fn show(&self) -> String {
        let lines = self.shown().map(|(key, value, source)| {
            format!("{key} = {}  # {source}\n", serde_json::Value::from(value))
        });
        lines.collect::<Vec<_>>().concat()
    }

    /// The same as JSON: `{"poll": {"value": "1s", "source": "default"}, ...}`.
    pub fn show_json(&self) -> serde_json::Value {
        self.shown()
            .map(|(key, value, source)| {
                (key, serde_json::json!({ "value": value, "source": source.to_string() }))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// What `config check` prints when nothing is wrong.
    pub fn check_summary(&self) -> String {
        let set = self.values.values().filter(|value| value.source != Source::Default).count();
        format!(
            "The configuration of this {} is valid: {set} settings are set, {} have their default.",
            self.role.name(),
            self.values.len() - set
        )
    }

    fn shown(&self) -> impl Iterator<Item = (String, String, &Source)> {
        ROWS.iter().filter_map(|row| {
            let effective = self.values.get(row.name)?;
            Some((row.file_key(), row.redacted(&effective.text), &effective.source))
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Credential(path) => write!(f, "credential {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::SecretFile(path) => write!(f, "secret file {}", path.display()),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let what_to_do = match &error {
            ConfigError::BothSet { first, second } => format!("unset {first} or {second}"),
            ConfigError::Unknown { suggestion: Some(suggestion), .. } => {
                format!("did you mean {suggestion}?")
            }
            ConfigError::Unknown { suggestion: None, .. } => {
                "remove it; `config show` lists every setting".to_owned()
            }
            ConfigError::Invalid { name, source_of: Source::Flag(flag), .. } => {
                return Self::usage(&error, format!("change {flag} (the setting {name})"));
            }
            ConfigError::Invalid { name, source_of, .. } => {
                format!("change {name} in: {source_of}")
            }
            ConfigError::NotText { name } => format!("set {name} to text"),
            ConfigError::Unreadable { .. } => "check the path and its permissions".to_owned(),
            ConfigError::NotToml { .. } => "correct the file; lines read `name = value`".to_owned(),
            ConfigError::NoHome { name } => format!("set HOME, or {name} to an absolute path"),
            ConfigError::OtherRole { wanted, .. } => {
                format!("start diogenes-{}, or unset DIOGENES_FEDERATION_ROLE", wanted.name())
            }
        };
        Self::unsafe_state("config_invalid", error, what_to_do)
    }
}

/// Everything that a value may come from.
struct Layers<'a> {
    role: Role,
    flags: Flags,
    environment: &'a Environment,
    file: Option<ConfigFile>,
}

impl Layers<'_> {
    fn effective(&self, row: &'static Row) -> Result<Effective, ConfigError> {
        let found = match self.flags.values.get(row.name) {
            Some(value) => Some((value.clone(), Source::Flag(row.flag()))),
            None => match self.in_environment(row)? {
                Some(found) => Some(found),
                None => match self.in_credential(row)? {
                    Some(found) => Some(found),
                    None => self.in_file(row)?,
                },
            },
        };
        let (text, source) =
            found.unwrap_or_else(|| (row.default_for(self.role).to_owned(), Source::Default));
        let text = Zeroizing::new(self.with_home(row, text)?);
        row.check(&text).map_err(|problem| ConfigError::Invalid {
            name: row.name,
            source_of: source.clone(),
            problem,
        })?;
        Ok(Effective { text, source })
    }

    fn in_environment(&self, row: &Row) -> Result<Option<(String, Source)>, ConfigError> {
        let mut found: Option<(String, String, Source)> = None;
        for name in row.variables(self.role) {
            let plain = self
                .environment
                .text(&name)?
                .map(|text| (name.clone(), text.to_owned(), Source::Environment(name.clone())));
            let in_file = if row.is_secret() {
                let name = format!("{name}_FILE");
                match self.environment.text(&name)? {
                    Some(path) => {
                        let path = PathBuf::from(path);
                        Some((name, read_secret(&path)?, Source::SecretFile(path)))
                    }
                    None => None,
                }
            } else {
                None
            };
            for candidate in [plain, in_file].into_iter().flatten() {
                add_agreeing(&mut found, candidate)?;
            }
        }
        Ok(found.map(|(_, text, source)| (text, source)))
    }

    /// systemd's `LoadCredential=`: a file named like the setting, with `-` or `_`.
    fn in_credential(&self, row: &Row) -> Result<Option<(String, Source)>, ConfigError> {
        let Some(directory) = self.environment.text("CREDENTIALS_DIRECTORY")? else {
            return Ok(None);
        };
        if !row.is_secret() {
            return Ok(None);
        }
        let key = row.file_key();
        for name in [key.replace('_', "-"), key] {
            let path = Path::new(directory).join(name);
            if path.exists() {
                return Ok(Some((read_secret(&path)?, Source::Credential(path))));
            }
        }
        Ok(None)
    }

    fn in_file(&self, row: &Row) -> Result<Option<(String, Source)>, ConfigError> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut found: Option<(String, String, Source)> = None;
        for key in row.keys_for(self.role) {
            let Some(text) = file.values.get(&key) else { continue };
            let (text, source) = if row.is_secret() && key.ends_with("_file") {
                let path = PathBuf::from(text);
                (read_secret(&path)?, Source::SecretFile(path))
            } else {
                (text.clone(), Source::File(file.path.clone()))
            };
            add_agreeing(&mut found, (key, text, source))?;
        }
        Ok(found.map(|(_, text, source)| (text, source)))
    }

    fn with_home(&self, row: &Row, text: String) -> Result<String, ConfigError> {
        match text.strip_prefix("~/") {
            Some(rest) if row.is_path() => {
                let home = self.environment.text("HOME")?;
                let home = home.ok_or(ConfigError::NoHome { name: row.name })?;
                Ok(format!("{}/{rest}", home.trim_end_matches('/')))
            }
            _ => Ok(text),
        }
    }
}

/// Keeps the first of several (name, value, source); the others must have its value.
fn add_agreeing(
    found: &mut Option<(String, String, Source)>,
    candidate: (String, String, Source),
) -> Result<(), ConfigError> {
    match found {
        Some((first, text, _)) if *text != candidate.1 => {
            Err(ConfigError::BothSet { first: first.clone(), second: candidate.0 })
        }
        Some(_) => Ok(()),
        None => {
            *found = Some(candidate);
            Ok(())
        }
    }
}

/// A configuration file whose keys are all known.
struct ConfigFile {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl ConfigFile {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.to_owned(),
            kind: error.kind(),
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table: BTreeMap<String, serde_json::Value> = ::config::Config::builder()
            .add_source(::config::File::from_str(text, ::config::FileFormat::Toml))
            .build()
            .and_then(::config::Config::try_deserialize)
            .map_err(|error| ConfigError::NotToml {
                path: path.to_owned(),
                problem: error.to_string(),
            })?;
        let known: BTreeSet<String> = ROWS.iter().flat_map(Row::file_keys).collect();
        for name in table.keys() {
            if !known.contains(name) {
                return Err(ConfigError::Unknown {
                    name: name.clone(),
                    place: path.display().to_string(),
                    suggestion: nearest(name, known.iter().map(String::as_str)),
                });
            }
        }
        let values = table.into_iter().map(|(name, value)| (name, as_text(value))).collect();
        Ok(Self { path: path.to_owned(), values })
    }
}

/// A TOML value as it would stand in an environment variable.
fn as_text(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Array(items) if items.iter().all(serde_json::Value::is_string) => {
            let texts: Vec<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
            texts.join(",")
        }
        other => other.to_string(),
    }
}

fn refuse_unknown_variables(environment: &Environment) -> Result<(), ConfigError> {
    let known: BTreeSet<String> = ROWS.iter().flat_map(Row::all_variables).collect();
    for name in environment.0.keys() {
        let name = name.to_string_lossy();
        if name.starts_with("DIOGENES_") && !known.contains(name.as_ref()) {
            return Err(ConfigError::Unknown {
                suggestion: nearest(&name, known.iter().map(String::as_str)),
                name: name.into_owned(),
                place: "the environment".to_owned(),
            });
        }
    }
    Ok(())
}

fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), kind: error.kind() })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The known name that differs least, if it is near enough to be meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let (lower, limit) = (name.to_lowercase(), (name.len() / 3).min(4));
    known
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Single-character edits between two names (Levenshtein), one row of the table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(100).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::Exit;

    fn load(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        load_with(Flags::new(), pairs)
    }

    fn load_with(flags: Flags, pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let home = [("HOME", "/home/op")];
        let environment = Environment::of(home.iter().chain(pairs).copied());
        Settings::load(Role::Leader, flags, &environment)
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("diogenes.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (root, path)
    }

    #[test]
    fn every_default_is_valid_for_every_role() {
        for role in Role::ALL {
            let settings =
                Settings::load(role, Flags::new(), &Environment::of([("HOME", "/home/op")]));
            assert!(settings.is_ok(), "{role:?}: {settings:?}");
            for row in ROWS {
                assert_eq!(row.check(row.default_for(role)), Ok(()), "{}", row.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_documented() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        let keys: BTreeSet<_> = ROWS.iter().map(Row::file_key).collect();

        assert_eq!((names.len(), keys.len()), (ROWS.len(), ROWS.len()));
        assert!(ROWS.iter().all(|row| row.help().ends_with('.') && !row.roles.is_empty()));
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let (_root, path) = file("heartbeat = \"7s\"\nworkers = 3\nrate_limit_api_query = 5\n");
        let flags = Flags::new().with(&HEARTBEAT, Some("9s"));
        let pairs =
            [("DIOGENES_CONFIG", path.as_str()), ("DIOGENES_HEARTBEAT", "8s"), ("WORKERS", "2")];

        let settings = load_with(flags, &pairs).unwrap();

        assert_eq!(settings.value(&HEARTBEAT), Duration::from_secs(9));
        assert_eq!(settings.source(&HEARTBEAT), &Source::Flag("--heartbeat".into()));
        assert_eq!(settings.value(&WORKERS), Some(2));
        assert_eq!(settings.source(&WORKERS), &Source::Environment("WORKERS".into()));
        assert_eq!(settings.value(&RATE_LIMIT_API_QUERY), 5);
        assert_eq!(settings.source(&RATE_LIMIT_API_QUERY), &Source::File(path.into()));
        assert!(settings.value(&ENFORCE_HTTPS));
        assert_eq!(settings.source(&ENFORCE_HTTPS), &Source::Default);
    }

    #[test]
    fn both_names_of_a_setting_must_agree() {
        let both = |a, b| load(&[("ENFORCE_HTTPS", a), ("DIOGENES_ENFORCE_HTTPS", b)]);

        assert!(both("false", "false").is_ok_and(|settings| !settings.value(&ENFORCE_HTTPS)));
        let refused = both("false", "true").unwrap_err();
        assert!(matches!(refused, ConfigError::BothSet { .. }));
        assert_eq!(Failure::from(refused).exit(), Exit::Unsafe);
    }

    #[test]
    fn a_name_that_begins_with_the_product_has_no_short_form() {
        let settings = load(&[("HEARTBEAT", "nonsense"), ("LISTEN", "nonsense")]).unwrap();

        assert_eq!(settings.value(&HEARTBEAT), Duration::from_secs(60));
    }

    #[test]
    fn an_unknown_name_of_ours_is_refused_with_a_suggestion_and_others_are_ignored() {
        for (name, suggestion) in [
            ("DIOGENES_HARTBEAT", Some("DIOGENES_HEARTBEAT")),
            ("DIOGENES_DATADIR", Some("DIOGENES_DATA_DIR")),
            ("DIOGENES_ZZZZZZZZZZZZ", None),
        ] {
            let error = load(&[(name, "1")]).unwrap_err();
            let place = "the environment".to_owned();
            let suggestion = suggestion.map(str::to_owned);
            assert_eq!(error, ConfigError::Unknown { name: name.into(), place, suggestion });
        }
        assert!(load(&[("DIOGENESX", "1"), ("PATH", "/bin"), ("DIOGENES_POLL", "junk")]).is_ok());
    }

    #[test]
    fn an_unknown_key_of_the_file_is_refused_with_a_suggestion() {
        let (_root, path) = file("hartbeat = \"7s\"\n");

        let failure = Failure::from(load(&[("DIOGENES_CONFIG", &path)]).unwrap_err());

        assert_eq!(failure.what_to_do(), "did you mean heartbeat?");
        assert_eq!(failure.exit().code(), 78);
    }

    #[test]
    fn a_file_that_is_missing_or_not_toml_is_refused() {
        let (_root, path) = file("heartbeat = \n");

        assert!(matches!(load(&[("DIOGENES_CONFIG", &path)]), Err(ConfigError::NotToml { .. })));
        let missing = Flags::new().with_config(Some("/no/such/file".into()));
        assert!(matches!(load_with(missing, &[]), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn lists_and_tables_of_the_file_read_like_the_environment() {
        let fingerprint = format!("sha256:{}", "ab".repeat(32));
        let (_root, path) = file(&format!(
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\npeers = \"https://a.example\"\n\
             [[federation_operators]]\nurl = \"https://l.example\"\nfingerprint = \"{fingerprint}\"\n"
        ));
        let environment = Environment::of([("HOME", "/h"), ("DIOGENES_CONFIG", &path)]);

        let settings = Settings::load(Role::Follower, Flags::new(), &environment).unwrap();

        assert_eq!(settings.value(&TRUSTED_PROXIES).to_string(), "10.0.0.0/8,::1/128");
        let upstream = settings.value(&FEDERATION_OPERATORS);
        assert_eq!(upstream.len(), 1);
        assert_eq!(upstream[0].fingerprint, fingerprint);
    }

    #[test]
    fn a_wrong_value_names_its_setting_and_place() {
        let failure = Failure::from(load(&[("DIOGENES_HEARTBEAT", "60")]).unwrap_err());
        assert!(failure.what().starts_with("DIOGENES_HEARTBEAT (environment DIOGENES_HEARTBEAT)"));
        assert_eq!(failure.exit(), Exit::Unsafe);

        let flags = Flags::new().with(&WORKERS, Some("many"));
        let failure = Failure::from(load_with(flags, &[]).unwrap_err());
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn secrets_come_from_files_and_credentials_and_are_never_shown() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("token");
        std::fs::write(&path, "s3cret-token\n").unwrap();
        std::fs::write(root.path().join("secret-key"), "from-credential").unwrap();
        let pairs = [
            ("OPERATOR_TOKEN_FILE", path.to_str().unwrap()),
            ("CREDENTIALS_DIRECTORY", root.path().to_str().unwrap()),
            ("DATABASE_URL", "postgres://log:hunter2@db.example/log"),
        ];

        let settings = load(&pairs).unwrap();

        assert_eq!(settings.value(&OPERATOR_TOKEN).unwrap().expose(), "s3cret-token");
        assert_eq!(settings.value(&SECRET_KEY).unwrap().expose(), "from-credential");
        assert!(matches!(settings.source(&SECRET_KEY), Source::Credential(_)));
        for shown in [settings.show(), settings.show_json().to_string(), format!("{settings:?}")] {
            for secret in ["s3cret", "from-credential", "hunter2"] {
                assert!(!shown.contains(secret), "{shown}");
            }
            assert!(shown.contains("postgres://log:***@db.example/log"), "{shown}");
        }

        let contradiction = [pairs[0], ("OPERATOR_TOKEN", "another")];
        assert!(matches!(load(&contradiction), Err(ConfigError::BothSet { .. })));
    }

    #[test]
    fn what_is_shown_is_a_configuration_file_with_the_same_meaning() {
        let settings = load(&[("DIOGENES_HEARTBEAT", "5 s"), ("MIN_FREE", "2 GiB")]).unwrap();
        let (_root, path) = file(&settings.show());

        let again = load(&[("DIOGENES_CONFIG", &path)]).unwrap();

        assert_eq!(again.value(&HEARTBEAT), Duration::from_secs(5));
        assert_eq!(again.value(&MIN_FREE), settings.value(&MIN_FREE));
    }

    #[test]
    fn paths_begin_at_home_and_the_database_lies_in_the_data_directory() {
        let settings = load(&[]).unwrap();
        assert_eq!(settings.value(&DATA_DIR), Path::new("/home/op/.diogenes/leader"));
        assert_eq!(settings.database_url().expose(), "sqlite:///home/op/.diogenes/leader/log.db");

        let homeless = Settings::load(Role::Leader, Flags::new(), &Environment::default());
        assert!(matches!(homeless, Err(ConfigError::NoHome { .. })));
    }

    #[test]
    fn a_witness_has_a_second_name_for_its_directory() {
        let witness = |pairs: &[(&str, &str)]| {
            Settings::load(Role::Witness, Flags::new(), &Environment::of(pairs.iter().copied()))
        };

        let settings = witness(&[("DIOGENES_WITNESS_HOME", "/w")]).unwrap();
        assert_eq!(settings.value(&DATA_DIR), Path::new("/w"));
        let both = witness(&[("DIOGENES_WITNESS_HOME", "/w"), ("DIOGENES_DATA_DIR", "/d")]);
        assert!(matches!(both, Err(ConfigError::BothSet { .. })));
    }

    #[test]
    fn another_role_is_named_only_to_those_who_ask() {
        let settings = load(&[("DIOGENES_FEDERATION_ROLE", "follower")]).unwrap();

        let failure = Failure::from(settings.check_role().unwrap_err());

        assert_eq!(failure.exit(), Exit::Unsafe);
        assert!(failure.what_to_do().starts_with("start diogenes-follower"));
        assert_eq!(load(&[("DIOGENES_FEDERATION_ROLE", "leader")]).unwrap().check_role(), Ok(()));
    }
}
