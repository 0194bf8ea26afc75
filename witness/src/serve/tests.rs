use std::net::SocketAddr;

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::config::{Environment, Flags};
use diogenes_common::cosignature::verify_cosignature;
use diogenes_common::files::Role;
use diogenes_common::note::{Note, parse_signature_lines};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{History, Listed, at, body};

/// An answer as it stands on the wire.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn media_type(&self) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut types = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        types.next().map_or("", |(_, value)| value)
    }
}

/// A witness that serves.
struct Site {
    listed: Listed,
    address: SocketAddr,
    tasks: Tasks,
    app: App,
}

impl Site {
    async fn start() -> Self {
        Self::with_lists(Listed::new(), "").await.unwrap()
    }

    async fn with_lists(listed: Listed, lists: &str) -> Result<Self, Failure> {
        let environment = Environment::of([("LOG_LISTS", lists), ("HOME", "/nowhere")]);
        let flags = Flags::new().with(&LISTEN, Some("127.0.0.1:0"));
        let settings = Settings::load(Role::Witness, flags, &environment).unwrap();
        let (home, tasks) = (listed.open(), Tasks::new());
        let clock = listed.clock.clone() as Arc<dyn Clock>;
        let witness = Witness::start(&settings, home, clock, tasks.clone()).await?;
        let (address, app) = (witness.server.address(), witness.app.clone());
        tasks.spawn(witness.run());
        Ok(Self { listed, address, tasks, app })
    }

    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    async fn add(&self, body: &[u8]) -> Reply {
        self.ask("POST", "/add-checkpoint", body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, b"").await
    }

    /// Checks that an answer is a cosignature over the tree of that size.
    fn verify(&self, reply: &Reply, size: u64) {
        assert_eq!((reply.status, reply.media_type()), (200, "text/plain; charset=utf-8"));
        let lines = parse_signature_lines(&reply.body).unwrap();
        let history = &self.listed.history;
        let said = Checkpoint::new(history.origin().as_str(), history.tree(size)).unwrap();
        let key = self.listed.open().key().public().clone();
        assert!(verify_cosignature(&lines[0], &said, &key).is_ok());
    }
}

