//! What is on this machine: settings, files, disks, the listener.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tokio::net::TcpStream;
use tokio_cron_scheduler::Job;
use zeroize::Zeroizing;

use super::super::backups::{self, Backups, Kept};
use super::super::directory::{self, Directory, FileFact, KeyFile};
use super::super::disk::{Disk, disks};
use super::super::listener::{self, Answering, Https, Listener};
use super::super::schedules::{Planned, schedules};
use super::super::secrets::{Held, secrets};
use super::super::{Check, Finding, policy, tls};
use super::{FILES, on_thread, within};
use crate::client::{BaseUrl, Client, Reach};
use crate::clock::Timestamp;
use crate::config::{
    APPEND_POLICY, BACKUP_DIR, BACKUP_SCHEDULE, DATA_DIR, ENFORCE_HTTPS, LEGACY_CHALLENGE, LISTEN,
    LOG_LEVEL, MIN_FREE, OPERATOR_TOKEN, SECRET_KEY, Schedule, Secret, Setting, Settings, Source,
    TLS_CERT, TRUSTED_PROXIES, VERIFY_SCHEDULE,
};
use crate::files::{self, Role};
use crate::keys::SigningKey;
use crate::server::tls::Identity;
use crate::store::DatabaseUrl;

/// The most files of a directory that are looked at.
const MAX_FILES: usize = 10_000;

/// How long a listener on this machine may take.
const LISTENER: Duration = Duration::from_secs(3);

/// Below this much a witness, which has no `MIN_FREE`, cannot be sure to write its next line.
const WITNESS_FLOOR: u64 = 64 << 20;

/// Examines everything but the database and other nodes.
pub async fn machine(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let role = settings.role();
    let mut findings = vec![Finding::ok(Check::Configuration, settings.check_summary())];
    findings.push(policy::log_level(settings.value(&LOG_LEVEL)));
    findings.extend(listener::https(&Https {
        listen: settings.value(&LISTEN),
        enforce: settings.value(&ENFORCE_HTTPS),
        trusted: settings.value(&TRUSTED_PROXIES),
        own_tls: is_tls_configured(settings),
    }));
    if role == Role::Leader {
        findings.push(policy::append_policy(settings.value(&APPEND_POLICY)));
        findings.push(policy::legacy_challenge(settings.value(&LEGACY_CHALLENGE)));
    }
    if role != Role::Witness {
        findings.extend(schedules(&planned(settings)));
        let mine = settings.clone();
        let kept = move || backups::backups(&backup_facts(&mine), now);
        findings.extend(on_thread(Check::Backups, kept).await);
        let mine = settings.clone();
        findings.extend(on_thread(Check::Secrets, move || secrets(&held(&mine))).await);
    }
    let mine = settings.clone();
    findings.extend(on_thread(Check::DataDirectory, move || data_directory(&mine)).await);
    let mine = settings.clone();
    findings.extend(on_thread(Check::DiskSpace, move || room(&mine)).await);
    let mine = settings.clone();
    findings.extend(on_thread(Check::Tls, move || tls_files(&mine, now)).await);
    let listening = async { vec![listener::listener(&listening(settings).await)] };
    findings.extend(within(Check::Listener, FILES, listening).await);
    findings
}

fn data_directory(settings: &Settings) -> Vec<Finding> {
    let (role, path) = (settings.role(), settings.value(&DATA_DIR));
    match directory_facts(&path) {
        Err(error) => vec![directory::absent(&path, &error)],
        Ok(found) => {
            let mut findings = directory::directory(role, geteuid().as_raw(), &found);
            findings.push(directory::key(role, &key_file(&path.join(role.key_file()))));
            findings
        }
    }
}

