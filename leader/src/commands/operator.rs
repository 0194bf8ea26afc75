//! `operator`: what the operator decides, asked of a running leader.

use std::fs;
use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use diogenes_common::config::Settings;
use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::exit::Failure;
use diogenes_common::keys::{AnyFingerprint, Fingerprint, HolderKey};
use diogenes_common::shutdown;
use diogenes_common::statement::ProfileType;
use diogenes_common::wire::log::EntryView;
use http::Method;
use serde::Serialize;
use serde_json::Value;

use super::client::{DEFAULT_LEADER, Leader, LeaderArgs, TokenArgs};
use crate::federation::{FollowerList, WitnessList};
use crate::operator::{EndorseBody, IncidentList, PendingList, ProfileBody, ReservedAnswer};

/// `operator`.
#[derive(Subcommand)]
pub(super) enum Operator {
    /// Authorise a follower, whose key is registered on the log.
    ///
    /// Example: diogenes-leader operator authorize-federation a1b2c3d4e5f60718 --name "EU Mirror"
    AuthorizeFederation(Federation),
    /// Authorise a witness, before or after its first submission.
    ///
    /// Example: diogenes-leader operator authorize-witness a1b2c3d4e5f60718
    AuthorizeWitness(Witness),
    /// Endorse a registered key as that of a human being or an institution.
    ///
    /// Example: `diogenes-leader operator endorse a1b2c3d4e5f60718 --category human_attestation`
    Endorse(Endorse),
    /// End every authorisation and endorsement of a key.
    ///
    /// Example: diogenes-leader operator revoke a1b2c3d4e5f60718
    Revoke(Revoke),
    /// Say how an authorised follower or witness is to be shown.
    ///
    /// Example: diogenes-leader operator set-profile --type federation --display-name "EU Mirror"
    SetProfile(SetProfile),
    /// List the authorised followers and how they stand.
    ///
    /// Example: diogenes-leader operator list-followers
    ListFollowers(Common),
    /// List the authorised witnesses and how they stand.
    ///
    /// Example: diogenes-leader operator list-witnesses
    ListWitnesses(Common),
    /// List the keys that wait to be authorised, and the authorisations that wait for a key.
    ///
    /// Example: diogenes-leader operator pending
    Pending(Common),
    /// List incidents, or acknowledge one.
    ///
    /// Example: diogenes-leader operator incidents ack 3
    Incidents(Incidents),
}

/// What every command of the operator takes.
#[derive(Args)]
pub(super) struct Common {
    #[command(flatten)]
    leader: LeaderArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// `authorize-federation`.
#[derive(Args)]
pub(super) struct Federation {
    #[command(flatten)]
    common: Common,
    /// The follower's fingerprint: full, or its first 16 hex digits.
    fingerprint: AnyFingerprint,
    /// The name to give it.
    #[arg(long, value_parser = name)]
    name: Option<Name>,
}

/// `authorize-witness`.
#[derive(Args)]
pub(super) struct Witness {
    #[command(flatten)]
    common: Common,
    /// The witness's fingerprint, full or its first 16 hex digits, or the file with its public key.
    #[arg(value_name = "FINGERPRINT|PEM_FILE")]
    key: String,
    /// The name to give it.
    #[arg(long, value_parser = name)]
    name: Option<Name>,
}

/// `endorse`.
#[derive(Args)]
pub(super) struct Endorse {
    #[command(flatten)]
    common: Common,
    /// The key's fingerprint: full, or its first 16 hex digits.
    fingerprint: AnyFingerprint,
    /// As what.
    #[arg(long)]
    category: Standing,
    /// The name to give it.
    #[arg(long, value_parser = name)]
    name: Option<Name>,
}

/// The categories that give standing.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Standing {
    HumanAttestation,
    InstitutionalEndorsement,
}

/// `revoke`.
#[derive(Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    common: Common,
    /// The key's fingerprint: full, or its first 16 hex digits.
    fingerprint: AnyFingerprint,
}

