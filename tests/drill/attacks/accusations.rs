//! Followers and witnesses that accuse an honest leader: only its own signature can stop it.

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::cosignature::cosign;
use diogenes_common::head::{HeadJson, TreeHead};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::statement::{
    FollowerStatus, ReplicationReport, ReportClaim, WitnessClaim, WitnessProof,
};
use diogenes_tests::http::{Node, Reply};
use diogenes_tests::leaders::{grow, serve};
use diogenes_tests::process::{Machine, Process, Programs};
use serde_json::{Value, json};

use crate::drill::{Playing, Watch};
use crate::evidence;
use crate::verdict::{Left, Observed, Standing, State, Who};

const REPORT: &str = "/api/v1/log/replication-report";
const WITNESS: &str = "/api/v1/log/witness";

/// An authorised follower reports a root that the log never had.
pub(crate) fn hostile_follower(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let liar = scene.authorized("federation").await?;
        let head = scene.leader.head().await?;
        let watch = Watch::start();

        let answer = scene.say(REPORT, &json!(report(&liar, &head, Some(&head)))).await?;

        let taken = answer.status == 204;
        scene.disagrees(&watch, ("the report is taken, and shown", taken)).await
    })
}

/// An authorised witness signs a root that the log never had.
pub(crate) fn hostile_witness(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let liar = scene.authorized("witnesses").await?;
        let head = scene.leader.head().await?;
        let watch = Watch::start();

        let answer = scene.say(WITNESS, &json!(proof(&liar, &head))).await?;

        let refused = answer.status >= 400;
        scene.disagrees(&watch, ("the proof is not recorded", refused)).await
    })
}

/// A key that nobody authorised reports a root that the log never had.
pub(crate) fn stranger_reports(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let head = scene.leader.head().await?;
        let watch = Watch::start();

        let stranger = SigningKey::from_seed([68; 32]);
        let answer = scene.say(REPORT, &json!(report(&stranger, &head, Some(&head)))).await?;

        scene.turned_away(&watch, &answer).await
    })
}

/// A key that nobody authorised submits a proof.
pub(crate) fn stranger_witnesses(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let head = scene.leader.head().await?;
        let stranger = SigningKey::from_seed([70; 32]);
        let watch = Watch::start();

        let answer =
            scene.say(WITNESS, &json!(signed(claim(&stranger, &head), &stranger, &head))).await?;

        scene.turned_away(&watch, &answer).await
    })
}

/// An authorised follower brings a larger head of the log that the log's key never signed.
pub(crate) fn forged_head(programs: &Programs) -> Playing<'_> {
    Box::pin(async move {
        let scene = Scene::start(programs).await;
        let liar = scene.authorized("federation").await?;
        let head = scene.leader.head().await?;
        let larger = TreeHead {
            tree_size: head.tree_size.plus(100),
            root_hash: Hash::of(b"never"),
            chain_head: Some(Hash::of(b"never")),
            timestamp: SystemClock.now(),
            epoch: head.epoch,
            origin: head.origin.clone(),
        };
        let forged = larger.sign(&liar).to_json(String::new(), 100);
        let watch = Watch::start();

        let answer = scene.say(REPORT, &json!(report(&liar, &head, Some(&forged)))).await?;

        scene.turned_away(&watch, &answer).await
    })
}

/// A leader with a few entries.
struct Scene {
    machine: Machine,
    leader: Node,
    _process: Process,
}

impl Scene {
    async fn start(programs: &Programs) -> Self {
        let machine = Machine::new(programs.clone());
        let (process, leader) = serve(&machine, "leader", &[]).await;
        grow(&leader, 3).await;
        Self { machine, leader, _process: process }
    }

    /// A key that the operator trusts, in a role.
    async fn authorized(&self, role: &str) -> anyhow::Result<SigningKey> {
        let key = SigningKey::from_seed([67; 32]);
        let public_key = key.public().to_pem();
        let payload = json!({
            "public_key": public_key, "pseudonym": "A node", "key_algorithm": "ed25519",
        });
        let registered =
            self.leader.post("/api/v1/keys/register", &json!({ "payload": payload })).await?;
        anyhow::ensure!(registered.is_success(), "{registered}");
        let whom = json!({ "public_key": public_key });
        let authorized = self.leader.post(&format!("/api/v1/operator/{role}"), &whom).await?;
        anyhow::ensure!(authorized.status == 201, "{authorized}");
        Ok(key)
    }

