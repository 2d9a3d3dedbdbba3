//! The store against a small model of it: whatever workers and people do, in whatever order, no delivery is lost, none
//! has two leases, none is delivered after it was discarded, and every attempt is counted once.
//!
//! A case is a random list of steps in one environment with three endpoints. Each step is done to the store and to the
//! model; after each, all tables must hold what the model says.

mod rows;
mod step;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::scene::Scene;
use step::{Step, step};
use world::World;

/// Some five hundred steps in all.
const CASES: u32 = 12;
const STEPS: std::ops::Range<usize> = 30..60;

#[test]
fn whatever_happens_in_whatever_order_no_delivery_is_lost_or_leased_twice_or_miscounted() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scene = runtime.block_on(Scene::start());
    let config =
        Config { cases: CASES, max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let result =
        TestRunner::new(config).run(&vec(step(), STEPS), |steps| runtime.block_on(run(&scene, &steps)));
    // The pools close inside the runtime.
    let _within = runtime.enter();
    drop(scene);
    if let Err(error) = result {
        panic!("{error}");
    }
}

async fn run(scene: &Scene, steps: &[Step]) -> Result<(), TestCaseError> {
    scene.db_run("TRUNCATE deliveries, delivery_results, attempts, unmatched, events").await;
    let mut world = World::new(scene).await;
    for (number, step) in steps.iter().enumerate() {
        world.take(step).await?;
        let (expected, found) = (world.expected(), rows::all(&scene.pool).await);
        prop_assert_eq!(expected, found, "after step {} of {:?}", number, steps);
    }
    Ok(())
}
