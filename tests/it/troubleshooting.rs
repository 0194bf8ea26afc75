//! `docs/operating/troubleshooting.md` is compared with the reasons in the code: each has a row
//! that says what it means and what to do, and no row is about a reason that there is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

type Reasons = BTreeSet<String>;

const PAGE: &str = "docs/operating/troubleshooting.md";

/// Where the reasons of a section of the page come from: the bodies of these functions.
const FUNCTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "A follower's reasons",
        &[
            ("common/src/wire/status.rs", "fn in_words("),
            ("common/src/batch/verify.rs", "fn reason("),
            ("follower/src/replica.rs", "fn reason("),
            ("follower/src/replica.rs", "fn judge("),
        ],
    ),
    (
        "A witness's reasons",
        &[
            ("witness/src/judge/mod.rs", "fn reason("),
            ("common/src/head.rs", "fn as_str("),
            ("witness/src/serve/answer.rs", "fn reason("),
        ],
    ),
    ("A leader's reasons", &[("leader/src/cosigning/answer.rs", "fn reason(")]),
];

/// Reasons that stand in constants, and those that two lines of the page share with a word.
const ELSEWHERE: [(&str, &[&str]); 3] = [
    ("A follower's reasons", &[]),
    (
        "A witness's reasons",
        &["current", "fork_prefix", "never", "self_equivocated", "single_vantage", "stale"],
    ),
    (
        "A leader's reasons",
        &[
            "bad_entry",
            "chain_merkle_mismatch",
            "damaged",
            "entry_corrupt",
            "fork_prefix",
            "fork_same_size",
            "peer_disagrees",
            "self_rolled_back",
            "start_unconfirmed",
            "timestamp_regressed",
            "truncated",
            "witness_ahead",
            "witness_equivocated",
            "witness_fault",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A section of the page, up to the next of its level.
fn section(heading: &str) -> String {
    let page = read(PAGE);
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect("the section exists");
    rest.split("\n## ").next().unwrap().to_owned()
}

fn is_reason(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// What stands between two of these marks, if it looks like a reason.
fn between(text: &str, mark: char) -> Reasons {
    let odd = text.split(mark).skip(1).step_by(2);
    odd.filter(|word| is_reason(word)).map(str::to_owned).collect()
}

/// The reasons of a section's rows: first cells hold nothing else. Rows of incidents also name the
/// codes of an incident in their second cell.
fn documented(heading: &str) -> Reasons {
    let mut found = Reasons::new();
    for row in section(heading).lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(cells.len() >= 2 && cells.iter().all(|cell| cell.len() > 2), "{row}");
        found.extend(between(cells[0], '`'));
        if cells[0] == "| `witness_fault`" {
            found.extend(between(cells[1], '`'));
        }
    }
    found
}

/// The code of a file, without comments and without its tests.
fn code(path: &str) -> String {
    let text = read(path);
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The reasons in the bodies of all functions that begin so.
fn in_functions(path: &str, beginning: &str) -> Reasons {
    let text = code(path);
    let mut found = Reasons::new();
    for (at, _) in text.match_indices(beginning) {
        let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let indent = text[line..].len() - text[line..].trim_start().len();
        let end = format!("\n{}}}", " ".repeat(indent));
        let body = text[at..].split(&end).next().unwrap();
        found.extend(between(body, '"'));
    }
    assert!(
        !found.is_empty(),
        "{path} has no reasons in `{beginning}`: this test looks in the wrong place"
    );
    found
}

fn sources(below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        if root().join(&path).is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

/// The reasons with which a program ends: the first text that a failure is made of.
fn of_failures() -> Reasons {
    let makers = ["::unsafe_state(", "::refused(", "::disk(", "Failure::new(", "Self::new("];
    let mut paths = Vec::new();
    for role in ["common", "leader", "follower", "witness"] {
        sources(&Path::new(role).join("src"), &mut paths);
    }
    let mut found = Reasons::new();
    for path in paths.iter().filter(|path| !path.ends_with("/tests.rs")) {
        let text = code(path);
        for maker in makers {
            for (at, _) in text.match_indices(maker) {
                let first = text[at + maker.len()..].trim_start();
                let is_exit = first.starts_with("Exit::");
                let first = if is_exit { first.split_once(',').unwrap().1 } else { first };
                let quoted = first.trim_start().strip_prefix('"').and_then(|s| s.split('"').next());
                found.extend(quoted.filter(|word| is_reason(word)).map(str::to_owned));
            }
        }
    }
    found.remove("usage");
    found
}

#[test]
fn each_reason_of_a_node_has_a_row_and_each_row_a_reason() {
    for ((heading, functions), (_, others)) in FUNCTIONS.iter().zip(ELSEWHERE) {
        let mut expected: Reasons = others.iter().map(|reason| (*reason).to_owned()).collect();
        for (path, beginning) in *functions {
            expected.extend(in_functions(path, beginning));
        }

        assert_eq!(documented(heading), expected, "{PAGE}, {heading}");
    }
}

#[test]
fn each_reason_that_ends_a_program_has_a_row_and_each_row_a_reason() {
    let ends = of_failures();

    assert!(ends.len() > 60, "{ends:?}: this test looks in the wrong place");
    assert_eq!(documented("How a program ends"), ends, "{PAGE}");
}

#[test]
fn codes_of_the_api_are_those_of_the_list_of_problems() {
    let problems = read("docs/problems.md");
    let codes = documented("The API's codes");

    assert!(codes.len() > 5, "{codes:?}");
    for code in codes {
        assert!(problems.contains(&format!("\n| `{code}` |")), "{code} is not in the list");
    }
}

#[test]
fn each_alert_has_a_heading_that_says_what_to_do() {
    let rules = read("deploy/prometheus/rules.yml");
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let section = section("Alerts");
    let mut headings = BTreeSet::new();
    for part in section.split("\n### ").skip(1) {
        for word in ["**Means**: ", "**First look**: ", "**Do**: "] {
            assert!(part.contains(word), "{part}");
        }
        headings.insert(part.lines().next().unwrap());
    }

    assert_eq!(headings, alerts, "{PAGE}");
}
