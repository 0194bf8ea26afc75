//! The integration tests: one binary, a module per user story.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as promised")]

use diogenes_tests::view_rows;

mod api_document;
mod api_federation;
mod api_keys;
mod api_log;
mod api_tiles;
mod attestations;
mod audit_export;
mod auth;
mod backup;
mod bad_input;
mod claims;
mod composite;
mod configuration;
mod contract;
mod cosigning;
mod crash;
mod doctor;
mod drill;
mod endorsement_model;
mod endorsements;
mod evidence;
mod graph;
mod identity_model;
mod keys;
mod lies;
mod limits;
mod listen;
mod metrics_doc;
mod people;
mod random;
mod raw;
mod refusals;
mod rollback;
mod scrub;
mod seed_walkthrough;
mod site;
mod static_export;
mod store;
mod tidy;
mod troubleshooting;
mod trust_configs;
mod trust_reads;
mod unsafe_state;
mod upgrade;
mod verify;
mod webhooks;
mod witness_serve;
