//! The plans of the statements that every notification and delivery runs, on tables that are empty and were never
//! analysed: by index, whatever the planner would like. The statements are the very ones that the store was built with.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use waypost_harness::TestApp;
use waypost_postgres::store::PLANNED_ONCE;

/// How the statements name themselves.
const HOT: [&str; 14] = [
    "append",
    "claim",
    "disable_gone",
    "find_endpoints",
    "find_integrations",
    "find_messages",
    "find_opening_keys",
    "find_proof",
    "find_routes",
    "find_targets",
    "next_due",
    "settle",
    "take_back_expired",
    "take_due_proofs",
];

/// The hot statements, by name, with the number of their parameters.
fn statements() -> BTreeMap<String, (String, usize)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/postgres/.sqlx");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let query = kept["query"].as_str().unwrap();
        let first = query.trim_start().lines().next().unwrap_or_default();
        let Some(name) =
            first.strip_prefix("-- ").and_then(|name| HOT.iter().find(|hot| **hot == name.trim()))
        else {
            continue;
        };
        let parameters = kept["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        let other = found.insert((*name).to_owned(), (query.to_owned(), parameters));
        assert!(other.is_none(), "two statements call themselves {name}: is the cache fresh?");
    }
    found
}

async fn plan(connection: &mut PgConnection, name: &str, query: &str, parameters: usize) -> Vec<String> {
    let prepare = format!("PREPARE {name} AS {query}");
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *connection)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let arguments = vec!["NULL"; parameters].join(", ");
    let call = if parameters == 0 { name.to_owned() } else { format!("{name}({arguments})") };
    let lines =
        sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE {call}"))).fetch_all(&mut *connection).await;
    lines.unwrap_or_else(|error| panic!("{name}: {error}")).iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn every_hot_statement_goes_by_index_on_an_empty_never_analysed_table() {
    let app = TestApp::spawn().await;
    let mut connection = app.db_connect().await;
    for (setting, value) in PLANNED_ONCE {
        let set = sqlx::query("SELECT set_config($1, $2, false)").bind(setting).bind(value);
        set.execute(&mut connection).await.unwrap();
    }
    let statements = statements();
    assert_eq!(statements.keys().map(String::as_str).collect::<Vec<_>>(), HOT);

    for (name, (query, parameters)) in &statements {
        let plan = plan(&mut connection, name, query, *parameters).await;
        let scans: Vec<&String> = plan
            .iter()
            .filter(|line| {
                line.contains("Seq Scan on ") || line.contains("Hash Join") || line.contains("Merge Join")
            })
            .collect();

        assert!(scans.is_empty(), "{name} does not go by index: {scans:?}\n{}", plan.join("\n"));
    }
}

#[tokio::test]
async fn looking_for_older_work_of_an_endpoint_never_reads_that_of_others() {
    let app = TestApp::spawn().await;
    let mut connection = app.db_connect().await;
    for (setting, value) in PLANNED_ONCE {
        let set = sqlx::query("SELECT set_config($1, $2, false)").bind(setting).bind(value);
        set.execute(&mut connection).await.unwrap();
    }
    let (query, parameters) = statements().remove("find_endpoints").unwrap();
    let plan = plan(&mut connection, "find_endpoints", &query, parameters).await;

    let scan = plan.iter().position(|line| line.contains("deliveries_due")).unwrap();
    let condition = plan[scan + 1..].iter().find(|line| line.contains("Index Cond")).unwrap();
    assert!(
        ["environment_id", "endpoint_id", "due_at"].iter().all(|column| condition.contains(column)),
        "it scans what is due of everybody: {condition}\n{}",
        plan.join("\n")
    );
}
