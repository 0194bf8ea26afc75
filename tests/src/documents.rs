//! The documents that are made from the code: what they say is compared with it by a test.

use std::fmt::Write as _;

use diogenes_common::config::{ROWS, Row};
use diogenes_common::files::Role;

/// Settings that are read and checked, and that nothing in this version looks at.
pub const WITHOUT_EFFECT: [&str; 0] = [];

/// Settings that one of the roles that have them does not look at in this version.
pub const WITHOUT_EFFECT_ON: [(&str, Role); 0] = [];

/// `docs/configuration.md`.
pub fn configuration() -> String {
    let mut page = CONFIGURATION_HEAD.to_owned();
    for (title, rows) in sections() {
        write!(page, "\n## {title}\n\n{TABLE_HEAD}").expect("a String takes everything");
        for row in rows {
            let (name, key, help) = (row.name, row.file_key(), escaped(row.help()));
            let (default, secret) = (cell(row), if row.is_secret() { " *Secret.*" } else { "" });
            let idle = without_effect(row).map(|text| format!(" *{text}*")).unwrap_or_default();
            writeln!(page, "| `{name}` | `{key}` | {default} | {help}{secret}{idle} |")
                .expect("a String takes everything");
        }
    }
    page
}

/// `deploy/.env.example`.
pub fn env_example() -> String {
    let mut file = ENV_HEAD.to_owned();
    for (title, rows) in sections() {
        write!(file, "\n# {title}\n").expect("a String takes everything");
        for row in rows {
            let help = row.help();
            let idle = without_effect(row).map(|text| format!(" {text}")).unwrap_or_default();
            write!(file, "\n# {help}{idle}\n").expect("a String takes everything");
            let values = defaults(row);
            for (role, value) in &values[1..] {
                writeln!(file, "# Default of a {role}: {value}")
                    .expect("a String takes everything");
            }
            writeln!(file, "#{}={}", row.name, values[0].1).expect("a String takes everything");
        }
    }
    file + ENV_OF_COMPOSE
}

const CONFIGURATION_HEAD: &str = "\
# Configuration

<!-- Made from common/src/config/table.rs; DIOGENES_BLESS=1 cargo test --test it configuration -->

Nothing has to be configured: `diogenes-leader serve` on an empty data directory makes keys, log and
token, and serves on the loopback. What is set is read in this order, the first one wins:

1. flags: `--config`, `--data-dir`, `--log-level`, `--log-format`, `--workers`, and those that
   `--help` of a command shows;
2. environment variables: each name below, and the same name with `DIOGENES_` in front where it has
   none (both set and different: exit 78);
3. the TOML file that `--config` or `DIOGENES_CONFIG` names, with the short names of the second column;
4. the defaults.

A secret can stay in a file of its own: set `<NAME>_FILE`, or `<name>_file` in the TOML file, to the
file's path, or put a file with the short name into `$CREDENTIALS_DIRECTORY` (systemd credentials).
An unknown `DIOGENES_*` variable and an unknown name in the file are errors with a suggestion.
`config check` says whether everything is valid; `config show` prints every effective value and where it
came from, secrets redacted. Values are checked when a command starts (exit 78), not when they are used.

Times have a unit (`500ms`, `60s`, `5m`, `2h`, `7d`), sizes may have one (`512 MiB`, `1 GiB`), lists are
separated by commas, schedules are cron expressions with seconds. A dash means: not set.
";

const TABLE_HEAD: &str = "\
| Variable | In the file | Default | What it does |
|---|---|---|---|
";

const ENV_HEAD: &str = "\
# Settings of Diogenes with their defaults; docs/configuration.md explains how they are read.
# No node reads this file by itself: copy it, take the number sign away where you set something, and hand
# the copy over, as EnvironmentFile= of a systemd unit or with `docker run --env-file`. As `.env` beside
# docker-compose.yml it is found there.
# Made from common/src/config/table.rs; DIOGENES_BLESS=1 cargo test --test it configuration
";

const ENV_OF_COMPOSE: &str = "
# docker-compose.yml alone: what the services beside the leader are told

# The name of the image that is built and run.
#IMAGE=diogenes

# The name that Caddy serves and gets certificates for (profile live).
#SITE_ADDRESS=localhost

# What `docker compose exec leader diogenes key fingerprint` prints (profile federation).
#LEADER_FINGERPRINT=

# The database's password, in DATABASE_URL too (profile postgres); without one it does not start.
#POSTGRES_PASSWORD=

# Grafana's first password (profile monitoring).
#GRAFANA_PASSWORD=admin
";

/// The rows by who has them, in the order of the table.
fn sections() -> impl Iterator<Item = (String, Vec<&'static Row>)> {
    let mut kinds: Vec<&[Role]> = Vec::new();
    for row in ROWS {
        if !kinds.contains(&row.roles) {
            kinds.push(row.roles);
        }
    }
    kinds.into_iter().map(|roles| {
        let rows = ROWS.iter().filter(|row| row.roles == roles).collect();
        (title(roles), rows)
    })
}

/// What is said of a setting that this version does not look at, everywhere or in one role.
fn without_effect(row: &Row) -> Option<String> {
    if WITHOUT_EFFECT.contains(&row.name) {
        return Some("No effect in this version.".to_owned());
    }
    let (_, role) = WITHOUT_EFFECT_ON.iter().find(|(name, _)| *name == row.name)?;
    Some(format!("No effect on a {} in this version.", role.name()))
}

fn title(roles: &[Role]) -> String {
    if roles.len() == Role::ALL.len() {
        return "Every role".to_owned();
    }
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let names = names.join(" and ");
    names[..1].to_uppercase() + &names[1..]
}

/// The default as a cell: one value, or one for each role that differs.
fn cell(row: &Row) -> String {
    let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { format!("`{text}`") };
    let values = defaults(row);
    match &values[..] {
        [(_, value)] => shown(value),
        several => {
            let each = several.iter().map(|(role, value)| format!("{role} {}", shown(value)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The default, once for each role where it is not the same for all; never empty.
fn defaults(row: &Row) -> Vec<(&'static str, &'static str)> {
    let first = row.default_for(row.roles[0]);
    if row.roles.iter().all(|role| row.default_for(*role) == first) {
        return vec![(row.roles[0].name(), first)];
    }
    row.roles.iter().map(|role| (role.name(), row.default_for(*role))).collect()
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
