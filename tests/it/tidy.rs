//! What the tree itself must be like: checked here, so that no review has to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use diogenes_common::config::ROWS;
use diogenes_common::files::Role;
use diogenes_common::server::problem::Code;
use diogenes_tests::documents::{WITHOUT_EFFECT, WITHOUT_EFFECT_ON};

/// The files and folders at the top.
const TOP_LEVEL: [&str; 20] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "common",
    "deny.toml",
    "deploy",
    "docs",
    "follower",
    "leader",
    "rustfmt.toml",
    "tests",
    "witness",
];

/// What tools leave there, and version control does not keep.
const LEFT_BY_TOOLS: [&str; 3] = [".git", ".quickstart", "target"];

/// The most lines of production code in one file, comments and blank lines not counted.
const LONGEST: usize = 500;

/// Files that are longer, and why that is easier to read than several.
const LONGER: [(&str, &str); 3] = [
    (
        "common/src/canonical.rs",
        "one format: its reader, its writer and its check mirror each other",
    ),
    ("common/src/store/local.rs", "a dozen small tables, two statements each"),
    ("common/src/wire/status.rs", "the rules of the status and its sentence, one after the other"),
];

const CRATES: [&str; 4] = ["common", "leader", "follower", "witness"];
const ROLES: [&str; 3] = ["leader", "follower", "witness"];

/// A file of Rust below the root, and the part of it that ships.
struct Source {
    path: String,
    production: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below a folder, as paths from the root; what tools made is left out.
fn files(below: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !LEFT_BY_TOOLS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files that people write and read; golden vectors and this file, which names what is not to
/// be found, are left out.
fn texts() -> Vec<String> {
    let kinds = ["rs", "toml", "md", "sh", "sql", "yml", "py", "html", "js", "css", "go"];
    files("")
        .into_iter()
        .filter(|path| kinds.iter().any(|kind| has_extension(path, kind)))
        .filter(|path| path != "tests/it/tidy.rs" && !path.starts_with("tests/vectors/"))
        .collect()
}

fn has_extension(path: &str, kind: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == kind)
}

/// The crates' own code without what only tests see.
fn sources() -> Vec<Source> {
    let paths = CRATES.iter().flat_map(|name| files(&format!("{name}/src")));
    paths
        .filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !is_for_tests(path))
        .map(|path| Source { production: production(&read(&path)), path })
        .collect()
}

/// Modules that are compiled for tests alone.
fn is_for_tests(path: &str) -> bool {
    let stem = Path::new(path).file_stem().unwrap().to_str().unwrap();
    ["tests", "testing", "testlog", "fake"].contains(&stem)
}

/// A file up to its tests, which come last.
fn production(text: &str) -> String {
    let tests = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\npub(super) mod testing {"];
    let end = tests.iter().filter_map(|start| text.find(start)).min();
    text[..end.unwrap_or(text.len())].to_owned()
}

/// The lines that hold code, with their numbers.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let lines = source.production.lines().enumerate();
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

/// Fails with everything that was found, not with the first.
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn the_top_level_holds_what_was_agreed_on() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let strange: Vec<String> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .filter(|name| !LEFT_BY_TOOLS.contains(&name.as_str()))
        .collect();

    assert_none("not agreed on", &strange);
}

#[test]
fn files_are_short_enough_to_be_read_in_one_go() {
    let mut too_long = Vec::new();
    let mut excused = BTreeSet::new();
    for source in sources() {
        let lines = code(&source).filter(|(_, line)| !line.trim().is_empty()).count();
        let path = source.path;
        if lines <= LONGEST {
            continue;
        }
        match LONGER.iter().find(|(known, _)| *known == path) {
            Some((known, _)) => drop(excused.insert(*known)),
            None => too_long.push(format!("{path}: {lines} lines")),
        }
    }

    assert_none("split them, or give the reason here", &too_long);
    let stale: Vec<String> = LONGER
        .iter()
        .filter(|(path, _)| !excused.contains(path))
        .map(|(path, _)| (*path).to_owned())
        .collect();
    assert_none("excused although short", &stale);
}

