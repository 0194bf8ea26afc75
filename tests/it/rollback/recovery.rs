//! Leaders restored from old copies, with followers that know better.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;

use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_tests::book::Book;
use diogenes_tests::http::Node;
use diogenes_tests::liar::Liar;
use diogenes_tests::process::{Ended, Machine, copy_files, free_address};

use super::{NODE, Site, assert_reads_only, open_incidents, private};

/// Removes files of a node's directory.
fn remove(machine: &Machine, name: &str, chosen: impl Fn(&str) -> bool) {
    for file in fs::read_dir(machine.data(name)).unwrap() {
        let file = file.unwrap();
        if chosen(&file.file_name().to_string_lossy()) {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

fn recover(machine: &Machine, name: &str, from: &str, peers: &str) -> Ended {
    let args = ["recover", "--from", from];
    machine.run(name, "leader", &args, &[("DIOGENES_PEERS", peers)])
}

#[tokio::test]
async fn a_leader_restored_from_an_old_backup_signs_again_once_it_recovered() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    let follower = site.follower("mirror").await;
    site.grow(&node, 5).await;
    let place = site.machine.home().join("backups");
    let place = place.to_str().unwrap();
    site.machine.run("leader", "leader", &["backup", place], &[]).succeeded();
    site.grow(&node, 5).await;
    site.mirrored(&node).await;
    assert_eq!(leader.stop().await, Some(0));

    let said = site.machine.run("restored", "leader", &["restore", place], &[]).succeeded();
    assert!(said.contains("recover --from"), "{said}");
    let (leader, node) = site.leader("restored", &[], &site.peers()).await;
    assert_reads_only(&node, "recover --from").await;
    assert_eq!(open_incidents(&node).await, ["self_rolled_back"]);
    assert_eq!(node.size().await.unwrap(), 6);
    assert_eq!(leader.stop().await, Some(0));

    let peers = site.peers();
    let said = recover(&site.machine, "restored", &peers, &peers).succeeded();
    assert!(said.contains("6 -> 11"), "{said}");
    let (mut leader, node) = site.leader("restored", &[], &site.peers()).await;
    leader.ready(&node).await;
    assert_eq!(open_incidents(&node).await, Vec::<String>::new());
    site.grow(&node, 3).await;
    site.mirrored(&node).await;
    assert_eq!(site.assert_one_history(&node).await, 14);
    assert_eq!(leader.stop().await, Some(0));
    assert_eq!(follower.stop().await, Some(0));
}

/// The guard is as old as the database: only a peer can know.
#[tokio::test]
async fn an_old_copy_of_the_whole_directory_signs_nothing_where_a_peer_knows_more() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    let follower = site.follower("mirror").await;
    site.grow(&node, 4).await;
    assert_eq!(leader.stop().await, Some(0));
    site.copy("leader", "old");
    let (leader, node) = site.leader("leader", &[], "").await;
    site.grow(&node, 4).await;
    site.mirrored(&node).await;
    assert_eq!(leader.stop().await, Some(0));

    let (leader, node) = site.leader("old", &[], &site.peers()).await;
    assert_reads_only(&node, "recover --from").await;
    assert_eq!(leader.stop().await, Some(0));
    // What was seen once is not forgotten where the peer is silent at the next start.
    let (leader, node) = site.leader("old", &[], "").await;
    assert_reads_only(&node, "recover --from").await;
    assert_eq!(leader.stop().await, Some(0));

    let said = recover(&site.machine, "old", &site.peers(), "").succeeded();
    assert!(said.contains("5 -> 9"), "{said}");
    let (mut leader, node) = site.leader("old", &[], &site.peers()).await;
    leader.ready(&node).await;
    site.grow(&node, 2).await;
    assert_eq!(site.assert_one_history(&node).await, 11);
    assert_eq!(leader.stop().await, Some(0));
    drop(follower);
}

#[tokio::test]
async fn a_database_that_was_swapped_or_deleted_under_its_guard_is_recovered() {
    let is_database = |name: &str| name.starts_with("log.db");
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    let follower = site.follower("mirror").await;
    site.grow(&node, 3).await;
    assert_eq!(leader.stop().await, Some(0));
    site.copy("leader", "old");
    let (leader, node) = site.leader("leader", &[], "").await;
    site.grow(&node, 3).await;
    site.mirrored(&node).await;
    assert_eq!(leader.stop().await, Some(0));

    for old in [true, false] {
        remove(&site.machine, "leader", is_database);
        if old {
            let (from, to) = (site.machine.data("old"), site.machine.data("leader"));
            copy_files(&from, &to, |name| is_database(&name.to_string_lossy()));
            private(&site.machine, "leader");
        }
        let args = ["serve", "--listen", "127.0.0.1:0"];
        let refused = site.machine.run("leader", "leader", &args, &[]);
        assert_eq!(refused.code, Some(78), "{refused:?}");
        assert!(refused.errors.contains("self_rolled_back"), "{refused:?}");
        assert!(refused.errors.contains("recover --from"), "{refused:?}");

        let said = recover(&site.machine, "leader", &site.peers(), "").succeeded();
        let expected = if old { "4 -> 7" } else { "0 -> 7" };
        assert!(said.contains(expected), "{said}");
    }

    let (mut leader, node) = site.leader("leader", &[], &site.peers()).await;
    leader.ready(&node).await;
    site.grow(&node, 1).await;
    assert_eq!(site.assert_one_history(&node).await, 8);
    assert_eq!(leader.stop().await, Some(0));
    drop(follower);
}

#[tokio::test]
async fn a_leader_does_not_recover_while_one_runs_there() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    let follower = site.follower("mirror").await;
    site.grow(&node, 1).await;
    site.mirrored(&node).await;

    let refused = recover(&site.machine, "leader", &site.peers(), "");

    assert_eq!(refused.code, Some(78), "{refused:?}");
    site.grow(&node, 1).await;
    assert_eq!(leader.stop().await, Some(0));
    drop(follower);
}

