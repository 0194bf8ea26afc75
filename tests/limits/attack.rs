//! What is tried: every attack, whom it is made on, and how.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::arena::Stage;
use crate::wire::Field;
use crate::{bodies, connections, heads, hostile, work};

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// Whom it is made on.
    pub(crate) stage: Stage,
    /// What it does, for people.
    pub(crate) what: &'static str,
    pub(crate) make: Make,
}

/// Goes on until the field says that it is over.
pub(crate) type Make = fn(Rc<Field>) -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! attacks {
    ($($name:ident, $stage:ident, $what:literal, $make:expr;)*) => {
        /// All of them.
        pub(crate) const ATTACKS: [Attack; [$(stringify!($name)),*].len()] = [$(Attack {
            name: stringify!($name),
            stage: Stage::$stage,
            what: $what,
            make: |field| Box::pin($make(field)),
        }),*];
    };
}

attacks! {
    slow_heads, Leader, "heads a byte at a time on 2,000 connections", connections::slow_heads;
    slow_bodies, Leader, "4 MiB bodies, all but a kilobyte, then a byte at a time",
        connections::slow_bodies;
    deaf_readers, Leader, "large answers asked for on 400 connections and never read",
        connections::deaf_readers;
    connection_flood, Leader, "connections opened and closed as fast as it goes",
        connections::flood;
    idle_connections, Leader, "10,000 connections that say nothing", connections::idle;
    http2_resets, Leader, "HTTP/2: streams opened and reset at once", heads::http2_resets;
    http2_continuations, Leader, "HTTP/2: a head that never ends", heads::http2_continuations;
    huge_headers, Leader, "one header of 1 MiB", heads::huge;
    many_headers, Leader, "10,000 headers", heads::many;
    long_targets, Leader, "a path of 1 MiB", heads::long_target;
    smuggled_requests, Leader, "lengths that contradict each other, with a request behind",
        heads::smuggled;
    packed_requests, Leader, "gzip and zstd that unpack to 16 MiB", bodies::packed;
    deep_json, Leader, "1 MiB of opening brackets", bodies::deep;
    wide_json, Leader, "a list of 500,000 numbers", bodies::wide;
    long_numbers, Leader, "a number of 1,000,000 digits", bodies::long_number;
    many_members, Leader, "an object of 100,000 members", bodies::many_members;
    duplicate_members, Leader, "100,000 members of one name", bodies::duplicates;
    escapes, Leader, "1 MiB of escapes", bodies::escapes;
    oversized_announced, Leader, "bodies that announce 1 GiB", bodies::announced;
    oversized_endless, Leader, "chunked bodies that do not end", bodies::endless;
    bad_signatures, Leader, "registrations whose proof does not verify", work::bad_signatures;
    verify_flood, Leader, "the whole log verified again and again", work::verify;
    search_flood, Leader, "searches that find nothing", work::searches;
    graph_flood, Leader, "walks through the graph", work::graphs;
    replicate_flood, Leader, "batches of 10,000 entries", work::replications;
    export_flood, Leader, "exports of 1,000 entries with proofs", work::exports;
    event_streams, Leader, "512 event streams", work::event_streams;
    mirror_idle, Follower, "10,000 connections that say nothing", connections::idle;
    mirror_bombs, Follower, "its leader's batches are zstd and gzip that unpack to 1 GiB",
        hostile::bombs;
    bad_checkpoints, Witness, "checkpoints whose signature does not verify",
        work::bad_checkpoints;
    witness_slow_heads, Witness, "heads a byte at a time on 2,000 connections",
        connections::slow_heads;
}