/// `set-profile`.
#[derive(Args)]
pub(super) struct SetProfile {
    /// What kind of node it is.
    #[arg(long = "type", value_name = "TYPE")]
    kind: NodeType,
    /// The name to show.
    #[arg(long, value_name = "NAME", value_parser = name)]
    display_name: Name,
    /// Which node, by fingerprint or name [default: the only authorised one of that type].
    #[arg(long = "for", value_name = "FINGERPRINT|NAME")]
    node: Option<String>,
    /// The URL to show for it; never dialled.
    #[arg(long, value_name = "URL", value_parser = server_url)]
    server: Option<ServerUrl>,
    /// The leader to talk to.
    #[arg(long, value_name = "URL", default_value = DEFAULT_LEADER)]
    leader: String,
    #[command(flatten)]
    token: TokenArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NodeType {
    Federation,
    Witness,
}

/// `incidents`.
#[derive(Args)]
pub(super) struct Incidents {
    #[command(subcommand)]
    verb: Option<IncidentVerb>,
    /// Show acknowledged ones too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum IncidentVerb {
    /// Acknowledge an incident: you have seen it and dealt with it.
    Ack {
        /// Its number.
        id: i64,
        #[command(flatten)]
        common: Common,
    },
}

impl Operator {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        shutdown::block_on(Some(1), async {
            match self {
                Self::AuthorizeFederation(args) => args.run(settings).await,
                Self::AuthorizeWitness(args) => args.run(settings).await,
                Self::Endorse(args) => args.run(settings).await,
                Self::Revoke(args) => args.run(settings).await,
                Self::SetProfile(args) => args.run(settings).await,
                Self::ListFollowers(common) => list_followers(common, settings).await,
                Self::ListWitnesses(common) => list_witnesses(common, settings).await,
                Self::Pending(common) => pending(common, settings).await,
                Self::Incidents(args) => args.run(settings).await,
            }
        })
    }
}

impl Federation {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let body = EndorseBody {
            fingerprint: Some(self.fingerprint),
            name: self.name.clone(),
            ..EndorseBody::default()
        };
        endorse(&self.common, settings, "/api/v1/operator/federation", &body, "Authorised").await
    }
}

impl Witness {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let (fingerprint, public_key) = match self.key.parse() {
            Ok(fingerprint) => (Some(fingerprint), None),
            Err(error) => (None, Some(key_file(Path::new(&self.key), &error)?)),
        };
        let body = EndorseBody { fingerprint, public_key, name: self.name.clone(), category: None };
        endorse(&self.common, settings, "/api/v1/operator/witnesses", &body, "Authorised").await
    }
}

impl Endorse {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let category = match self.category {
            Standing::HumanAttestation => "human_attestation",
            Standing::InstitutionalEndorsement => "institutional_endorsement",
        };
        let body = EndorseBody {
            fingerprint: Some(self.fingerprint),
            name: self.name.clone(),
            category: Some(category.to_owned()),
            ..EndorseBody::default()
        };
        endorse(&self.common, settings, "/api/v1/operator/endorsements", &body, "Endorsed").await
    }
}

impl Revoke {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let leader = Leader::connect(&self.common.leader, settings)?;
        let mut ended: Vec<Value> = Vec::new();
        for kind in ["federation", "witnesses", "endorsements"] {
            let path = format!("/api/v1/operator/{kind}/{}", self.fingerprint);
            ended.extend(leader.delete::<Value>(&path).await?);
        }
        if ended.is_empty() {
            return Err(Failure::refused(
                "not_found",
                format!("the operator has authorised or endorsed no key {}", self.fingerprint),
                "see what there is: operator list-followers, list-witnesses, pending",
            ));
        }
        if self.common.json {
            return print_json(&ended);
        }
        for answer in &ended {
            match answer["id"].as_u64() {
                Some(id) => println!("Ended by entry {id}."),
                None => println!("Gave up the reservation for {}.", self.fingerprint),
            }
        }
        Ok(())
    }
}