/// Without a guard everybody is waited for, and then the leader signs by itself.
#[tokio::test]
async fn a_leader_without_its_guard_signs_as_soon_as_every_peer_has_answered() {
    let site = Site::new();
    site.level_at_rest().await;
    remove(&site.machine, "leader", |name| name == "signed-guard");

    let (mut leader, node) = site.leader("leader", &[], &site.peers()).await;
    assert_reads_only(&node, "DIOGENES_PEERS").await;
    let follower = site.follower("mirror").await;
    leader.ready(&node).await;

    site.grow(&node, 1).await;
    assert_eq!(site.assert_one_history(&node).await, 5);
    assert_eq!(leader.stop().await, Some(0));
    assert!(site.machine.data("leader").join("signed-guard").exists());
    drop(follower);
}

#[tokio::test]
async fn a_leaders_backup_becomes_a_follower_without_its_keys() {
    let site = Site::new();
    let (leader, node) = site.leader("leader", &[], "").await;
    site.grow(&node, 5).await;
    let place = site.machine.home().join("backups");
    let place = place.to_str().unwrap();
    site.machine.run("leader", "leader", &["backup", place], &[]).succeeded();
    site.grow(&node, 2).await;
    assert_eq!(leader.stop().await, Some(0));

    let args = ["restore", place, "--as-follower"];
    let said = site.machine.run("mirror", "leader", &args, &[]).succeeded();

    assert!(said.contains("diogenes-follower serve"), "{said}");
    for private in ["operator.pem", "operator-token", "signed-guard", "secret-key"] {
        assert!(!site.machine.data("mirror").join(private).exists(), "{private}");
    }
    // It answers from what was restored while nobody else is there.
    let follower = site.follower("mirror").await;
    let mirror = Node::local(site.mirror);
    assert_eq!(mirror.size().await.unwrap(), 6);
    let (leader, node) = site.leader("leader", &[], &site.peers()).await;
    site.mirrored(&node).await;
    assert_eq!(site.assert_one_history(&mirror).await, 8);
    assert_eq!(leader.stop().await, Some(0));
    assert_eq!(follower.stop().await, Some(0));
}

