//! Two workers: the connection of one hangs, the server gives it up, the other takes over; what the first one says
//! afterwards is refused and has no effect. With the same demands as with one worker.

use nx_runs::sim::harness::{Plan, Sim};

use crate::crash::{at, good, simulate, undone};

fn two(sim: &mut Sim) {
    sim.spawn_worker();
}

#[test]
fn the_connection_of_either_worker_hangs_at_every_frame() {
    let frames = simulate(600, &Plan::default(), two).unwrap().frames;
    let (mut taken, mut late) = (0, (0, 0));
    for frame in 1..=frames {
        for seed in [600, 601, 602] {
            let plan = Plan { stall_at_frame: at([frame]), ..Plan::default() };
            let ran = simulate(seed, &plan, two).unwrap();
            assert_eq!(ran.end, good(), "frame {frame}, seed {seed}");
            taken += usize::from(ran.takers > 1);
            late = (late.0 + ran.late.0, late.1 + ran.late.1);
        }
    }
    assert!(taken > 20, "{taken} runs were taken over");
    assert!(late.0 > 20 && late.1 > 10, "{late:?} late frames");
}

#[test]
fn both_workers_hang_and_everyone_dies() {
    let (mut taken, mut late, mut deaths) = (0, (0, 0), (0, 0));
    for seed in 700..900 {
        let spread = |n: u64, of: u64| (1..4).map(move |k| (seed * 7919 + n * 104_729 + k * 1_299_709) % of + k * 5);
        let plan = Plan {
            stall_at_frame: at(spread(1, 50)),
            server_at_write: at(spread(2, 140).take(1)),
            server_at_frame: at(spread(3, 120).take(1)),
            worker_at_frame: at(spread(4, 100).take(2)),
            worker_after_effect: at(spread(5, 16).take(1)),
            cut_at_frame: at(spread(6, 90).take(1)),
            disk_full: if seed % 5 == 0 { Some((20, 40)) } else { None },
            clock_jumps: if seed % 7 == 0 { [(15, -3600), (30, 1800)].into() } else { [].into() },
        };
        // Sometimes the outbox cannot be searched, and a person has to look.
        let prepare = |sim: &mut Sim| {
            two(sim);
            sim.world.searchable = seed % 3 != 0;
        };
        let ran = simulate(seed, &plan, prepare).unwrap();
        assert_eq!(ran.end, good(), "seed {seed} {plan:?}");
        taken += usize::from(ran.takers > 1);
        late = (late.0 + ran.late.0, late.1 + ran.late.1);
        deaths = (deaths.0 + ran.deaths.0, deaths.1 + ran.deaths.1);
        if seed % 20 == 0 {
            let again = simulate(seed, &plan, prepare).unwrap();
            assert_eq!(ran.bytes, again.bytes, "seed {seed}: the same seed writes the same bytes");
        }
    }
    assert!(taken > 100, "{taken} runs were taken over");
    assert!(late.0 > 100 && late.1 > 50, "{late:?} late frames");
    assert!(deaths.0 > 150 && deaths.1 > 150, "{deaths:?}");
}

#[test]
fn a_failed_run_is_undone_once_by_whichever_worker() {
    let mut taken = 0;
    for seed in 900..960 {
        let spread = |n: u64, of: u64| (1..4).map(move |k| (seed * 7919 + n * 104_729 + k * 1_299_709) % of + k * 5);
        let plan = Plan {
            stall_at_frame: at(spread(1, 60)),
            server_at_write: at(spread(2, 150).take(1)),
            worker_at_frame: at(spread(3, 90).take(1)),
            ..Plan::default()
        };
        let prepare = |sim: &mut Sim| {
            two(sim);
            sim.world.carrier = false;
        };
        let ran = simulate(seed, &plan, prepare).unwrap();
        assert_eq!(ran.end, undone(), "seed {seed} {plan:?}");
        taken += usize::from(ran.takers > 1);
    }
    assert!(taken > 20, "{taken} runs were taken over");
}