fn directory_facts(path: &Path) -> io::Result<Directory> {
    let metadata = fs::metadata(path)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(path)?.take(MAX_FILES) {
        let entry = entry?;
        // What vanished meanwhile is no fault.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if metadata.is_file() {
            files.push(FileFact {
                name: entry.file_name().to_string_lossy().into_owned(),
                mode: metadata.mode() & 0o777,
                owner: metadata.uid(),
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let marker = fs::read_to_string(path.join("role")).ok();
    let role = marker.map(|text| text.trim().chars().take(20).collect());
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    Ok(Directory { path: path.to_owned(), mode, owner, role, files })
}

fn key_file(path: &Path) -> KeyFile {
    let pem = match files::read_private(path) {
        Err(error) if error.is_missing() => return KeyFile::Missing,
        Err(error) => return KeyFile::Unusable(error.to_string()),
        Ok(pem) => pem,
    };
    let text = std::str::from_utf8(&pem).unwrap_or_default();
    match SigningKey::from_pem(text) {
        Ok(key) => KeyFile::Usable(key.fingerprint().to_string()),
        Err(error) => KeyFile::Unusable(error.to_string()),
    }
}

fn held(settings: &Settings) -> Vec<Held> {
    let mut held = vec![secret(settings, &SECRET_KEY, "SECRET_KEY", "secret-key")];
    if settings.role() == Role::Leader {
        held.push(secret(settings, &OPERATOR_TOKEN, "OPERATOR_TOKEN", "operator-token"));
    }
    held
}

fn secret(
    settings: &Settings,
    setting: &Setting<Option<Secret>>,
    name: &'static str,
    file: &str,
) -> Held {
    if let Some(secret) = settings.value(setting) {
        let place = settings.source(setting).to_string();
        return Held { name, place, secret: Some(Ok(Zeroizing::new(secret.expose().to_owned()))) };
    }
    let path = settings.value(&DATA_DIR).join(file);
    let place = path.display().to_string();
    let secret = match files::read_private(&path) {
        Err(error) if error.is_missing() => {
            return Held { name, place: "made at the next start".to_owned(), secret: None };
        }
        Err(error) => Err(error.to_string()),
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.trim().to_owned())),
            Err(_) => Err("it is no text".to_owned()),
        },
    };
    Held { name, place, secret: Some(secret) }
}

fn room(settings: &Settings) -> Vec<Finding> {
    let data = settings.value(&DATA_DIR);
    let mut found = vec![disk("data directory", &data)];
    let url = DatabaseUrl::of(settings).ok();
    let elsewhere = url
        .as_ref()
        .and_then(DatabaseUrl::sqlite_path)
        .filter(|path| settings.role() != Role::Witness && !path.starts_with(&data));
    found.extend(elsewhere.map(|path| disk("database", path)));
    let floor = match settings.role() {
        Role::Witness => WITNESS_FLOOR,
        Role::Leader | Role::Follower => settings.value(&MIN_FREE).bytes(),
    };
    disks(&found, floor)
}

/// The disk on which a path is, or will be.
fn disk(what: &'static str, path: &Path) -> Disk {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let free = files::free_space(there).map_err(|error| error.to_string());
    Disk { what, path: path.to_owned(), free }
}

fn planned(settings: &Settings) -> Vec<Planned> {
    let mut all =
        vec![plan(settings, &VERIFY_SCHEDULE, "VERIFY_SCHEDULE", "the chain is verified")];
    // Without a schedule the check of backups says what is missing.
    if settings.value(&BACKUP_SCHEDULE).is_some() {
        all.push(plan(settings, &BACKUP_SCHEDULE, "BACKUP_SCHEDULE", "a backup is made"));
    }
    all
}

fn plan(
    settings: &Settings,
    setting: &Setting<Option<Schedule>>,
    name: &'static str,
    what: &'static str,
) -> Planned {
    let schedule = settings.value(setting);
    let next = schedule.as_ref().map_or(Ok(None), next_run);
    let schedule = schedule.map(|schedule| schedule.as_str().to_owned());
    Planned { setting: name, what, schedule, next }
}

/// When the scheduler that runs it says that it is due.
fn next_run(schedule: &Schedule) -> Result<Option<Timestamp>, String> {
    let job = Job::new(schedule.as_str(), |_, _| {});
    let data = job.and_then(|mut job| job.job_data()).map_err(|error| error.to_string())?;
    let next = data.next_tick_utc().map(|next| next.timestamp().saturating_mul(1000));
    Ok(next.and_then(Timestamp::from_millis))
}