/// A leader's directory that has the key of a book and lost everything else.
fn leader_of(book: &Book) -> Machine {
    let machine = Machine::new(NODE);
    machine.run("leader", "leader", &["init"], &[]).succeeded();
    let mine = ["log.db", "operator.pem", "signed-guard"];
    remove(&machine, "leader", |name| mine.iter().any(|mine| name.starts_with(mine)));
    let key = machine.data("leader").join("operator.pem");
    let mut options = fs::File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(key).unwrap();
    std::io::Write::write_all(&mut file, book.operator().to_pem().as_bytes()).unwrap();
    machine
}

fn book(size: u64) -> Book {
    let mut book = Book::new(SystemClock.now().plus_millis(-3_600_000));
    book.grow(size - 1);
    book
}

fn url(liar: &Liar) -> String {
    liar.node().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_highest_own_head_of_several_peers_is_reached() {
    let whole = book(30);
    let machine = leader_of(&whole);
    let (short, long) = (Liar::start(whole.cut(20)).await, Liar::start(whole).await);

    let said = recover(&machine, "leader", &url(&short), &url(&long)).succeeded();

    assert!(said.contains("0 -> 30"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_broke_off_goes_on_where_it_stopped() {
    let whole = book(30);
    let machine = leader_of(&whole);
    let (short, long) = (Liar::start(whole.cut(20)).await, Liar::start(whole).await);
    long.story().garble = Some(|batch| batch.leaves.reverse());

    let broken = recover(&machine, "leader", &url(&short), &url(&long));
    assert_eq!(broken.code, Some(1), "{broken:?}");
    // A start in between must not sign: more is known to be signed than is held.
    let listen = free_address();
    let args = ["serve", "--listen", &listen.to_string(), "--accept-size", "20"];
    let mut leader = machine.start("leader", "leader", &args, &[]);
    let node = Node::local(listen);
    leader.answers(&node, "/healthz").await;
    assert_eq!(node.get("/readyz").await.unwrap().status, 503);
    assert_eq!(leader.stop().await, Some(0));
    long.story().garble = None;

    let said = recover(&machine, "leader", &url(&long), "").succeeded();
    assert!(said.contains("20 -> 30"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_forks_is_refused_and_nothing_of_it_is_stored() {
    let whole = book(20);
    let machine = leader_of(&whole);
    let liar = Liar::start(whole.clone()).await;
    recover(&machine, "leader", &url(&liar), "").succeeded();
    let mut other = whole.cut(10);
    while other.size() < 30 {
        other.push("x-test:event", br#"{"told":"otherwise"}"#);
    }
    liar.tell(other);

    let forked = recover(&machine, "leader", &url(&liar), "");

    assert_eq!(forked.code, Some(1), "{forked:?}");
    assert!(forked.errors.contains("error[source_forks]"), "{forked:?}");
    // An honest source beside it does not make what the key signed elsewhere unsigned.
    let honest = Liar::start(whole.clone()).await;
    let beside = recover(&machine, "leader", &url(&honest), &url(&liar));
    assert_eq!(beside.code, Some(1), "{beside:?}");
    // Two heads of one size: no source heals that.
    let mut other = whole.cut(10);
    while other.size() < 20 {
        other.push("x-test:event", br#"{"told":"otherwise"}"#);
    }
    liar.tell(other);
    let proven = recover(&machine, "leader", &url(&honest), &url(&liar));
    assert_eq!(proven.code, Some(78), "{proven:?}");
    assert!(proven.errors.contains("error[self_equivocated]"), "{proven:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_serves_another_log_or_nothing_is_refused() {
    let whole = book(20);
    let machine = leader_of(&whole);
    let silent = format!("http://{}", free_address());

    let refused = recover(&machine, "leader", &silent, "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.errors.contains("error[source_unavailable]"), "{refused:?}");

    let honest = Liar::start(whole).await;
    let refused = recover(&machine, "leader", &url(&honest), &silent);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.errors.contains("error[peers_silent]"), "{refused:?}");
}
