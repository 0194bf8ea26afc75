//! The mirror's own cosignature: that it holds every entry up to a checkpoint and serves them.
//!
//! It is off unless `MIRROR_NAME` is set, has a key of its own, and counts for no witness. What was
//! signed last stands in `mirror-guard`, made durable before the signature leaves the process.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use diogenes_common::checkpoint::Checkpoint;
use diogenes_common::clock::Timestamp;
use diogenes_common::config::{MIRROR_NAME, Settings};
use diogenes_common::cosignature::cosign;
use diogenes_common::exit::Failure;
use diogenes_common::files::{self, DataDir};
use diogenes_common::keys::SigningKey;
use diogenes_common::merkle::{Hash, TreeRoot, TreeSize};
use diogenes_common::note::{KeyKind, KeyName, Note, Vkey};
use serde::{Deserialize, Serialize};

const KEY_FILE: &str = "mirror.pem";
const GUARD_FILE: &str = "mirror-guard";

/// The mirror as a cosigner.
pub(crate) struct Mirror {
    name: KeyName,
    key: SigningKey,
    guard: PathBuf,
    signed: Mutex<Option<Signed>>,
}

/// What was signed last, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    cosigner: String,
    origin: String,
    root_hash: Hash,
    tree_size: TreeSize,
    time: Timestamp,
}

impl Signed {
    fn tree(&self) -> TreeRoot {
        TreeRoot { size: self.tree_size, hash: self.root_hash }
    }
}

impl Mirror {
    /// The mirror of these settings, if it is switched on; its key is made at first use.
    pub(crate) fn of(settings: &Settings, data: &DataDir) -> Result<Option<Self>, Failure> {
        let Some(name) = settings.value(&MIRROR_NAME) else { return Ok(None) };
        let name: KeyName = format!("{name}/mirror").parse().map_err(|error| {
            Failure::unsafe_state("config_invalid", error, "change MIRROR_NAME")
        })?;
        let (path, guard) = (data.file(KEY_FILE), data.file(GUARD_FILE));
        if !path.exists() {
            if guard.exists() {
                return Err(Failure::unsafe_state(
                    "mirror_key_missing",
                    format!("{} is there, but {KEY_FILE} is missing", guard.display()),
                    "restore the key from a backup, or remove the guard to go on with a new key",
                ));
            }
            let key = SigningKey::from_seed(files::random::<32>()?);
            files::create_private(&path, key.to_pem().as_bytes())?;
        }
        let pem = files::read_private(&path)?;
        let key = std::str::from_utf8(&pem).ok().and_then(|pem| SigningKey::from_pem(pem).ok());
        let key = key.ok_or_else(|| {
            Failure::unsafe_state(
                "key_unreadable",
                format!("{} does not hold an Ed25519 key", path.display()),
                "restore it from a backup, or remove it with mirror-guard for a new key",
            )
        })?;
        let mirror = Self { name, key, signed: Mutex::new(read(&guard)?), guard };
        mirror.check_name()?;
        Ok(Some(mirror))
    }

    /// The key as policies name it.
    pub(crate) fn vkey(&self) -> Vkey {
        Vkey::new(self.name.clone(), KeyKind::Cosignature, self.key.public().clone())
    }

    /// The size that was cosigned last; 0 before the first.
    pub(crate) fn last_size(&self) -> TreeSize {
        self.last().map_or(TreeSize::ZERO, |last| last.tree_size)
    }

    fn last(&self) -> Option<Signed> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The checkpoint with the mirror's cosignature, or as it is if it may not be cosigned.
    ///
    /// `own` is the own tree at the size that was cosigned last, which must be what was cosigned.
    pub(crate) fn cosigned(
        &self,
        text: &str,
        checkpoint: &Checkpoint,
        now: Timestamp,
        own: TreeRoot,
    ) -> Result<String, Failure> {
        let last = self.last();
        let time = now.max(last.as_ref().map_or(now, |last| last.time));
        if let Some(last) = last {
            if last.tree_size > checkpoint.tree().size || last.origin != checkpoint.origin() {
                return Ok(text.to_owned());
            }
            if own != last.tree() {
                tracing::error!(
                    tree.size = last.tree_size.get(),
                    "this mirror cosigned another history before; it cosigns nothing more"
                );
                return Ok(text.to_owned());
            }
        }
        let signed = Signed {
            cosigner: self.name.to_string(),
            origin: checkpoint.origin().to_owned(),
            root_hash: checkpoint.tree().hash,
            tree_size: checkpoint.tree().size,
            time,
        };
        let bytes = serde_json::to_vec(&signed).expect("a guard is texts and numbers");
        files::replace(&self.guard, &bytes)?;
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed);
        let line = cosign(checkpoint, time, &self.name, &self.key);
        let note = Note::parse(text.as_bytes()).and_then(|note| note.with(line));
        Ok(note.map_or_else(|_| text.to_owned(), |note| note.to_string()))
    }

    /// What is signed does not hold the name: one key never signs under two.
    fn check_name(&self) -> Result<(), Failure> {
        match self.last().filter(|signed| signed.cosigner != self.name.as_str()) {
            None => Ok(()),
            Some(Signed { cosigner, .. }) => Err(Failure::unsafe_state(
                "name_fixed",
                format!("{KEY_FILE} cosigned as {cosigner}, which is fixed for ever"),
                "set MIRROR_NAME to that name without /mirror, or remove mirror.pem and \
                 mirror-guard for a new key",
            )),
        }
    }
}