impl SetProfile {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let leader = Leader::at(&self.leader, &self.token, settings)?;
        let nodes = match self.kind {
            NodeType::Federation => {
                let list: FollowerList = leader.get("/api/v1/operator/followers").await?;
                list.followers.into_iter().map(Node::from).collect::<Vec<_>>()
            }
            NodeType::Witness => {
                let list: WitnessList = leader.get("/api/v1/operator/witnesses").await?;
                list.witnesses.into_iter().map(Node::from).collect()
            }
        };
        let node = pick(&nodes, self.node.as_deref()).map_err(|error| self.unclear(&error))?;
        let body = ProfileBody {
            fingerprint: AnyFingerprint::Full(node.fingerprint),
            kind: match self.kind {
                NodeType::Federation => ProfileType::Federation,
                NodeType::Witness => ProfileType::Witness,
            },
            display_name: self.display_name.clone(),
            server: self.server.clone(),
        };
        let (_, entry): (_, EntryView) =
            leader.send(Method::PUT, "/api/v1/operator/profile", &body).await?;
        if self.json {
            return print_json(&entry);
        }
        let (short, id) = (node.fingerprint.short(), entry.id);
        println!("{short} is shown as {:?} since entry {id}.", self.display_name.as_str());
        Ok(())
    }

    fn unclear(&self, error: &Unclear) -> Failure {
        let kind = match self.kind {
            NodeType::Federation => "follower",
            NodeType::Witness => "witness",
        };
        match error {
            Unclear::Nobody => Failure::usage(
                format!("no {kind} is authorised"),
                "authorise one first: operator authorize-federation or authorize-witness",
            ),
            Unclear::Several(nodes) => Failure::usage(
                format!("more than one {kind} may be meant: {}", list(nodes)),
                "say which one with --for and its fingerprint",
            ),
            Unclear::Unknown(nodes) => Failure::usage(
                format!("no authorised {kind} goes by that; there are: {}", list(nodes)),
                "give --for a fingerprint or a name of these",
            ),
        }
    }
}

impl Incidents {
    async fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if let Some(IncidentVerb::Ack { id, common }) = &self.verb {
            let leader = Leader::connect(&common.leader, settings)?;
            let path = format!("/api/v1/operator/incidents/{id}/ack");
            let answer: Value = leader.post(&path, &serde_json::json!({})).await?;
            if common.json {
                return print_json(&answer);
            }
            println!("Acknowledged incident {id}.");
            return Ok(());
        }
        let leader = Leader::connect(&self.common.leader, settings)?;
        let path = format!("/api/v1/operator/incidents?all={}", self.all);
        let list: IncidentList = leader.get(&path).await?;
        if self.common.json {
            return print_json(&list);
        }
        let rows = list.incidents.iter().map(|incident| {
            vec![
                incident.id.to_string(),
                incident.opened_at.to_string(),
                incident.kind.clone(),
                incident.class.clone(),
                short(&incident.subject),
                if incident.acked_at.is_some() { "acknowledged" } else { "open" }.to_owned(),
                incident.detail.clone(),
            ]
        });
        let header = ["ID", "OPENED", "KIND", "CLASS", "ABOUT", "STATE", "DETAIL"];
        print_table(&header, rows, "No incident is open.");
        Ok(())
    }
}

async fn endorse(
    common: &Common,
    settings: &Settings,
    path: &str,
    body: &EndorseBody,
    done: &str,
) -> Result<(), Failure> {
    let leader = Leader::connect(&common.leader, settings)?;
    let (status, answer): (u16, Value) = leader.send(Method::POST, path, body).await?;
    if common.json {
        return print_json(&answer);
    }
    if let Ok(ReservedAnswer { reserved }) = serde_json::from_value(answer.clone()) {
        println!("{}", reserved_message(reserved));
        return Ok(());
    }
    let entry: EntryView = serde_json::from_value(answer).map_err(|error| {
        Failure::refused("bad_answer", error, "check that this is a Diogenes leader")
    })?;
    let fingerprint = entry.payload["fingerprint"].as_str().unwrap_or_default();
    match status {
        201 => println!("{done} {fingerprint} by entry {}.", entry.id),
        _ => println!("{fingerprint} stands already, by entry {}.", entry.id),
    }
    Ok(())
}

/// Says honestly how much was decided.
fn reserved_message(reserved: AnyFingerprint) -> String {
    match reserved {
        AnyFingerprint::Short(short) => format!(
            "Reserved for 7 days: the first key that begins with {short} and sends a valid proof is \
             authorised by it.\nOnly 64 bits of the fingerprint were given. To name one key for \
             certain, give the full one:\n  diogenes witness fingerprint --full     (on the \
             witness)\n  diogenes operator authorize-witness sha256:<64 hex digits>"
        ),
        AnyFingerprint::Full(full) => format!(
            "Reserved for 7 days: {full} is authorised by the first valid proof that it sends."
        ),
    }
}

