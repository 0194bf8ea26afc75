//! The operator's policy: whose cosignatures a checkpoint needs, and where they are asked for.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diogenes_common::client::{BaseUrl, Client, Reach};
use diogenes_common::config::{
    ALLOW_HTTP, Settings, WITNESS_MODE, WITNESS_POLICY, WITNESS_ROUND_SPACING, WitnessMode,
};
use diogenes_common::exit::Failure;
use diogenes_common::note::Vkey;
use diogenes_common::policy::{MAX_POLICY_BYTES, Policy, PolicyWitness};
use diogenes_common::trace::Tracer;

/// What the operator decided about cosignatures.
pub(crate) struct Decided {
    /// Whose are needed; `None` without a policy file.
    pub(super) policy: Option<Arc<Policy>>,
    /// What is published while they are missing.
    pub(super) mode: WitnessMode,
    /// How far apart rounds are at least, however fast a quorum is reached: other people's
    /// witnesses are asked, and each round's head is kept for ever. Zero without a policy.
    pub(super) spacing: Duration,
    /// The witnesses that are asked.
    pub(crate) asked: Vec<Asked>,
    /// Begins a trace for each round.
    pub(super) tracer: Tracer,
}

/// A witness that is asked to cosign.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its name in the policy.
    pub(super) name: String,
    /// Its key.
    pub(super) vkey: Vkey,
    /// Where it is.
    pub(super) url: BaseUrl,
    /// Clones share connections.
    pub(super) client: Client,
}

impl Decided {
    /// Reads the policy file that the settings name; it must be for the log of this key.
    pub(crate) fn from_settings(settings: &Settings, log: &Vkey) -> Result<Self, Failure> {
        let (mode, tracer) = (settings.value(&WITNESS_MODE), Tracer::new()?);
        let Some(path) = settings.value(&WITNESS_POLICY) else {
            let (spacing, asked) = (Duration::ZERO, Vec::new());
            return Ok(Self { policy: None, mode, spacing, asked, tracer });
        };
        let policy = read(&path)?;
        if !is_for(&policy, log) {
            return Err(unusable(
                &path,
                "none of its `log` lines is for this log",
                format_args!("add `log {log}`, or leave out all `log` lines"),
            ));
        }
        let is_plain = settings.value(&ALLOW_HTTP);
        let reach = if is_plain { Reach::ConfiguredHttp } else { Reach::Configured };
        let asked = asked(&policy, &path, reach)?;
        let spacing = settings.value(&WITNESS_ROUND_SPACING);
        Ok(Self { policy: Some(Arc::new(policy)), mode, spacing, asked, tracer })
    }
}

fn read(path: &Path) -> Result<Policy, Failure> {
    let help = "correct the file, or leave WITNESS_POLICY out";
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_POLICY_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unusable(path, error, help))?;
    Policy::parse(&bytes).map_err(|error| unusable(path, error, help))
}

/// Whether the policy believes this log: one that lists no log says nothing about that.
fn is_for(policy: &Policy, log: &Vkey) -> bool {
    policy.logs().is_empty() || policy.logs().iter().any(|listed| listed.vkey() == log)
}

/// The witnesses that have a URL.
fn asked(policy: &Policy, path: &Path, reach: Reach) -> Result<Vec<Asked>, Failure> {
    let client = Client::new("leader", env!("CARGO_PKG_VERSION"), reach)?;
    let to_ask = |witness: &PolicyWitness| {
        let url = BaseUrl::parse(witness.url()?, reach);
        let name = witness.name().to_owned();
        Some(match url {
            Ok(url) => {
                Ok(Asked { name, vkey: witness.vkey().clone(), url, client: client.clone() })
            }
            Err(error) => {
                let what = format_args!("witness {name}: {error}").to_string();
                Err(unusable(path, what, "correct the URL of the witness"))
            }
        })
    };
    policy.witnesses().iter().filter_map(to_ask).collect()
}

fn unusable(path: &Path, what: impl fmt::Display, what_to_do: impl fmt::Display) -> Failure {
    let what = format!("WITNESS_POLICY {}: {what}", path.display());
    Failure::unsafe_state("bad_policy", what, what_to_do)
}

#[cfg(test)]
mod tests {
    use diogenes_common::keys::SigningKey;
    use diogenes_common::note::KeyKind;

    use super::*;

    fn log(n: u8) -> Vkey {
        let key = SigningKey::from_seed([n; 32]).public().clone();
        Vkey::new("log.example".parse().expect("a name"), KeyKind::Ed25519, key)
    }

    fn witness(n: u8) -> Vkey {
        let key = SigningKey::from_seed([n; 32]).public().clone();
        Vkey::new("w.example".parse().expect("a name"), KeyKind::Cosignature, key)
    }

    fn policy(text: &str) -> Policy {
        text.parse().expect("a policy")
    }

    #[test]
    fn a_policy_is_for_the_logs_that_it_lists_or_for_any() {
        let listed = policy(&format!("log {}\nlog {}\nquorum none\n", log(1), log(2)));

        assert!(is_for(&listed, &log(2)));
        assert!(!is_for(&listed, &log(3)));
        assert!(is_for(&policy("quorum none\n"), &log(3)));
    }

    #[test]
    fn only_witnesses_with_a_url_are_asked() {
        let (one, two) = (witness(1), witness(2));
        let text = format!("witness a {one} https://a.example/w\nwitness b {two}\nquorum none\n");

        let asked = asked(&policy(&text), Path::new("p"), Reach::Configured).expect("good URLs");

        let shown: Vec<_> = asked.iter().map(|one| (&*one.name, one.url.as_str())).collect();
        assert_eq!(shown, [("a", "https://a.example/w")]);
    }

    #[test]
    fn a_url_that_may_not_be_dialled_is_told_with_the_file_and_the_witness() {
        let text = format!("witness a {} http://a.example\nquorum none\n", witness(1));
        let refused = |reach| asked(&policy(&text), Path::new("/etc/policy"), reach).err();

        let failure = refused(Reach::Configured).expect("refused");

        assert_eq!(failure.reason(), "bad_policy");
        assert!(failure.what().contains("/etc/policy: witness a: http://a.example"), "{failure}");
        assert_eq!(refused(Reach::ConfiguredHttp), None);
    }
}