fn read(guard: &std::path::Path) -> Result<Option<Signed>, Failure> {
    match files::read_private(guard) {
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::unsafe_state(
                "mirror_guard_damaged",
                format!("{}: {error}", guard.display()),
                "restore it from a backup, or remove it with mirror.pem for a new key",
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use diogenes_common::checkpoint::sign_checkpoint;
    use diogenes_common::config::{DATA_DIR, Environment, Flags};
    use diogenes_common::files::Role;
    use tempfile::TempDir;

    use super::*;

    const ORIGIN: &str = "log.example/1";

    fn mirror(directory: &TempDir, name: &str) -> Result<Mirror, Failure> {
        let path = directory.path().join("data");
        let flags = Flags::new().with(&DATA_DIR, Some(path.display()));
        let settings =
            Settings::load(Role::Follower, flags, &Environment::of([("MIRROR_NAME", name)]));
        let data = DataDir::open(&path, Role::Follower).unwrap();
        Mirror::of(&settings.unwrap(), &data).map(Option::unwrap)
    }

    fn tree(size: u64) -> TreeRoot {
        TreeRoot { size: TreeSize::ZERO.plus(size), hash: Hash::of(&size.to_be_bytes()) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    /// Cosigns a checkpoint on the history of [`tree`]; whether the line is there and verifies.
    fn cosigns(mirror: &Mirror, checkpoint: TreeRoot, now: Timestamp) -> Option<u64> {
        let checkpoint = Checkpoint::new(ORIGIN, checkpoint).unwrap();
        let log = SigningKey::from_seed([7; 32]);
        let text = sign_checkpoint(&checkpoint, &ORIGIN.parse().unwrap(), &log);
        let own = tree(mirror.last_size().get());
        let cosigned = mirror.cosigned(&text, &checkpoint, now, own).unwrap();
        let note = Note::parse(cosigned.as_bytes()).unwrap();
        let vkey = [mirror.vkey()];
        let verified = note.verify(&vkey).ok()?;
        let seconds = verified.first()?.line.signature().first_chunk()?;
        Some(u64::from_be_bytes(*seconds))
    }

    #[test]
    fn it_cosigns_larger_checkpoints_of_one_history_and_never_an_earlier_time() {
        let directory = TempDir::new().unwrap();
        let first = mirror(&directory, "mirror.example").unwrap();
        assert_eq!(first.vkey().name().as_str(), "mirror.example/mirror");
        assert_eq!(cosigns(&first, tree(5), at(50_000)), Some(50));
        drop(first);
        let again = mirror(&directory, "mirror.example").unwrap();

        assert_eq!(cosigns(&again, tree(4), at(60_000)), None, "never down");
        assert_eq!(cosigns(&again, tree(5), at(40_000)), Some(50), "never back in time");
        assert_eq!(cosigns(&again, tree(9), at(70_000)), Some(70));
    }

    #[test]
    fn it_never_cosigns_two_histories() {
        let directory = TempDir::new().unwrap();
        let first = mirror(&directory, "mirror.example").unwrap();
        let other = TreeRoot { hash: Hash::of(b"another"), ..tree(5) };
        assert!(cosigns(&first, other, at(1_000)).is_some());

        assert_eq!(cosigns(&first, tree(9), at(2_000)), None);
        assert_eq!(
            cosigns(&mirror(&directory, "mirror.example").unwrap(), tree(9), at(3_000)),
            None
        );
    }

    #[test]
    fn a_key_has_one_name_and_is_not_made_anew_beside_its_guard() {
        let directory = TempDir::new().unwrap();
        let first = mirror(&directory, "mirror.example").unwrap();
        cosigns(&first, tree(5), at(1_000)).unwrap();

        let renamed = mirror(&directory, "other.example").err().unwrap();
        assert!(renamed.what().contains("mirror.example/mirror"));
        std::fs::remove_file(directory.path().join("data").join(KEY_FILE)).unwrap();
        assert!(mirror(&directory, "mirror.example").is_err());
    }

    #[test]
    fn without_a_name_there_is_no_mirror_key() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("data");
        let flags = Flags::new().with(&DATA_DIR, Some(path.display()));
        let none: [(&str, &str); 0] = [];
        let settings = Settings::load(Role::Follower, flags, &Environment::of(none)).unwrap();
        let data = DataDir::open(&path, Role::Follower).unwrap();

        assert!(Mirror::of(&settings, &data).unwrap().is_none());
        assert!(!path.join(KEY_FILE).exists());
    }
}