async fn list_followers(common: &Common, settings: &Settings) -> Result<(), Failure> {
    let leader = Leader::connect(&common.leader, settings)?;
    let list: FollowerList = leader.get("/api/v1/operator/followers").await?;
    if common.json {
        return print_json(&list);
    }
    let rows = list.followers.iter().map(|item| {
        let row = &item.row;
        vec![
            row.fingerprint.short().to_string(),
            or_dash(row.display_name.as_ref().or(item.name.as_ref())),
            row.status.as_str().to_owned(),
            or_dash(row.reason.as_ref()),
            or_dash(row.tree_size.as_ref()),
            or_dash(row.lag_entries.as_ref()),
            or_dash(row.last_report.as_ref()),
            or_dash(row.server.as_ref()),
        ]
    });
    let header =
        ["FINGERPRINT", "NAME", "STATUS", "REASON", "VERIFIED", "LAG", "LAST REPORT", "SERVER"];
    print_table(&header, rows, "No follower is authorised.");
    Ok(())
}

async fn list_witnesses(common: &Common, settings: &Settings) -> Result<(), Failure> {
    let leader = Leader::connect(&common.leader, settings)?;
    let list: WitnessList = leader.get("/api/v1/operator/witnesses").await?;
    if common.json {
        return print_json(&list);
    }
    let rows = list.witnesses.iter().map(|item| {
        let row = &item.row;
        vec![
            row.short_fingerprint.to_string(),
            or_dash(row.display_name.as_ref().or(item.name.as_ref())),
            row.status.as_str().to_owned(),
            or_dash(row.tree_size.as_ref()),
            or_dash(row.last_proof_at.as_ref()),
            or_dash(row.proofs_24h.as_ref()),
            or_dash(row.server.as_ref()),
        ]
    });
    let header = ["FINGERPRINT", "NAME", "STATUS", "SIGNED", "LAST PROOF", "PROOFS 24H", "SERVER"];
    print_table(&header, rows, "No witness is authorised.");
    Ok(())
}

async fn pending(common: &Common, settings: &Settings) -> Result<(), Failure> {
    let leader = Leader::connect(&common.leader, settings)?;
    let list: PendingList = leader.get("/api/v1/operator/pending").await?;
    if common.json {
        return print_json(&list);
    }
    let rows = list.pending.iter().map(|item| {
        vec![item.fingerprint.to_string(), item.first_seen.to_string(), item.network.clone()]
    });
    print_table(&["WAITING KEY", "SINCE", "NETWORK"], rows, "No key waits to be authorised.");
    if !list.reserved.is_empty() {
        println!();
        let rows = list.reserved.iter().map(|item| {
            vec![item.key.to_string(), item.expires_at.to_string(), or_dash(item.name.as_ref())]
        });
        print_table(&["RESERVED FOR", "UNTIL", "NAME"], rows, "");
    }
    Ok(())
}

/// An authorised node that a profile may be for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    fingerprint: Fingerprint,
    names: Vec<String>,
}

impl From<crate::federation::FollowerItem> for Node {
    fn from(item: crate::federation::FollowerItem) -> Self {
        let names = item.row.display_name.into_iter().chain(item.name).collect();
        Self { fingerprint: item.row.fingerprint, names }
    }
}

impl From<crate::federation::WitnessItem> for Node {
    fn from(item: crate::federation::WitnessItem) -> Self {
        let names = item.row.display_name.into_iter().chain(item.name).collect();
        Self { fingerprint: item.row.fingerprint, names }
    }
}

/// Why it is not clear which node is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unclear {
    Nobody,
    Several(Vec<Node>),
    Unknown(Vec<Node>),
}

/// The node that is meant: by fingerprint or name, or the only one.
fn pick<'a>(nodes: &'a [Node], given: Option<&str>) -> Result<&'a Node, Unclear> {
    let meant: Vec<&Node> = match given {
        None => nodes.iter().collect(),
        Some(text) => {
            let fingerprint: Option<AnyFingerprint> = text.parse().ok();
            let named = |node: &&Node| node.names.iter().any(|name| name == text);
            let is_key = |node: &&Node| {
                fingerprint.is_some_and(|fingerprint| fingerprint.names(&node.fingerprint))
            };
            nodes.iter().filter(|node| is_key(node) || named(node)).collect()
        }
    };
    match (meant.as_slice(), given) {
        ([node], _) => Ok(node),
        ([], _) if nodes.is_empty() => Err(Unclear::Nobody),
        ([], _) => Err(Unclear::Unknown(nodes.to_vec())),
        (several, _) => Err(Unclear::Several(several.iter().copied().cloned().collect())),
    }
}

