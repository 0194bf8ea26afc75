//! The pure core: what one entry costs, from building its leaf to verifying its batch.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use diogenes_common::batch::{Encoding, decode, encode, verify_batch};
use diogenes_common::canonical;
use diogenes_common::clock::Clock as _;
use diogenes_common::clock_system::SystemClock;
use diogenes_common::leaf::Leaf;
use diogenes_common::merkle::{Edge, Hash, ProofPlan, TreeSize, verify_inclusion};
use diogenes_tests::book::Book;

const ENTRIES: u64 = 1_000;

fn book() -> Book {
    let mut book = Book::new(SystemClock.now().plus_millis(-60_000));
    book.grow(ENTRIES);
    book
}

fn leaves(c: &mut Criterion) {
    let book = book();
    let leaf = Leaf::parse(book.leaf(ENTRIES).to_vec()).expect("an honest entry");
    let event_type = leaf.event_type().parse().expect("an event type");
    let mut group = c.benchmark_group("leaf");
    group.throughput(Throughput::Bytes(leaf.bytes().len() as u64));
    group.bench_function("canonical check", |b| {
        b.iter(|| canonical::check(black_box(leaf.bytes()), canonical::MAX_DEPTH));
    });
    group.bench_function("parse", |b| {
        b.iter_batched(
            || leaf.bytes().to_vec(),
            |bytes| Leaf::parse(bytes).expect("an honest entry"),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("build", |b| {
        b.iter(|| {
            let payload = black_box(leaf.payload());
            Leaf::build(leaf.id(), leaf.previous_hash(), leaf.timestamp(), &event_type, payload)
        });
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let book = book();
    let batch = book.batch(0, book.size());
    let now = SystemClock.now();
    let chain = book.empty_chain();
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(book.size()));
    group.bench_function("extend the chain", |b| {
        b.iter_batched(
            || (chain.clone(), batch.leaves.clone()),
            |(mut chain, leaves)| {
                let mut completed = Vec::new();
                for leaf in leaves {
                    chain.extend(leaf, &mut completed).expect("an honest entry");
                }
                chain
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("verify", |b| {
        b.iter_batched(
            || batch.clone(),
            |batch| verify_batch(&chain, batch, &[], now).expect("an honest batch"),
            BatchSize::LargeInput,
        );
    });
    for (name, encoding) in [("binary", Encoding::Binary), ("json", Encoding::Json)] {
        let bytes = encode(&batch.header, &batch.leaves, encoding);
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| encode(&batch.header, black_box(&batch.leaves), encoding));
        });
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| decode(black_box(&bytes), encoding));
        });
    }
    group.finish();
}

fn trees(c: &mut Criterion) {
    let leaves: Vec<_> = (0..ENTRIES).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect();
    let mut edge = Edge::empty();
    let mut completed = Vec::new();
    for leaf in &leaves {
        edge.push(*leaf, &mut completed);
    }
    let book = book();
    let tree = book.tree(ENTRIES);
    let size = TreeSize::ZERO.plus(ENTRIES);
    let plan = ProofPlan::inclusion(500, size).expect("in the tree");
    let proof = plan.read(&book).expect("a book has every node");
    let leaf = Hash::of_leaf(book.leaf(501));
    let mut group = c.benchmark_group("tree");
    group.bench_function("push", |b| {
        b.iter_batched(
            || edge.clone(),
            |mut edge| edge.push(leaf, &mut Vec::new()),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("root", |b| b.iter(|| black_box(&edge).root()));
    group.bench_function("plan an inclusion proof", |b| {
        b.iter(|| ProofPlan::inclusion(black_box(500), size));
    });
    group.bench_function("verify an inclusion proof", |b| {
        b.iter(|| verify_inclusion(500, &leaf, &tree, black_box(&proof)));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    leaves(&mut criterion);
    batches(&mut criterion);
    trees(&mut criterion);
    criterion.final_summary();
}
