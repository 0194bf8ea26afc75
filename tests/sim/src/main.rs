//! `sim [SEEDS] [START] [MOST]`: runs so many seeds from the first one on, until so many broke an
//! invariant. They are printed; `sim 1 SEED` shows one again.

use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let number = |place: usize| std::env::args().nth(place).and_then(|text| text.parse().ok());
    let (seeds, start): (u64, u64) = (number(1).unwrap_or(100), number(2).unwrap_or(1));
    let most: u64 = number(3).unwrap_or(10);
    println!("{seeds} seeds from {start} on");
    let (mut steps, mut broken) = (0, BTreeMap::<&str, u64>::new());
    for seed in start..start.saturating_add(seeds) {
        let invariant = match std::panic::catch_unwind(|| diogenes_sim::run(seed)) {
            Ok(Ok(outcome)) => {
                steps += outcome.steps;
                continue;
            }
            Ok(Err(violation)) => {
                println!("{violation}");
                violation.invariant
            }
            Err(_) => {
                println!("seed {seed}: nothing_panics");
                "nothing_panics"
            }
        };
        *broken.entry(invariant).or_default() += 1;
        if broken.values().sum::<u64>() >= most {
            break;
        }
    }
    for (invariant, times) in &broken {
        println!("broken {times} times: {invariant}");
    }
    if broken.is_empty() {
        println!("{seeds} runs of {steps} steps: every invariant held");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
