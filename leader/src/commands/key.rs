//! `key`: the operator's public key, as people and other programs want it.

use clap::Subcommand;
use diogenes_common::config::{DATA_DIR, Settings};
use diogenes_common::event::{Event, Genesis, Payload as _};
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, Role};
use diogenes_common::head::Origin;
use diogenes_common::keys::{PublicKey, SigningKey};
use diogenes_common::note::{KeyKind, Vkey};
use diogenes_common::shutdown;
use diogenes_common::store::{DatabaseUrl, OpenOptions, Schema, Store};

/// `key`.
#[derive(Subcommand)]
pub(super) enum Key {
    /// Print the operator's full fingerprint, which followers and witnesses pin.
    ///
    /// Example: diogenes-leader key fingerprint
    Fingerprint {
        /// As JSON, with the short form and the key itself.
        #[arg(long)]
        json: bool,
    },
    /// Print the log's key as a C2SP vkey: <origin>+<key id>+<base64>.
    ///
    /// Example: diogenes-leader key vkey
    Vkey {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Key {
    pub(super) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        let key = own_key(settings)?;
        match self {
            Self::Fingerprint { json: false } => println!("{}", key.fingerprint()),
            Self::Fingerprint { json: true } => println!(
                "{}",
                serde_json::json!({
                    "fingerprint": key.fingerprint(),
                    "short_fingerprint": key.fingerprint().short(),
                    "public_key": key,
                })
            ),
            Self::Vkey { json } => {
                let origin = shutdown::block_on(Some(1), origin(settings))?;
                let name = origin.as_str().parse().expect("an origin is a key name");
                let vkey = Vkey::new(name, KeyKind::Ed25519, key).to_string();
                if *json {
                    println!("{}", serde_json::json!({ "origin": origin, "vkey": vkey }));
                } else {
                    println!("{vkey}");
                }
            }
        }
        Ok(())
    }
}

fn own_key(settings: &Settings) -> Result<PublicKey, Failure> {
    let path = settings.value(&DATA_DIR).join(Role::Leader.key_file());
    let bytes = match files::read_private(&path) {
        Err(error) if error.is_missing() => {
            return Err(Failure::refused(
                "no_key",
                format!("there is no operator key at {}", path.display()),
                "name the leader's data directory with --data-dir, or make one: \
                 diogenes-leader init",
            ));
        }
        read => read?,
    };
    let key = std::str::from_utf8(&bytes).ok().and_then(|pem| SigningKey::from_pem(pem).ok());
    let key = key.ok_or_else(|| {
        Failure::unsafe_state(
            "key_damaged",
            format!("{} is no PKCS#8 Ed25519 key", path.display()),
            "bring it back from a copy; a new key would be a new log",
        )
    })?;
    Ok(key.public().clone())
}

/// The log's name, which its first entry fixes.
async fn origin(settings: &Settings) -> Result<Origin, Failure> {
    let url = DatabaseUrl::of(settings)?;
    let options = OpenOptions { schema: Schema::Ignore, ..OpenOptions::default() };
    let unreadable = |error| {
        Failure::refused(
            "database",
            error,
            "check DATABASE_URL and --data-dir; is this the leader?",
        )
    };
    let store = Store::open(&url, options).await.map_err(unreadable)?;
    let genesis = store.entry(1).await.map_err(unreadable);
    store.close().await;
    let named = genesis?.and_then(|leaf| match Event::parse(Genesis::EVENT_TYPE, leaf.payload()) {
        Ok(Event::Genesis(genesis)) => Some(genesis.origin),
        _ => None,
    });
    named.ok_or_else(|| {
        Failure::refused("no_log", "the database holds no log", "make one: diogenes-leader init")
    })
}
