//! `waypost migrate`, and `waypost serve` on a database that it has not seen.

use waypost_harness::program::{Listen, Site};

use crate::complaint;
use crate::database::Database;

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let database = Database::create().await;
    let site = database.site();

    for _ in 0..2 {
        let output = site.run(&["migrate"]).await;
        assert!(output.status.success(), "{output:?}");
    }
    site.started().await;
}

#[tokio::test]
async fn two_may_migrate_at_the_same_time() {
    let database = Database::create().await;
    let site = database.site();

    let outputs = tokio::join!(site.run(&["migrate"]), site.run(&["migrate"]));

    for output in [outputs.0, outputs.1] {
        assert!(output.status.success(), "{output:?}");
    }
    site.started().await;
}

#[tokio::test]
async fn migrating_beside_a_running_process_does_not_disturb_it() {
    let database = Database::create().await;
    let site = database.site();
    site.migrate().await;
    let mut program = site.started().await;

    site.migrate().await;

    program.until_ready().await;
    program.admin().get("/admin/accounts").await.expect(200);
}

#[tokio::test]
async fn migrating_a_database_that_is_not_there_ends_with_1() {
    // Nobody listens at port 9 of this machine.
    let site = Site::new("postgres://nobody@127.0.0.1:9/nothing");

    let output = site.run(&["migrate"]).await;

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(complaint(&output).contains("database"), "{}", complaint(&output));
}

#[tokio::test]
async fn serving_from_a_database_that_is_not_migrated_ends_with_1_and_says_how_to_mend_it() {
    let database = Database::create().await;

    let output = database.site().serve(Listen::free(), &[]).output().await.unwrap();

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(complaint(&output).contains("waypost migrate"), "{}", complaint(&output));
}

#[tokio::test]
async fn serving_without_a_server_ends_with_1() {
    let site = Site::new("postgres://nobody@127.0.0.1:9/nothing");

    let output = site.serve(Listen::free(), &[]).output().await.unwrap();

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(complaint(&output).contains("database"), "{}", complaint(&output));
}
