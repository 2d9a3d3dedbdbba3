//! Partitions: made by whoever comes first, dropped in steps that may break off.

use chrono::{Days, NaiveDate, TimeDelta};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio_util::task::TaskTracker;
use waypost_postgres::partition;

use crate::scene::Scene;

const TABLES: [&str; 3] = ["attempts", "delivery_results", "events"];

fn name(table: &str, day: NaiveDate) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

/// Whether a table is there, and whether it is attached.
async fn db_table(scene: &Scene, name: &str) -> Option<bool> {
    sqlx::query_scalar("SELECT relispartition FROM pg_class WHERE relname = $1 AND relkind = 'r'")
        .bind(name)
        .fetch_optional(&scene.pool)
        .await
        .unwrap()
}

async fn db_detach(scene: &Scene, table: &str, day: NaiveDate) {
    let statement = format!("ALTER TABLE {table} DETACH PARTITION {}", name(table, day));
    scene.pool.execute(AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test]
async fn four_processes_that_make_partitions_at_once_make_each_of_them_once() {
    let scene = Scene::start().await;
    scene.clock.advance(TimeDelta::days(100));
    let tasks = TaskTracker::new();
    let mut results = Vec::new();
    for _ in 0..4 {
        let store = scene.another_process().await;
        results.push(tasks.spawn(async move { store.make_partitions_ahead().await }));
    }
    for result in results {
        result.await.unwrap().unwrap();
    }

    let today = scene.now().date_naive();
    for table in TABLES {
        for day in (today - Days::new(1)).iter_days().take(9) {
            assert_eq!(db_table(&scene, &name(table, day)).await, Some(true), "{table} {day}");
        }
        assert_eq!(db_table(&scene, &name(table, today + Days::new(8))).await, None);
    }
    // Each index of a parent has its part in the partition, and there are no others.
    let odd = "SELECT count(*) FROM pg_inherits p
               WHERE p.inhparent IN ('events'::regclass, 'attempts'::regclass, 'delivery_results'::regclass)
                 AND (SELECT count(*) FROM pg_index WHERE indrelid = p.inhrelid)
                  <> (SELECT count(*) FROM pg_index WHERE indrelid = p.inhparent)";
    assert_eq!(scene.db_count(odd).await, 0);
}

#[tokio::test]
async fn a_missing_day_is_told_and_made_again() {
    let scene = Scene::start().await;
    let tomorrow = scene.now().date_naive() + Days::new(1);
    assert!(scene.store.missing_partitions().await.unwrap().is_empty());
    db_detach(&scene, "attempts", tomorrow).await;
    assert_eq!(scene.store.missing_partitions().await.unwrap(), [tomorrow]);

    scene.store.make_partitions_ahead().await.unwrap();

    assert!(scene.store.missing_partitions().await.unwrap().is_empty());
}

#[tokio::test]
async fn dropping_takes_the_days_before_the_cutoff_and_no_other() {
    let scene = Scene::start().await;
    let today = scene.now().date_naive();
    let cutoff = today + Days::new(2);
    // One whose drop broke off after it was detached.
    db_detach(&scene, "events", today).await;

    scene.store.drop_history_across_environments(cutoff).await.unwrap();

    for table in TABLES {
        for day in (today - Days::new(1)).iter_days().take(9) {
            let wanted = (day >= cutoff).then_some(true);
            assert_eq!(db_table(&scene, &name(table, day)).await, wanted, "{table} {day}");
        }
    }
}

#[tokio::test]
async fn a_drop_that_a_reader_interrupts_is_completed_the_next_time() {
    let scene = Scene::start().await;
    let yesterday = scene.now().date_naive() - Days::new(1);
    let mut connection = scene.db_connect().await;
    let mut reader = connection.begin().await.unwrap();
    reader.execute("SELECT count(*) FROM attempts").await.unwrap();

    let error = partition::drop_before(&scene.pool, scene.now().date_naive()).await.unwrap_err();
    assert!(error.is_passing(), "{error:?}");
    reader.rollback().await.unwrap();
    partition::drop_before(&scene.pool, scene.now().date_naive()).await.unwrap();

    for table in TABLES {
        assert_eq!(db_table(&scene, &name(table, yesterday)).await, None, "{table}");
    }
    assert!(scene.store.missing_partitions().await.unwrap().is_empty());
}

#[tokio::test]
async fn two_that_drop_at_once_do_not_meet() {
    let scene = Scene::start().await;
    let other = scene.another_process().await;
    let cutoff = scene.now().date_naive() + Days::new(3);

    let (first, second) = tokio::join!(
        scene.store.drop_history_across_environments(cutoff),
        other.drop_history_across_environments(cutoff),
    );
    first.and(second).unwrap();

    assert_eq!(db_table(&scene, &name("events", scene.now().date_naive())).await, None);
    assert_eq!(scene.db_count("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").await, 0);
}