#[test]
fn nothing_is_left_unfinished_silenced_or_printed() {
    let mut found = Vec::new();
    for source in sources() {
        let may_print = source.path.contains("/commands/") || source.path.ends_with("/main.rs");
        let banned = ["todo!(", "unimplemented!(", "dbg!(", "#[allow", "#![allow", ".unwrap()"];
        let printed = ["println!(", "eprintln!(", "print!("];
        for (number, line) in code(&source) {
            let is_banned = banned.iter().any(|word| line.contains(word));
            let is_printed = !may_print && printed.iter().any(|word| line.contains(word));
            // `may_print` is by place: the exit of a process is told in common/src/exit.rs.
            if is_banned || (is_printed && source.path != "common/src/exit.rs") {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }

    assert_none("not for production code", &found);
}

#[test]
fn the_roles_never_import_each_other() {
    let mut found = Vec::new();
    for role in ROLES {
        let others: Vec<&str> = ROLES.into_iter().filter(|other| *other != role).collect();
        let manifest = read(&format!("{role}/Cargo.toml"));
        for other in &others {
            if manifest.contains(&format!("diogenes-{other}")) {
                found.push(format!("{role}/Cargo.toml names diogenes-{other}"));
            }
        }
        for path in files(&format!("{role}/src")) {
            let text = read(&path);
            let imports = others.iter().any(|other| text.contains(&format!("diogenes_{other}::")));
            if imports {
                found.push(path);
            }
        }
    }
    let common = read("common/Cargo.toml");
    found.extend(
        ROLES
            .iter()
            .filter(|role| common.contains(&format!("diogenes-{role}")))
            .map(|role| format!("common/Cargo.toml names diogenes-{role}")),
    );

    assert_none("arrows that point the wrong way", &found);
}

#[test]
fn every_feature_of_the_leader_has_the_same_shape() {
    // Not features: what features are run by, what is asked before they are, and the command line.
    let rooms = ["commands", "peers", "recovery", "sequencer"];
    let mut found = Vec::new();
    let mut features = 0;
    for entry in fs::read_dir(root().join("leader/src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !path.is_dir() || rooms.contains(&name.as_str()) {
            continue;
        }
        features += 1;
        let missing = ["mod.rs", "http.rs"].into_iter().filter(|file| !path.join(file).exists());
        found.extend(missing.map(|file| format!("leader/src/{name} has no {file}")));
    }

    assert!(features >= 4, "{features} features: this test looks in the wrong place");
    assert_none("features have verbs in mod.rs and routes in http.rs", &found);
}

#[test]
fn features_know_nothing_of_http_outside_their_routes() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| source.path.ends_with("/http.rs"))
        .flat_map(|source| {
            let sql = code(source).filter(|(_, line)| line.contains(".sequencer.submit"));
            sql.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();

    assert_none("handlers call one verb of their feature, never the sequencer", &found);
}

#[test]
fn both_dialects_have_the_same_migrations() {
    let names = |dialect: &str| -> Vec<String> {
        let below = format!("common/migrations/{dialect}");
        files(&below).iter().map(|path| path[below.len() + 1..].to_owned()).collect()
    };
    let sqlite = names("sqlite");

    assert_eq!(sqlite, names("postgres"));
    for (name, number) in sqlite.iter().zip(1..) {
        assert!(name.starts_with(&format!("{number:04}_")), "{name} is number {number}");
    }
}

#[test]
fn sql_is_written_in_the_store_alone() {
    let mut found = Vec::new();
    for source in sources() {
        if source.path.starts_with("common/src/store/") {
            continue;
        }
        for (number, line) in code(&source) {
            let statements = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "UPDATE log_", "sqlx::"];
            if statements.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }

    assert_none("belongs into common/src/store", &found);
}

#[test]
fn settings_without_effect_are_documented_as_such() {
    let all = sources();
    let mut idle = BTreeSet::new();
    for (constant, name) in settings() {
        let is_used = all
            .iter()
            .filter(|source| source.path != TABLE)
            // Limits are used where a class is counted, not where its setting is read.
            .filter(|source| source.path != "common/src/server/limits.rs")
            .filter(|source| !only_looks(source))
            .any(|source| code(source).any(|(_, line)| uses(line, &constant)));
        if !is_used && !name.starts_with("RATE_LIMIT_") && name != WITNESS_HOME {
            idle.insert(name);
        }
    }
    let classes = [
        ("RATE_LIMIT_KEY_REGISTRATION", "Class::KeyRegistration"),
        ("RATE_LIMIT_ENDORSEMENT_OFFER", "Class::EndorsementOffer"),
        ("RATE_LIMIT_ATTESTATION_EVENT", "Class::AttestationEvent"),
    ];
    let unused = classes.iter().filter(|(_, class)| {
        !all.iter()
            .any(|source| source.path.starts_with("leader/") && source.production.contains(class))
    });
    idle.extend(unused.map(|(name, _)| (*name).to_owned()));

    let documented: BTreeSet<_> = WITHOUT_EFFECT.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(idle, documented);
}

#[test]
fn settings_that_one_role_ignores_are_documented_as_such() {
    let all = sources();
    let reads = |role: Role, constant: &str| {
        let own = format!("{}/", role.name());
        let serves = all.iter().any(|source| {
            source.path.starts_with(&own) && source.production.contains("diogenes_common::server")
        });
        all.iter()
            .filter(|source| source.path != TABLE && !only_looks(source))
            .filter(|source| {
                let is_server = source.path.starts_with("common/src/server/");
                let is_shared = source.path.starts_with("common/src/") && (serves || !is_server);
                source.path.starts_with(&own) || is_shared
            })
            .any(|source| code(source).any(|(_, line)| uses(line, constant)))
    };
    let mut idle = BTreeSet::new();
    for (constant, name) in settings() {
        let row = ROWS.iter().find(|row| row.name == name).unwrap();
        if WITHOUT_EFFECT.contains(&row.name) || row.name == WITNESS_HOME {
            continue;
        }
        let ignoring = row.roles.iter().filter(|role| !reads(**role, &constant));
        idle.extend(ignoring.map(|role| (row.name, *role)));
    }

    assert_eq!(idle, BTreeSet::from(WITHOUT_EFFECT_ON));
}

/// Whether a file reads settings to judge them: that is no effect.
fn only_looks(source: &Source) -> bool {
    source.path.contains("/doctor/") || source.path.ends_with("/doctor.rs")
}

/// Where settings are declared.
const TABLE: &str = "common/src/config/table.rs";

/// Another name of a setting, which is looked up by its name alone.
const WITNESS_HOME: &str = "DIOGENES_WITNESS_HOME";

/// The constant of every setting, and the name of its variable.
fn settings() -> Vec<(String, String)> {
    let table = read(TABLE);
    let mut found = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("    ") && line.contains(": ")) {
        let constant = line.trim().split(':').next().unwrap();
        let is_constant = constant.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let declared = table.split(&format!("    {constant}: ")).nth(1).filter(|_| is_constant);
        if let Some(name) = declared.and_then(|rest| rest.split('"').nth(1)) {
            found.push((constant.to_owned(), name.to_owned()));
        }
    }
    found
}

/// Whether a line names the constant, and not one whose name only contains it.
fn uses(line: &str, constant: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split(|c: char| !part(c)).any(|word| word == constant)
}

#[test]
fn problems_that_nothing_answers_are_documented_as_such() {
    let all = sources();
    let page = read("docs/problems.md");
    let mut found = Vec::new();
    for known in Code::ALL {
        let variant = format!("{known:?}");
        // What is said of refusals refuses nothing.
        let answering = all.iter().filter(|source| !source.path.contains("/describe/"));
        let is_answered = answering.clone().any(|source| {
            // Beside the codes themselves stands the table of those that a bare status becomes.
            let is_table = source.path == "common/src/server/problem.rs";
            let prefix = if is_table { "Self::" } else { "Code::" };
            code(source).any(|(_, line)| {
                line.split(prefix).skip(1).any(|rest| {
                    rest.split(|c: char| !c.is_ascii_alphanumeric()).next() == Some(&*variant)
                })
            })
        });
        let row = format!("| `{}` |", known.as_str());
        let row = page.lines().find(|line| line.starts_with(&row)).unwrap_or_default();
        if row.contains("Not used by this version") == is_answered {
            found.push(format!("{known}: answered is {is_answered}"));
        }
    }

    assert_none("docs/problems.md says something else", &found);
}

#[test]
fn nothing_is_cited_that_is_not_in_the_tree() {
    let words = ["federation.md", "formats.md", "DESIGN"];
    let mut found = Vec::new();
    for path in texts() {
        let is_rust = has_extension(&path, "rs");
        for (number, line) in read(&path).lines().enumerate() {
            let mut issues = line.split("issue ").skip(1);
            let cites_issue = issues.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            let part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let mut names = line.split(|c: char| !part(c)).map(|name| name.trim_end_matches('.'));
            let is_lost = |name: &str| {
                // What begins with two slashes is the rest of a URL.
                has_extension(name, "md") && !name.starts_with("//") && !root().join(name).exists()
            };
            let cites_page = is_rust && line.contains("//") && names.any(is_lost);
            if cites_issue || cites_page || words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }

    assert_none("name the page of docs/ that says it, or nothing", &found);
}

#[test]
fn no_path_of_somebodys_machine_is_in_the_tree() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in code(&source) {
            if ["\"/tmp/", "\"/home/", "/work/"].iter().any(|path| line.contains(path)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    // Put together here, so that this file does not hold it.
    let workplace = ["", "work", ""].join("/");
    found.extend(texts().into_iter().filter(|path| read(path).contains(&workplace)));

    assert_none("paths of one machine", &found);
}

#[test]
fn vectors_of_others_say_whose_they_are() {
    let notes = read("tests/vectors/README.md");
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("tests/vectors")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !path.is_dir() {
            continue;
        }
        let says = fs::read_dir(&path).unwrap().any(|file| {
            let file = file.unwrap().file_name().into_string().unwrap();
            file.starts_with("LICENSE") || file.starts_with("README")
        });
        if !says && !notes.contains(&name) {
            found.push(format!("tests/vectors/{name}"));
        }
    }

    assert_none("neither a licence nor a note in tests/vectors/README.md", &found);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = files("docs").into_iter().chain(files("deploy")).chain(
        ["README.md", "CONTRIBUTING.md"]
            .map(str::to_owned)
            .into_iter()
            .filter(|name| root().join(name).exists()),
    );
    let mut found = Vec::new();
    for path in documents.filter(|path| Path::new(path).extension().is_some_and(|e| e == "md")) {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !root().join(&path).parent().unwrap().join(file).exists() {
                found.push(format!("{path}: {target}"));
            }
        }
        // Documents also name files of the tree in plain code.
        for name in text.split('`').filter(|name| name.starts_with("docs/")) {
            let named = name.split(['#', ' ', ':']).next().unwrap();
            if !root().join(named.trim_end_matches('/')).exists() {
                found.push(format!("{path}: `{named}`"));
            }
        }
    }

    assert_none("links that lead nowhere", &found);
}
