//! What the documents say about settings and problems is what the code does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use diogenes_common::config::{Environment, Flags, Settings};
use diogenes_common::files::Role;
use diogenes_common::server::problem::Code;
use diogenes_tests::documents;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Compares a document with what the code makes; `DIOGENES_BLESS=1` writes it instead.
fn compare(path: &str, made: &str) {
    let file = root().join(path);
    if std::env::var_os("DIOGENES_BLESS").is_some() {
        fs::write(&file, made).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let line = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    assert!(kept == made, "{path} is not what the code says (line {line:?}): DIOGENES_BLESS=1");
}

#[test]
fn every_setting_is_documented_with_its_default() {
    compare("docs/configuration.md", &documents::configuration());
}

#[test]
fn the_example_environment_has_every_setting() {
    compare("deploy/.env.example", &documents::env_example());
}

#[test]
fn the_example_environment_is_valid_for_every_role_when_it_is_taken_as_it_is() {
    let text = fs::read_to_string(root().join("deploy/.env.example")).unwrap();
    for role in Role::ALL {
        let set = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix('#')?.split_once('=')?;
            let is_setting = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
            is_setting.then_some((name, value))
        });
        let set: Vec<_> = set.chain([("HOME", "/home/diogenes")]).collect();
        assert!(set.len() > 40, "the example has settings");

        let loaded = Settings::load(role, Flags::new(), &Environment::of(set));

        assert!(loaded.is_ok(), "{}: {:?}", role.name(), loaded.err());
    }
}

#[test]
fn every_problem_is_documented_with_its_status_a_meaning_and_what_to_do() {
    let text = fs::read_to_string(root().join("docs/problems.md")).unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| line.strip_suffix(" |").expect("a row ends with a bar"))
        .map(|line| {
            let mut cells = line.split(" | ");
            let code = cells.next().unwrap().strip_suffix('`').unwrap();
            (code, cells.collect())
        })
        .collect();

    for code in Code::ALL {
        let row = rows.get(code.as_str()).unwrap_or_else(|| panic!("{code} is not documented"));
        let [status, meaning, action] = row[..] else { panic!("{code}: four columns, {row:?}") };
        assert_eq!(status, code.status().as_str(), "{code}");
        assert!(meaning.len() > 20 && meaning.ends_with('.'), "{code}: {meaning}");
        assert!(action.len() > 10 && action.ends_with('.'), "{code}: {action}");
    }
    let unknown: Vec<_> = rows.keys().filter(|code| Code::from_name(code).is_none()).collect();
    assert!(unknown.is_empty(), "documented, but no code: {unknown:?}");
}
