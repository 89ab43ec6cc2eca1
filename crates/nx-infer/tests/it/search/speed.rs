//! What is called faster: never more than timings of the same model beside itself allow.

use nx_infer::search::{Aim, Options, Recipe, Search, Verdict};
use nx_types::{Rng as _, env::SeededRng};

use super::{Known, World};

const SAMPLES: usize = 2000;

/// A candidate that answers as the original does and takes this part of its time.
fn world(part: f64) -> World {
    let known = |recipe, nanos, bytes| Known { recipe, scores: vec![1.0; SAMPLES], nanos, bytes };
    let candidates =
        vec![known(Recipe::Original, 1_000_000, 1000), known(Recipe::Fold, (1_000_000.0 * part) as u64, 900)];
    World { candidates, binary: true }
}

fn search(world: &World, aim: Aim, vary: &mut dyn FnMut(usize, &Recipe, u64) -> f64) -> (Search, Verdict) {
    let drawn: Vec<usize> = (0..SAMPLES).collect();
    let mut search = world.search(&Options { aim, ..Options::default() }, SAMPLES);
    world.finish_timed(&mut search, &drawn, vary);
    let verdict = search.verdict().unwrap();
    (search, verdict)
}

/// Chance: each loaded model is so much faster or slower for as long as it is loaded, and each run a little.
fn chance(seed: u64, loaded: f64) -> impl FnMut(usize, &Recipe, u64) -> f64 {
    let rng = SeededRng::new(seed);
    let mut luck = 1.0;
    move |_, _, round| {
        let uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        // loaded anew with every seventh round, as the runner does
        if round % 7 == 0 {
            luck = 1.0 + loaded * uniform();
        }
        luck * (1.0 + 0.01 * uniform())
    }
}

#[test]
fn equal_models_are_not_called_faster() {
    // 4 % of difference between two loadings of one model, as it was measured
    let equal = world(1.0);
    let released = (1..=200).filter(|seed| {
        let (_, verdict) = search(&equal, Aim::Latency, &mut chance(*seed, 0.04));
        verdict.released != Recipe::Original
    });
    let wrong = released.count();
    println!("{wrong} of 200 searches called an equal model faster");
    assert!(wrong <= 10, "{wrong}");
}

#[test]
fn what_is_faster_is_called_so_in_spite_of_chance() {
    let faster = world(0.8);
    for seed in 1..=50 {
        let (_, verdict) = search(&faster, Aim::Latency, &mut chance(seed, 0.04));
        assert_eq!(verdict.released, Recipe::Fold, "{seed}");
    }
}

#[test]
fn what_was_faster_once_and_not_again_is_not_released() {
    let slower = world(1.0);
    // fast in the race, slow when it is timed anew
    let mut vary = |timing: usize, recipe: &Recipe, round: u64| {
        let noise = 1.0 + (round % 5) as f64 * 1e-3;
        match (timing, recipe) {
            (1, Recipe::Fold) => 0.8 * noise,
            (_, Recipe::Fold) => 1.1 * noise,
            _ => noise,
        }
    };
    let (search_state, verdict) = search(&slower, Aim::Latency, &mut vary);
    assert_eq!(verdict.released, Recipe::Original);
    assert!(verdict.tests.is_empty());
    let confirmed =
        search_state.state().facts.iter().any(|fact| {
            matches!(fact, nx_infer::search::Fact::Timed { purpose: nx_infer::search::Purpose::Confirm, .. })
        });
    assert!(confirmed, "it was timed anew");
    // for size it may be slower
    let (_, verdict) = search(&slower, Aim::Size, &mut vary);
    assert_eq!(verdict.released, Recipe::Fold);
}

#[test]
fn a_control_that_wavers_forbids_small_gains() {
    let faster = world(0.97);
    let mut controls = 0;
    let mut vary = |_: usize, recipe: &Recipe, round: u64| {
        if round == 0 && *recipe == Recipe::Original {
            controls += 1;
        }
        // every third loading of the original is 5 % slower
        let luck = if *recipe == Recipe::Original && controls % 3 == 1 { 1.05 } else { 1.0 };
        luck * (1.0 + (round % 5) as f64 * 1e-4)
    };
    assert_eq!(search(&faster, Aim::Latency, &mut vary).1.released, Recipe::Original);
    let mut steady = |_: usize, _: &Recipe, round: u64| 1.0 + (round % 5) as f64 * 1e-4;
    assert_eq!(search(&faster, Aim::Latency, &mut steady).1.released, Recipe::Fold);
}
