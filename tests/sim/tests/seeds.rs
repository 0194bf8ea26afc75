//! A few seeds and every pair of cuts, the same in every run; `tests/sim/README.md` says how to run
//! more.

use diogenes_sim::{killed_then_cut_off, run};

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

#[test]
fn a_kill_and_then_a_power_cut_at_any_two_operations_stop_no_witness() {
    // Making a witness and two lines takes 42 operations.
    const OPERATIONS: u64 = 44;
    for killed in 0..OPERATIONS {
        for cut in 0..OPERATIONS {
            for chance in 0..16 {
                let goes_on = killed_then_cut_off(killed, cut, chance);
                assert_eq!(goes_on, Ok(()), "killed at {killed}, cut at {cut}, chance {chance}");
            }
        }
    }
}
