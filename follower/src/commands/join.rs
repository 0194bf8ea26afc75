//! `register` and `set-profile`: how a follower gets onto the leader's log.

use std::fmt;

use clap::Args;
use diogenes_common::client::{BaseUrl, Client, FetchError};
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::event::KeyRegistration;
use diogenes_common::event::text::{Name, ServerUrl};
use diogenes_common::exit::Failure;
use diogenes_common::files::{DataDir, Role};
use diogenes_common::keys::KeyAlgorithm;
use diogenes_common::keys::SigningKey;
use diogenes_common::shutdown;
use diogenes_common::statement::{ProfileClaim, ProfileType};
use diogenes_common::wire::node::WellKnown;
use http::Method;

use super::{node, refused};
use crate::boot;

/// `register`.
#[derive(Args)]
pub(super) struct Register {
    /// The name to register the key under, 1 to 100 characters.
    #[arg(long, value_name = "NAME")]
    pseudonym: String,
    /// The leader [default: the first of the configured sources].
    #[arg(long, value_name = "URL")]
    leader: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Register {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let pseudonym = text(Name::try_from(self.pseudonym.clone()), "--pseudonym")?;
        let key = own_key(settings)?;
        let (client, leader) = leader(settings, self.leader.as_deref())?;
        let known = shutdown::block_on(Some(1), async {
            let log = well_known(settings, &client, &leader).await?;
            let registration = KeyRegistration {
                expiration_date: None,
                fingerprint: key.fingerprint(),
                key_algorithm: KeyAlgorithm::Ed25519,
                proof: None,
                pseudonym,
                public_key: key.public().into(),
            }
            .proven(&log.origin, &key);
            let body = serde_json::json!({ "payload": {
                "public_key": registration.public_key,
                "pseudonym": registration.pseudonym,
                "key_algorithm": registration.key_algorithm,
                "proof": registration.proof,
            }});
            let path = "/api/v1/keys/register";
            match client.post_json::<serde_json::Value>(&leader, path, &body).await {
                Ok(_) => Ok(false),
                Err(error) if error.code() == Some("key_already_registered") => Ok(true),
                Err(error) => Err(refused(&leader, &error)),
            }
        })?;
        let fingerprint = key.fingerprint();
        if self.json {
            let summary = serde_json::json!({
                "fingerprint": fingerprint, "already_registered": known, "leader": leader.as_str(),
            });
            println!("{summary}");
            return Ok(());
        }
        let how = if known { "was registered before" } else { "is registered" };
        println!("The key of this follower {how} at {leader}.");
        println!("Now the operator of the log types:");
        println!();
        let name = quoted(&self.pseudonym);
        println!("  diogenes operator authorize-federation {fingerprint} --name {name}");
        Ok(())
    }
}

/// `set-profile`.
#[derive(Args)]
pub(super) struct SetProfile {
    /// The name to show, 1 to 100 characters.
    #[arg(long, value_name = "NAME")]
    display_name: String,
    /// The URL of this follower, to show.
    #[arg(long, value_name = "OWN_URL")]
    server: Option<String>,
    /// The leader [default: the first of the configured sources].
    #[arg(long, value_name = "URL")]
    leader: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl SetProfile {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let display_name = text(Name::try_from(self.display_name.clone()), "--display-name")?;
        let server = self.server.clone().map(ServerUrl::try_from).transpose();
        let server = text(server, "--server")?;
        let key = own_key(settings)?;
        let (client, leader) = leader(settings, self.leader.as_deref())?;
        let entry = shutdown::block_on(Some(1), async {
            let log = well_known(settings, &client, &leader).await?;
            let profile = ProfileClaim {
                display_name,
                fingerprint: key.fingerprint(),
                origin: log.origin,
                server,
                timestamp: SystemClock.now(),
                kind: ProfileType::Federation,
            }
            .into_profile(&key);
            let path = format!("/api/v1/profiles/{}", key.fingerprint());
            let asking = client.ask(Method::PUT, &leader, &path).with_json(&profile);
            match asking {
                Ok(asking) => asking.json::<serde_json::Value>().await,
                Err(error) => Err(error),
            }
            .map_err(|error| not_shown(&leader, &key, &error))
        })?;
        if self.json {
            println!("{entry}");
        } else {
            println!("{leader} shows this follower as {}.", self.display_name);
        }
        Ok(())
    }
}

fn not_shown(leader: &BaseUrl, key: &SigningKey, error: &FetchError) -> Failure {
    if error.status() == Some(403) {
        return Failure::refused(
            "follower_not_authorized",
            format!("{leader} {error}"),
            format!(
                "ask the operator to type: diogenes operator authorize-federation {} --name NAME",
                key.fingerprint()
            ),
        );
    }
    refused(leader, error)
}

fn own_key(settings: &Settings) -> Result<SigningKey, Failure> {
    let data = DataDir::open(&settings.value(&DATA_DIR), Role::Follower)?;
    boot::key(&data)
}

fn leader(settings: &Settings, given: Option<&str>) -> Result<(Client, BaseUrl), Failure> {
    match given {
        Some(url) => node(settings, url),
        None => node(settings, &boot::upstream(settings)?.leader().url()),
    }
}

/// What the leader says about its log. With sources configured it must be their log: what is
/// signed names it.
async fn well_known(
    settings: &Settings,
    client: &Client,
    leader: &BaseUrl,
) -> Result<WellKnown, Failure> {
    let known: WellKnown = client
        .get_json(leader, "/.well-known/diogenes")
        .await
        .map_err(|error| refused(leader, &error))?;
    let configured = boot::upstream(settings).ok().map(|upstream| upstream.operator);
    if configured.is_some_and(|operator| operator != known.operator_fingerprint) {
        return Err(Failure::refused(
            "unauthorized_key",
            format!("{leader} serves the log of {}", known.operator_fingerprint),
            "check --leader and the fingerprint in DIOGENES_FEDERATION_OPERATORS",
        ));
    }
    Ok(known)
}

fn text<T, E: fmt::Display>(value: Result<T, E>, flag: &str) -> Result<T, Failure> {
    value.map_err(|error| Failure::usage(error, format!("change {flag}")))
}

/// The text as a shell takes it in one piece.
fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_alphanumeric() || " .,_-".contains(c)) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printed_so_that_a_shell_takes_it_in_one_piece() {
        assert_eq!(quoted("EU Mirror"), "\"EU Mirror\"");
        assert_eq!(quoted("$(rm -rf ~)"), "'$(rm -rf ~)'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
