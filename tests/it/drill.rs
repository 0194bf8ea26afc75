//! The attack drills as a program: what is noticed is right, and what is not as expected fails.

use std::process::Command;

use diogenes_tests::process::Ended;
use serde_json::Value;

const NODE: &str = env!("CARGO_BIN_EXE_diogenes-node");

fn drill(words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diogenes-drill"));
    Ended::of(command.args(words).args(["--json", "--node", NODE]))
}

fn lines(ended: &Ended) -> Vec<Value> {
    ended.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn attacks_that_are_noticed_as_they_must_be_are_right() {
    let played = drill(&["run", "truncated", "batch-bomb", "leader-lost-database"]);

    assert_eq!(played.code, Some(0), "{played:?}");
    let lines = lines(&played);
    let column = |name| lines[..3].iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("verdict"), ["right"; 3]);
    assert_eq!(
        column("state"),
        ["ERROR latched truncated", "ERROR transient bad_batch", "exit 78 self_rolled_back"]
    );
    assert_eq!(column("left"), ["proof", "observation", "-"]);
    assert_eq!(column("verified"), [Value::from(true), true.into(), Value::Null]);
    assert_eq!((&lines[3]["attacks"], &lines[3]["right"]), (&3.into(), &3.into()));
}

#[test]
fn a_drill_whose_verdict_is_not_the_expected_one_fails() {
    let played = drill(&["run", "wrong-epoch", "--expect", "wrong_origin"]);

    assert_eq!(played.code, Some(1), "{played:?}");
    let lines = lines(&played);
    assert_eq!(lines[0]["verdict"], "wrong");
    let wrong = lines[0]["wrong"][0].as_str().unwrap();
    assert!(wrong.contains("wrong_epoch") && wrong.contains("wrong_origin"), "{wrong}");
    assert_eq!(lines[1]["wrong"], Value::from(vec!["wrong-epoch"]));
}

#[test]
fn an_unknown_attack_is_answered_with_the_names_of_those_that_are_there() {
    let asked = drill(&["run", "no-such-attack"]);

    assert_eq!(asked.code, Some(2));
    let listed = lines(&drill(&["list"]));
    let (count, attacks) = listed.split_last().unwrap();
    assert_eq!(count["attacks"], attacks.len());
    assert!(attacks.len() > 40, "{}", attacks.len());
    for attack in attacks {
        let name = attack["attack"].as_str().unwrap();
        assert!(asked.errors.contains(&format!("  {name}\n")), "{name}");
    }
}

/// docs/operating/drill.md names each attack, alone or as one of several.
#[test]
fn the_page_names_every_attack() {
    let page = include_str!("../../docs/operating/drill.md");
    let listed = lines(&drill(&["list"]));
    for attack in &listed[..listed.len() - 1] {
        let name = attack["attack"].as_str().unwrap();
        let several = ["batch-*", "bad-entry-*"];
        let is_one = several.iter().any(|all| name.starts_with(all.trim_end_matches('*')));
        assert!(is_one || page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
}
