//! One examination of one node: findings from everywhere, and the checklist that follows from them.

use super::checklist::{DatabaseAccess, Setup, TlsEnd, checklist};
use super::gather::machine::is_set;
use super::gather::{self, is_tls_configured};
use super::{Check, Checklist, Finding, Level, Report, policy};
use crate::clock::Timestamp;
use crate::config::{
    ENFORCE_HTTPS, RATE_LIMIT_API_QUERY, RATE_LIMIT_ATTESTATION_EVENT,
    RATE_LIMIT_ENDORSEMENT_OFFER, RATE_LIMIT_FEDERATION, RATE_LIMIT_KEY_REGISTRATION,
    RATE_LIMIT_LOG_READ, Settings, TRUSTED_PROXIES, VERIFY_SCHEDULE,
};
use crate::exit::Failure;
use crate::files::Role;

/// An examination that is under way.
#[derive(Debug)]
pub struct Examination {
    settings: Settings,
    findings: Vec<Finding>,
    access: Option<DatabaseAccess>,
}

impl Examination {
    /// Begins with what is on the machine itself.
    pub async fn begin(settings: &Settings, now: Timestamp) -> Self {
        let findings = gather::machine(settings, now).await;
        Self { settings: settings.clone(), findings, access: None }
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Says how the database is reached.
    pub fn reached(&mut self, access: Option<DatabaseAccess>) {
        self.access = access;
    }

    /// Ends with the report of this version of the program.
    pub fn report(self, version: &str) -> Report {
        let checklist = checklist(&self.setup());
        Report::new(self.settings.role(), version, self.findings, checklist)
    }

    fn setup(&self) -> Setup {
        let settings = &self.settings;
        Setup {
            has_database: settings.role() != Role::Witness,
            enforces_https: settings.value(&ENFORCE_HTTPS),
            secrets_are_strong: self.is_well(Check::Secrets),
            limits: policy::limits(&limits(settings)),
            tls: if is_tls_configured(settings) {
                TlsEnd::Own
            } else if settings.value(&TRUSTED_PROXIES).is_empty() {
                TlsEnd::Nowhere
            } else {
                TlsEnd::Proxy
            },
            database: self.access,
            backs_up: self.is_well(Check::Backups),
            verifies: settings.value(&VERIFY_SCHEDULE).is_some() && self.is_well(Check::Schedules),
        }
    }

    fn is_well(&self, check: Check) -> bool {
        self.findings.iter().all(|finding| finding.check != check || finding.level == Level::Ok)
    }
}

/// The report on settings that cannot be read: nothing else can be looked at.
pub fn misconfigured(role: Role, version: &str, failure: &Failure) -> Report {
    let finding = Finding::fail(Check::Configuration, failure.what(), failure.what_to_do());
    let checklist = Checklist::unknown("the settings are not valid");
    Report::new(role, version, vec![finding], checklist)
}

fn limits(settings: &Settings) -> Vec<(u32, bool)> {
    let all = [
        &RATE_LIMIT_LOG_READ,
        &RATE_LIMIT_FEDERATION,
        &RATE_LIMIT_API_QUERY,
        &RATE_LIMIT_KEY_REGISTRATION,
        &RATE_LIMIT_ENDORSEMENT_OFFER,
        &RATE_LIMIT_ATTESTATION_EVENT,
    ];
    let own = all.into_iter().filter(|limit| limit.row().applies_to(settings.role()));
    own.map(|limit| (settings.value(limit), is_set(settings.source(limit)))).collect()
}
