//! Every target over its seeds and over mutations of them, the same ones in every run.
//!
//! Scripts are also made of chance alone.
//!
//! This is no substitute for libFuzzer, which looks where the code branches; it keeps the targets
//! and their promises alive on every toolchain and in every run of the tests.

use std::panic::catch_unwind;

use diogenes_fuzz::{TARGETS, name_of, seeds};

/// How many mutations each target gets.
const RUNS: usize = 20_000;
/// How many those get whose input is a script of many steps.
const SCRIPTS: usize = 1_000;
/// How many changes one input has at most.
const CHANGES: u64 = 6;

/// The targets whose input is a script: any bytes are one.
const MACHINES: [&str; 2] = ["replica", "judge"];
/// The length of one that is made of chance alone.
const SCRIPT_BYTES: usize = 200;

#[test]
fn no_mutation_of_a_golden_vector_breaks_a_promise() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| !MACHINES.contains(name)) {
        let seeds = run_seeds(name, *target);
        let mut chance = Chance::new();
        for _ in 0..RUNS {
            run(name, *target, &mutate(&seeds, &mut chance));
        }
    }
}

#[test]
fn no_mutation_of_a_script_breaks_an_invariant() {
    for (name, target) in TARGETS.iter().filter(|(name, _)| MACHINES.contains(name)) {
        let seeds = run_seeds(name, *target);
        let mut chance = Chance::new();
        for _ in 0..SCRIPTS / 2 {
            run(name, *target, &mutate(&seeds, &mut chance));
            let random: Vec<u8> = (0..SCRIPT_BYTES).map(|_| chance.byte()).collect();
            run(name, *target, &random);
        }
    }
}

fn run_seeds(name: &str, target: fn(&[u8])) -> Vec<Vec<u8>> {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.iter().for_each(|seed| run(name, target, seed));
    seeds
}

fn run(name: &str, target: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        let path = std::env::temp_dir().join(format!("{name}-{}", name_of(input)));
        std::fs::write(&path, input).expect("the temporary folder is writable");
        panic!("{name} broke its promise; the input is in {}", path.display());
    }
}

/// A small generator of numbers (xorshift64*): the same ones in every run.
struct Chance(u64);

impl Chance {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("a length");
        usize::try_from(self.next() % bound).expect("below a length")
    }
}

const WORDS: [&[u8]; 28] = [
    b"null",
    b"true",
    b"0",
    b"-0",
    b"1",
    b"9007199254740991",
    b"9007199254740992",
    b"1e20",
    b"1.0",
    b"\"\"",
    b"{}",
    b"[]",
    b"[[[[",
    b"\\u0000",
    b"\\ud83d",
    b"\xe2\x80\x94 ",
    b"\n\n",
    b"\r",
    b" ",
    b"sha256:",
    b"\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b",\"a\":1",
    b"x001/",
    b".p/255",
    b"group g any w\n",
    b"quorum none\n",
];

fn mutate(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut input = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.next() % CHANGES {
        let at = chance.below(input.len());
        let until = (at + chance.below(40)).min(input.len());
        match chance.next() % 7 {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
            1 => drop(input.drain(at..until)),
            2 => drop(input.splice(at..at, WORDS[chance.below(WORDS.len())].iter().copied())),
            3 => drop(input.splice(at..until, WORDS[chance.below(WORDS.len())].iter().copied())),
            4 => {
                let piece = input[at..until].to_vec();
                let to = chance.below(input.len());
                drop(input.splice(to..to, piece));
            }
            5 => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len());
                let piece = other[from..(from + chance.below(200)).min(other.len())].to_vec();
                drop(input.splice(at..until, piece));
            }
            _ => digit(&mut input, at, chance),
        }
    }
    input
}

/// Changes the next digit: numbers and hashes that stay well-formed reach deeper.
fn digit(input: &mut [u8], at: usize, chance: &mut Chance) {
    let mut rest = input.iter_mut().skip(at);
    if let Some(byte) = rest.find(|byte| byte.is_ascii_digit()) {
        *byte = b'0' + u8::try_from(chance.below(10)).expect("a digit");
    }
}