fn backup_facts(settings: &Settings) -> Backups {
    let directory = settings.value(&BACKUP_DIR).map(|path| {
        let kept = kept(&path, &settings.value(&DATA_DIR));
        (path, kept.map_err(|error| error.to_string()))
    });
    Backups { is_scheduled: settings.value(&BACKUP_SCHEDULE).is_some(), directory }
}

fn kept(path: &Path, data: &Path) -> io::Result<Kept> {
    let metadata = fs::metadata(path)?;
    let entries = fs::read_dir(path)?.take(MAX_FILES);
    let names = entries.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
    Ok(Kept {
        mode: metadata.mode() & 0o777,
        is_same_disk: fs::metadata(data).is_ok_and(|data| data.dev() == metadata.dev()),
        names: names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect(),
    })
}

/// Says whether the settings let the node speak TLS itself.
pub fn is_tls_configured(settings: &Settings) -> bool {
    settings.value(&TLS_CERT).is_some()
}

/// What a start makes of the certificate and the key, where the settings name them.
fn tls_files(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let expires = match Identity::from_settings(settings, now) {
        Ok(None) => return Vec::new(),
        Ok(Some(identity)) => Ok(identity.expires()),
        Err(error) => Err(error.into()),
    };
    vec![tls::tls(&expires, now)]
}

async fn listening(settings: &Settings) -> Listener {
    let address = settings.value(&LISTEN);
    let is_running = match settings.role() {
        // A witness locks its directory for moments, and `run` listens nowhere.
        Role::Witness => None,
        Role::Leader | Role::Follower => {
            let lock = settings.value(&DATA_DIR).join("lock");
            tokio::task::spawn_blocking(move || is_locked(&lock)).await.ok()
        }
    };
    let answering = answering(settings, dialled(address)).await;
    Listener { address, is_running, answering }
}

/// Whether a process holds the lock; a file that is not there is held by nobody.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    // Shared and for this moment: whoever wants the lock itself tries longer.
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

async fn answering(settings: &Settings, address: SocketAddr) -> Answering {
    match tokio::time::timeout(LISTENER, TcpStream::connect(address)).await {
        Err(_) => return Answering::Other("it accepts no connection".to_owned()),
        Ok(Err(_)) => return Answering::Nobody,
        Ok(Ok(_)) if is_tls_configured(settings) => return Answering::Node,
        Ok(Ok(_)) => {}
    }
    let url = BaseUrl::parse(&format!("http://{address}"), Reach::ConfiguredHttp);
    let client = Client::new("doctor", env!("CARGO_PKG_VERSION"), Reach::ConfiguredHttp);
    let (Ok(url), Ok(client)) = (url, client) else {
        return Answering::Other("it cannot be asked".to_owned());
    };
    match client.get(&url, "/healthz").within(LISTENER).send().await {
        Ok(answer) if answer.body.starts_with(b"ok") => Answering::Node,
        Ok(answer) => Answering::Other(format!("answered {} to /healthz", answer.status)),
        Err(error) => Answering::Other(error.to_string()),
    }
}

/// Where a listener is reached from this machine.
fn dialled(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether somebody set a setting.
pub(in crate::doctor) fn is_set(source: &Source) -> bool {
    *source != Source::Default
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value as _;

    #[test]
    fn the_scheduler_itself_says_what_it_takes() {
        let next = |text| next_run(&Schedule::parse(text).unwrap());

        assert!(matches!(next("0 17 3 * * *"), Ok(Some(_))));
        assert!(next("0 99 3 * * *").is_err());
    }

    #[test]
    fn an_unspecified_address_is_dialled_at_the_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.1.2.3:8000", "10.1.2.3:8000"),
        ] {
            assert_eq!(dialled(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }

    #[test]
    fn a_lock_is_seen_and_neither_taken_nor_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        assert!(!is_locked(&path) && !path.exists());

        let held = files::FileLock::acquire(&path, Duration::ZERO).unwrap();
        assert!(is_locked(&path));

        drop(held);
        assert!(!is_locked(&path));
        files::FileLock::acquire(&path, Duration::ZERO).unwrap();
    }
}
