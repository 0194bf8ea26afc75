//! Those who want a leader to be busy, full, or somebody else's messenger.

use std::net::SocketAddr;
use std::time::Duration;

use diogenes_common::canonical;
use diogenes_common::keys::SigningKey;
use diogenes_tests::http::Node;
use diogenes_tests::leaders::{begin, grow, serve};
use diogenes_tests::process::{Machine, Process, Programs, free_address};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::drill::{Playing, Watch};
use crate::stage::exit_of;
use crate::verdict::{Left, Observed, Standing, State, Who};

/// How many connections a flood opens.
const FLOOD: usize = 300;
/// How long an attacker holds on.
const STUBBORN: Duration = Duration::from_secs(20);

/// A client sends the head of a request byte by byte, for ever.
pub(crate) fn slow_loris(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[]).await;
        let watch = Watch::start();

        let (mut reader, mut writer) =
            TcpStream::connect(scene.leader.address()).await?.into_split();
        let trickle = async {
            for byte in format!("GET / HTTP/1.1\r\nhost: {}", "x".repeat(1_000)).bytes() {
                if writer.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let is_cut = tokio::select! {
            // Whether something is said or not: the connection ends.
            _ = reader.read_to_end(&mut answer) => true,
            () = trickle => false,
            () = tokio::time::sleep(STUBBORN) => false,
        };
        let standing = if is_cut { Standing::Cut } else { Standing::Unmoved };
        Ok(scene.stood(&watch, State::of(standing, "")).await)
    })
}

/// Many clients connect and say nothing.
pub(crate) fn connection_flood(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[]).await;
        let watch = Watch::start();

        let mut silent = Vec::new();
        for _ in 0..FLOOD {
            silent.push(TcpStream::connect(scene.leader.address()).await?);
        }
        let served = scene.leader.get("/api/v1/log/sth").await.is_ok_and(|it| it.is_success());
        let all_cut = async {
            for stream in &mut silent {
                let mut answer = Vec::new();
                // A connection that is reset has ended too.
                let _ = stream.read_to_end(&mut answer).await;
            }
        };
        let is_cut = tokio::time::timeout(STUBBORN, all_cut).await.is_ok();
        let standing = if is_cut { Standing::Cut } else { Standing::Unmoved };
        let mut observed = scene.stood(&watch, State::of(standing, "")).await;
        observed.checks.push(("who asks meanwhile is answered", served));
        Ok(observed)
    })
}

/// A client asks more often than it may.
pub(crate) fn request_flood(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[("RATE_LIMIT_LOG_READ", "30")]).await;
        let stranger = scene.leader.clone().with_token(None);
        let watch = Watch::start();

        let mut last = stranger.get("/api/v1/log/1").await?;
        for _ in 0..120 {
            if !last.is_success() {
                break;
            }
            last = stranger.get("/api/v1/log/1").await?;
        }
        Ok(scene.stood(&watch, State::named(Standing::Answer(last.status), last.code())).await)
    })
}

/// A request has a head that does not end.
pub(crate) fn endless_head(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[]).await;
        let watch = Watch::start();
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-huge: {}\r\n\r\n", "x".repeat(64 << 10));
        let status = exchange(scene.leader.address(), head.as_bytes()).await?;
        Ok(scene.stood(&watch, State::of(Standing::Answer(status), "")).await)
    })
}

/// A request has a body of a gigabyte.
pub(crate) fn endless_body(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[]).await;
        let watch = Watch::start();
        let event =
            json!({ "event_type": "x-test:event", "payload": { "x": "y".repeat(9 << 20) } });
        let answer = scene.leader.post("/api/v1/log/entries", &event).await?;
        Ok(scene.stood(&watch, State::named(Standing::Answer(answer.status), answer.code())).await)
    })
}

/// The disk is fuller than the operator wants it to be.
pub(crate) fn disk_full(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let (machine, address) = (Machine::new(programs.clone()), free_address());
        let (leader, node) = serve(&machine, "leader", &[]).await;
        grow(&node, 3).await;
        assert_eq!(leader.stop().await, Some(0), "a leader stops when it is asked to");
        let watch = Watch::start();

        let full = [("MIN_FREE", "8000000 GiB")];
        let (mut leader, _) = begin(&machine, "leader", address, &full);
        let status = leader.ended().await;

        let (after, state) = (watch.elapsed(), exit_of(status.code(), &leader.log()));
        let (_leader, again) = serve(&machine, "leader", &[]).await;
        let goes_on = again.append("x-test:event", &json!({ "goes": "on" })).await.is_ok();
        let (left, healed) = (Left::Nothing, Some(goes_on));
        Ok(Observed { who: Who::Leader, after, state, left, healed, checks: Vec::new() })
    })
}