    async fn say(&self, path: &str, what: &Value) -> anyhow::Result<Reply> {
        Ok(self.leader.clone().with_token(None).post(path, what).await?)
    }

    /// What the leader shows of a peer's accusation.
    async fn disagrees(
        &self,
        watch: &Watch,
        check: (&'static str, bool),
    ) -> anyhow::Result<Observed> {
        let listed: Value = self.leader.read("/api/v1/operator/incidents").await?;
        let after = watch.elapsed();
        let first = &listed["incidents"][0];
        let kind = first["kind"].as_str().unwrap_or_default();
        let left = match first["evidence_id"].as_i64() {
            Some(id) => {
                let log_id = self.leader.well_known().await?.log_id;
                let kept = self.leader.get(&format!("/api/v1/evidence/{id}")).await?;
                anyhow::ensure!(kept.is_success(), "{kept}");
                evidence::observation(&self.machine, &kept.body, log_id)
            }
            None => Left::Nothing,
        };
        Ok(Observed {
            who: Who::Leader,
            after,
            state: State::named(Standing::Incident, kind),
            left,
            healed: Some(self.still_signs().await),
            checks: vec![check],
        })
    }

    /// What the leader answers to those who have no say.
    async fn turned_away(&self, watch: &Watch, answer: &Reply) -> anyhow::Result<Observed> {
        let after = watch.elapsed();
        let listed: Value = self.leader.read("/api/v1/operator/incidents").await?;
        let none = listed["incidents"].as_array().is_some_and(Vec::is_empty);
        Ok(Observed {
            who: Who::Leader,
            after,
            state: State::named(Standing::Answer(answer.status), answer.code()),
            left: Left::Nothing,
            healed: Some(self.still_signs().await),
            checks: vec![("nobody is alarmed", none)],
        })
    }

    async fn still_signs(&self) -> bool {
        self.leader.append("x-test:event", &json!({ "signing": "goes on" })).await.is_ok()
    }
}

/// A report of another root than the head's.
fn report(key: &SigningKey, head: &HeadJson, shown: Option<&HeadJson>) -> ReplicationReport {
    let claim = ReportClaim {
        follower: key.fingerprint(),
        head_timestamp: Some(head.timestamp),
        leader_tree_size: Some(head.tree_size),
        origin: head.origin.clone(),
        reason: None,
        root_hash: Hash::of(b"another root"),
        status: FollowerStatus::Synced,
        timestamp: SystemClock.now(),
        tree_size: head.tree_size,
    };
    claim.into_report(key, shown.cloned())
}

/// A proof that the log grew from a tree that it never had.
fn proof(key: &SigningKey, head: &HeadJson) -> WitnessProof {
    let mut claim = claim(key, head);
    (claim.old_root, claim.old_tree_size) = (Hash::of(b"another root"), TreeSize::ZERO.plus(3));
    signed(claim, key, head)
}

fn claim(key: &SigningKey, head: &HeadJson) -> WitnessClaim {
    WitnessClaim {
        new_root: head.root_hash,
        new_tree_size: head.tree_size,
        old_root: TreeRoot::EMPTY.hash,
        old_tree_size: TreeRoot::EMPTY.size,
        origin: head.origin.clone(),
        timestamp: SystemClock.now(),
        witness: key.fingerprint(),
    }
}

fn signed(claim: WitnessClaim, key: &SigningKey, head: &HeadJson) -> WitnessProof {
    let checkpoint = Checkpoint::new(head.origin.as_str(), claim.new_tree()).expect("an origin");
    let name = format!("witness-{}", key.fingerprint().short()).parse().expect("a key name");
    let line = cosign(&checkpoint, claim.timestamp, &name, key);
    claim.into_proof(key, head.clone(), Some(line.to_string()))
}
