//! What every database behind the store must do: most tests run on SQLite and on PostgreSQL.

mod auth;
mod batches;
mod commits;
mod graph;
mod harness;
mod local;
mod outages;
mod portable;
mod reads;
mod scrub;
mod searches;
mod views;
mod webhooks;