/// Whoever holds a key asks the leader to post to addresses that only the leader can reach.
pub(crate) fn webhook_to_private_places(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs, &[]).await;
        let session = login(&scene.leader).await?;
        let trap = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = trap.local_addr()?.port();
        let watch = Watch::start();

        let places = [
            format!("http://127.0.0.1:{port}/"),
            format!("https://127.0.0.1:{port}/"),
            "https://127.0.0.1/".to_owned(),
            "https://[::1]/".to_owned(),
            "https://[::ffff:127.0.0.1]/".to_owned(),
            "https://10.0.0.1/".to_owned(),
            "https://169.254.169.254/latest/meta-data/".to_owned(),
            "http://example.com/".to_owned(),
        ];
        let mut answers = Vec::new();
        for url in &places {
            let body = json!({ "url": url, "events": ["x-test:event"] });
            let answer = session.post("/api/v1/webhooks", &body).await?;
            answers.push((answer.status, answer.code()));
        }
        let state = match answers.first() {
            Some((status, code)) => State::named(Standing::Answer(*status), code.clone()),
            None => State::of(Standing::Unmoved, ""),
        };
        let all_alike = answers.windows(2).all(|pair| pair[0] == pair[1]);
        grow(&scene.leader, 1).await;
        let reached = tokio::time::timeout(Duration::from_secs(1), trap.accept()).await.is_ok();
        let mut observed = scene.stood(&watch, state).await;
        observed.checks.push(("every such place is refused alike", all_alike));
        observed.checks.push(("nothing was dialled", !reached));
        Ok(observed)
    })
}

/// A leader with a few entries.
struct Scene {
    _machine: Machine,
    leader: Node,
    process: std::cell::RefCell<Process>,
}

impl Scene {
    async fn start(programs: &Programs, variables: &[(&str, &str)]) -> Self {
        let machine = Machine::new(programs.clone());
        let (process, leader) = serve(&machine, "leader", variables).await;
        grow(&leader, 3).await;
        Self { _machine: machine, leader, process: process.into() }
    }

    /// What the leader did, and that it goes on.
    async fn stood(&self, watch: &Watch, state: State) -> Observed {
        let after = watch.elapsed();
        let event = json!({ "goes": "on" });
        let goes_on = self.leader.append("x-test:event", &event).await.is_ok();
        Observed {
            who: Who::Leader,
            after,
            state,
            left: Left::Nothing,
            healed: Some(goes_on && self.process.borrow_mut().is_running()),
            checks: Vec::new(),
        }
    }
}

/// Sends bytes and reads the status of what comes back.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<u16> {
    let (mut reader, mut writer) = TcpStream::connect(address).await?.into_split();
    // A server that has heard enough closes before all is sent.
    let send = async {
        let _ = writer.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 64];
    let length = tokio::select! {
        read = reader.read(&mut answer) => read?,
        () = send => 0,
    };
    let text = String::from_utf8_lossy(&answer[..length]).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(status.unwrap_or_default())
}

/// Registers a key and logs in with it.
async fn login(leader: &Node) -> anyhow::Result<Node> {
    let key = SigningKey::from_seed([69; 32]);
    let payload = json!({
        "public_key": key.public().to_pem(), "pseudonym": "Mallory", "key_algorithm": "ed25519",
    });
    let registered = leader.post("/api/v1/keys/register", &json!({ "payload": payload })).await?;
    anyhow::ensure!(registered.is_success(), "{registered}");
    let fingerprint = key.fingerprint();
    let wanted = json!({ "fingerprint": fingerprint, "purpose": "login" });
    let challenge = leader.post("/api/v1/auth/challenge", &wanted).await?.json();
    let claim = json!({
        "action": "login",
        "challenge_id": challenge["challenge_id"],
        "expires_at": challenge["expires_at"],
        "fingerprint": fingerprint,
        "nonce": challenge["nonce"],
        "origin": leader.well_known().await?.origin,
        "payload_hash": null,
        "purpose": challenge["purpose"],
        "recovery": challenge["recovery"],
    });
    let signed = [b"diogenes-challenge/v1\n".as_slice(), &canonical::to_vec(&claim)].concat();
    let answer = json!({
        "challenge_id": challenge["challenge_id"],
        "challenge_signature": key.sign(&signed),
    });
    let session: Value = leader.post("/api/v1/auth/login", &answer).await?.json();
    let token = session["token"].as_str().map(str::to_owned);
    anyhow::ensure!(token.is_some(), "{session}");
    Ok(leader.clone().with_token(token))
}