#[tokio::test]
async fn each_refusal_has_the_status_that_the_specification_gives_it() {
    let site = Site::start().await;
    let (history, fork) = (&site.listed.history, History::forked_at(3));
    site.verify(&site.add(&history.body(0, 5)).await, 5);
    let stranger = format!("stranger\n{}", history.checkpoint(9).split_once('\n').unwrap().1);
    let unsigned = history.checkpoint(9).replace(history.log_key().vkey().name().as_str(), "x");
    let unsigned = unsigned.replacen('x', history.origin().as_str(), 1);
    let wrong = history.consistency(4, 9);

    for (what, body, status) in [
        ("no request", b"new 5\n\n".to_vec(), 400),
        ("an unknown log", body(5, &[], &stranger), 404),
        ("no signature of the log", body(5, &[], &unsigned), 403),
        ("old beyond new", history.body(9, 5), 400),
        ("an inconsistent proof", body(5, &wrong, &history.checkpoint(9)), 422),
        ("another root", fork.body(5, 5), 422),
        ("a body that is too long", vec![b'x'; 64 * 1024 + 1], 413),
    ] {
        let reply = site.add(&body).await;

        assert_eq!(reply.status, status, "{what}: {}", reply.body);
        if status != 413 {
            assert_eq!(reply.media_type(), "text/plain; charset=utf-8", "{what}");
        }
    }
    let stale = site.add(&history.body(3, 9)).await;
    assert_eq!((stale.status, stale.media_type()), (409, "text/x.tlog.size"));
    assert_eq!(stale.body, "5\n");
    site.verify(&site.add(&history.body(5, 9)).await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_requests_from_one_size_exactly_one_wins() {
    for _ in 0..5 {
        let site = Site::start().await;
        let history = &site.listed.history;
        site.verify(&site.add(&history.body(0, 5)).await, 5);
        let (near, far) = (history.body(5, 9), history.body(5, 17));

        let (near, far) = tokio::join!(site.add(&near), site.add(&far));

        let (first, lost, won) = if near.status == 200 { (near, far, 9) } else { (far, near, 17) };
        site.verify(&first, won);
        assert_eq!((lost.status, lost.body), (409, format!("{won}\n")));
        assert_eq!(site.listed.state().tree(), history.tree(won));
    }
}

#[tokio::test]
async fn anybody_may_fetch_what_was_cosigned_last() {
    let site = Site::start().await;
    let history = &site.listed.history;
    let path = format!("/{}/checkpoint", history.name().hash().to_hex());
    assert_eq!(site.get(&path).await.status, 404);

    for (old, new) in [(0, 5), (5, 9)] {
        let answer = site.add(&history.body(old, new)).await;

        let shown = site.get(&path).await;

        assert_eq!((shown.status, shown.media_type()), (200, "text/plain; charset=utf-8"));
        assert_eq!(shown.body, format!("{}{}", history.checkpoint(new), answer.body));
        let known = [history.log_key().vkey().clone(), site.listed.open().vkey()];
        let note = Note::parse(shown.body.as_bytes()).unwrap();
        assert_eq!(note.verify(&known).map(|lines| lines.len()), Ok(2));
    }
    let upper_case = history.name().hash().to_hex().to_uppercase();
    for odd in ["x".to_owned(), upper_case, "0".repeat(64)] {
        assert_eq!(site.get(&format!("/{odd}/checkpoint")).await.status, 404, "{odd}");
    }
    // The same after a restart.
    let before = site.get(&path).await.body;
    let Site { listed, tasks, .. } = site;
    tasks.stop();
    let site = Site::with_lists(listed, "").await.unwrap();
    assert_eq!(site.get(&path).await.body, before);
}

#[tokio::test]
async fn a_list_in_a_file_lets_its_logs_ask() {
    let listed = Listed::new();
    let origin = "go.sum database tree";
    let path = listed.path().with_file_name("list.1");
    let list = format!(
        "logs/v0\nvkey {}\norigin {origin}\nqpd 1\ncontact a@b\n",
        listed.history.log_key()
    );
    std::fs::write(&path, list).unwrap();

    let site = Site::with_lists(listed, path.to_str().unwrap()).await.unwrap();

    let history = &site.listed.history;
    let said = Checkpoint::new(origin, history.tree(5)).unwrap();
    let name = history.log_key().vkey().name().clone();
    let note = diogenes_common::checkpoint::sign_checkpoint(&said, &name, history.operator());
    assert_eq!(site.add(&body(0, &[], &note)).await.status, 200);
    let metrics = site.get("/metrics").await.body;
    let line = format!("diogenes_cosigned_tree_size_entries{{origin=\"{origin}\"}} 5");
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_at_the_start_is_a_fault_of_the_settings() {
    for lists in ["/nowhere/list.1", "http://lists.example/list.1"] {
        let started = Site::with_lists(Listed::new(), lists).await;

        let reason = started.map(|_| ()).map_err(|failure| failure.reason());
        assert!(matches!(reason, Err("log_list_unreadable" | "url_refused")), "{reason:?}");
    }
}

#[tokio::test]
async fn it_says_who_it_is_and_what_it_counts() {
    let site = Site::start().await;
    let history = &site.listed.history;
    site.add(&history.body(0, 5)).await;
    site.add(&history.body(0, 5)).await;
    site.add(b"x").await;
    for (path, part) in [("/healthz", "ok"), ("/readyz", "ready"), ("/", "vkey: witness-")] {
        let reply = site.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.body.contains(part), "{path}: {}", reply.body);
    }

    let metrics = site.get("/metrics").await.body;

    let origin = history.origin();
    for line in [
        format!("diogenes_cosigned_tree_size_entries{{origin=\"{origin}\"}} 5"),
        format!(
            "diogenes_last_success_timestamp_seconds{{origin=\"{origin}\"}} {}",
            at(200).seconds()
        ),
        format!("diogenes_refusals_total{{origin=\"{origin}\",reason=\"stale\"}} 1"),
        "diogenes_refusals_total{origin=\"unknown\",reason=\"malformed\"} 1".to_owned(),
        "diogenes_incidents_open{kind=\"self_equivocated\"} 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_state_that_was_put_back_ends_the_witness() {
    let site = Site::start().await;
    let history = &site.listed.history;
    let old = ["index.jsonl", "state.json"].map(|name| site.listed.path().join(name));
    let old = old.map(|path| (std::fs::read(&path).unwrap(), path));
    assert_eq!(site.add(&history.body(0, 5)).await.status, 200);

    for (bytes, path) in old {
        std::fs::write(path, bytes).unwrap();
    }
    let reply = site.add(&History::forked_at(3).body(0, 5)).await;

    assert_eq!(reply.status, 500);
    let end = site.tasks.finish(Duration::from_secs(5)).await;
    assert_eq!(end.map_err(|failure| failure.reason()), Err("state_inconsistent"));
}

#[tokio::test]
async fn strangers_make_no_series_and_are_answered_though_the_state_is_locked() {
    let site = Site::start().await;
    let history = &site.listed.history;
    let stranger = |name: &str| {
        let note = format!("{name}\n{}", history.checkpoint(9).split_once('\n').unwrap().1);
        body(0, &[], &note)
    };
    // The one look that five seconds grant.
    assert_eq!(site.add(&stranger("the first")).await.status, 404);
    let lock = site.listed.path().join("lock");
    let held = diogenes_common::files::FileLock::acquire(&lock, Duration::ZERO).unwrap();
    // Nor does a slow machine get to another one.
    site.app.turns.may_look(Instant::now() + Duration::from_secs(3600));
    let origin = history.origin();
    let unsigned = history.checkpoint(9).replace(history.log_key().vkey().name().as_str(), "x");
    let unsigned = unsigned.replacen('x', origin.as_str(), 1);

    for number in 0..3 {
        assert_eq!(site.add(&stranger(&format!("stranger {number}"))).await.status, 404);
    }
    assert_eq!(site.add(&body(0, &[], &unsigned)).await.status, 403);
    drop(held);
    site.verify(&site.add(&history.body(0, 9)).await, 9);

    let metrics = site.get("/metrics").await.body;
    assert!(!metrics.contains("stranger"), "{metrics}");
    for line in [
        "diogenes_refusals_total{origin=\"unknown\",reason=\"unknown_log\"} 4".to_owned(),
        format!("diogenes_refusals_total{{origin=\"{origin}\",reason=\"not_signed\"}} 1"),
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_log_that_another_process_listed_may_ask_at_once() {
    let site = Site::start().await;
    let (history, origin) = (&site.listed.history, "go.sum database tree");
    let key = history.log_key();
    let said = Checkpoint::new(origin, history.tree(5)).unwrap();
    let name = key.vkey().name().clone();
    let note = diogenes_common::checkpoint::sign_checkpoint(&said, &name, history.operator());

    site.listed.list(&site.listed.open(), origin.parse().unwrap(), key);

    assert_eq!(site.add(&body(0, &[], &note)).await.status, 200);
}

#[tokio::test]
async fn a_log_that_grew_as_often_as_it_may_in_a_day_is_only_refreshed() {
    let site = Site::start().await;
    let history = &site.listed.history;
    site.verify(&site.add(&history.body(0, 5)).await, 5);
    let (_, turn) = site.app.turns.of(history.origin().as_str()).unwrap();
    let mut pace = turn.lock_owned().await;
    let start = Instant::now();
    while pace.wait(None, start).is_none() {
        pace.step(None, start);
    }
    drop(pace);

    let refused = site.add(&history.body(5, 9)).await;

    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.head.to_lowercase().contains("\r\nretry-after: "), "{}", refused.head);
    site.verify(&site.add(&history.body(5, 5)).await, 5);
    assert_eq!(site.listed.state().tree(), history.tree(5));
}
