//! A few seeds, the same in every run; `tests/sim/README.md` says how to run more.

use diogenes_sim::run;

#[test]
fn every_invariant_holds_over_the_first_seeds() {
    for seed in 1..=40 {
        if let Err(violation) = run(seed) {
            panic!("{violation}");
        }
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 17, 29] {
        assert_eq!(run(seed), run(seed));
    }
}
