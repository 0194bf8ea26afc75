//! Attacks that hold connections: slow ones, silent ones, deaf ones, very many.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::wire::{Field, Line};

/// How fast a dawdler sends.
const DRIP: Duration = Duration::from_millis(200);

/// Heads a byte at a time.
pub(crate) async fn slow_heads(field: Rc<Field>) {
    field.crowd(2_000, |field| dawdle(field, b"GET / HTTP/1.1\r\nx-slow: ".to_vec())).await;
}

/// The largest body that is taken, all but the end of it, then a byte at a time.
pub(crate) async fn slow_bodies(field: Rc<Field>) {
    const LENGTH: usize = 4 * 1024 * 1024;
    let mut body = format!(
        "POST /api/v1/log/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {LENGTH}\r\n\r\n["
    )
    .into_bytes();
    let announced = body.clone();
    body.resize(body.len() + LENGTH - 1024, b' ');
    let body = Rc::new(body);
    let whole = field.crowd(24, move |field| {
        let body = body.clone();
        async move { dawdle(field, body.to_vec()).await }
    });
    let begun = field.crowd(500, move |field| dawdle(field, announced.clone()));
    tokio::join!(whole, begun);
}

/// Sends a beginning, and then a byte now and then, until it is cut or over.
async fn dawdle(field: Rc<Field>, beginning: Vec<u8>) {
    let Ok(mut line) = field.open().await else { return field.breathe().await };
    field.asked();
    if line.send(&beginning).await.is_ok() {
        while !field.is_over() {
            field.pause(DRIP).await;
            if !line.stands() || line.send(b" ").await.is_err() {
                break;
            }
        }
    }
    if !field.is_over() {
        field.note("cut");
        field.breathe().await;
    }
}

/// Large answers, asked for and never read.
pub(crate) async fn deaf_readers(field: Rc<Field>) {
    const ASKED: [&str; 4] = [
        "/api/v1/log/replicate?limit=10000",
        "/api/v1/log?per_page=200&order=desc",
        "/api/v1/audit/export?page_size=1000&proofs=true",
        "/tile/entries/000",
    ];
    for asked in ASKED {
        let request =
            format!("GET {asked} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(8).into_bytes();
        let act = move |field: Rc<Field>| {
            let request = request.clone();
            async move {
                let Ok(mut line) = field.open().await else { return field.breathe().await };
                field.asked();
                // How far it gets does not matter: nothing is ever read.
                let _ = line.send(&request).await;
                field.pause(Duration::from_secs(3600)).await;
            }
        };
        let crowd = field.clone();
        tokio::task::spawn_local(async move { crowd.crowd(100, act).await });
    }
    field.pause(Duration::from_secs(3600)).await;
}

/// Opened and closed as fast as it goes.
pub(crate) async fn flood(field: Rc<Field>) {
    let act = async |field: Rc<Field>| {
        if field.open().await.is_err() {
            field.breathe().await;
        }
    };
    field.crowd(32, act).await;
}

/// Ten thousand that say nothing, or as many as this program may open.
pub(crate) async fn idle(field: Rc<Field>) {
    const WANTED: u64 = 10_000;
    let wanted = WANTED.min(crate::wire::raise_open_files());
    let lines: Rc<RefCell<Vec<Line>>> = Rc::default();
    let held = lines.clone();
    let act = move |field: Rc<Field>| {
        let held = held.clone();
        async move {
            if field.tally().opened >= wanted {
                return field.breathe().await;
            }
            match field.open().await {
                Ok(line) => held.borrow_mut().push(line),
                Err(_) => field.breathe().await,
            }
        }
    };
    field.crowd(64, act).await;
    let standing = lines.borrow().iter().filter(|line| line.stands()).count();
    field.standing(standing as u64);
}