fn list(nodes: &[Node]) -> String {
    let shown = |node: &Node| match node.names.first() {
        Some(name) => format!("{} ({})", node.fingerprint.short(), name),
        None => node.fingerprint.short().to_string(),
    };
    nodes.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The PEM text of a public key file.
fn key_file(path: &Path, error: &impl std::fmt::Display) -> Result<String, Failure> {
    let pem = fs::read_to_string(path).map_err(|io| {
        Failure::usage(
            format!("{} is neither a fingerprint nor a readable file ({io})", path.display()),
            error,
        )
    })?;
    let key = HolderKey::from_pem(&pem).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()), "give a file with a public key")
    })?;
    Ok(key.to_pem())
}

fn name(text: &str) -> Result<Name, String> {
    Name::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn server_url(text: &str) -> Result<ServerUrl, String> {
    ServerUrl::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::refused("bad_answer", error, "report this as a bug"))?;
    println!("{text}");
    Ok(())
}

fn print_table(header: &[&str], rows: impl Iterator<Item = Vec<String>>, nothing: &str) {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        println!("{nothing}");
    } else {
        print!("{}", table(header, &rows));
    }
}

/// Rows in columns as wide as their widest cell; what a stranger named can't steer a terminal.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let plain = |cell: &str| cell.chars().filter(|c| !c.is_control()).collect::<String>();
    let mut all: Vec<Vec<String>> = vec![header.iter().map(|cell| plain(cell)).collect()];
    all.extend(rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()));
    let width = |column: usize| {
        all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// A subject as people read it: the short form of a fingerprint.
fn short(subject: &str) -> String {
    match subject.parse::<Fingerprint>() {
        Ok(fingerprint) => fingerprint.short().to_string(),
        Err(_) => subject.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::merkle::Hash;

    use super::*;

    fn node(seed: &str, name: &str) -> Node {
        Node { fingerprint: Fingerprint::new(Hash::of(seed.as_bytes())), names: vec![name.into()] }
    }

    #[test]
    fn the_only_node_needs_no_name() {
        let nodes = [node("a", "EU Mirror")];

        assert_eq!(pick(&nodes, None), Ok(&nodes[0]));
        assert_eq!(pick(&[], None), Err(Unclear::Nobody));
    }

    #[test]
    fn one_of_several_is_named_by_fingerprint_or_name() {
        let nodes = [node("a", "EU Mirror"), node("b", "US Mirror")];
        let full = nodes[1].fingerprint.to_string();
        let short = nodes[1].fingerprint.short().to_string();

        assert_eq!(pick(&nodes, None), Err(Unclear::Several(nodes.to_vec())));
        for given in ["US Mirror", &full, &short] {
            assert_eq!(pick(&nodes, Some(given)), Ok(&nodes[1]), "{given}");
        }
        assert_eq!(pick(&nodes, Some("Mars")), Err(Unclear::Unknown(nodes.to_vec())));
    }

    #[test]
    fn two_nodes_of_one_name_are_told_apart_by_fingerprint() {
        let nodes = [node("a", "Mirror"), node("b", "Mirror")];

        assert_eq!(pick(&nodes, Some("Mirror")), Err(Unclear::Several(nodes.to_vec())));
    }

    #[test]
    fn a_table_is_aligned_and_plain() {
        let rows =
            [vec!["1".to_owned(), "long\u{1b}[31m".to_owned()], vec!["22".into(), "x".into()]];

        assert_eq!(table(&["N", "NAME"], &rows), "N   NAME\n1   long[31m\n22  x\n");
    }

    #[test]
    fn a_short_reservation_says_how_to_name_one_key_for_certain() {
        let fingerprint = Fingerprint::new(Hash::of(b"w"));

        let short = reserved_message(AnyFingerprint::Short(fingerprint.short()));
        let full = reserved_message(AnyFingerprint::Full(fingerprint));

        assert!(short.contains("64 bits") && short.contains("fingerprint --full"), "{short}");
        assert!(full.contains(&fingerprint.to_string()) && !full.contains("64 bits"), "{full}");
    }
}
