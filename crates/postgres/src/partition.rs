//! The day partitions of the history: made ahead of time, dropped when they are too old.
//!
//! `events`, `delivery_results` and `attempts` are partitioned by the UTC day inside their UUIDv7 keys. A partition is
//! made and then attached, and is detached concurrently and then dropped, so that neither stops reading and writing.
//! Partitions have no grants of their own: tenants reach them through their parents, whose policies then hold.
//!
//! Must not: decide how long history is kept; put anything but table names and dates into its dynamic SQL.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, PgPool};
use uuid::Uuid;
use waypost_core::id::uuid_floor;

use crate::StoreError;

/// The partitioned tables; what refers to others first, so that nothing is left pointing at what is gone.
const TABLES: [&str; 3] = ["attempts", "delivery_results", "events"];
/// How many days are made ahead of the current one.
const DAYS_AHEAD: u64 = 7;
/// Names the advisory lock under which partitions are made and dropped.
const LOCK: i64 = 0x7761_7970_6f73_7401;

/// A partition, by its parent and its day.
type Slot = (&'static str, NaiveDate);

/// A partition that is attached.
struct Attached {
    slot: Slot,
    /// Whether a detach was begun and broke off.
    detaching: bool,
}

/// Makes the partitions from yesterday to a week ahead that are missing. Safe to run twice and in several processes.
///
/// # Errors
/// When the database fails, or another transaction keeps a table locked for seconds.
pub async fn make_ahead(pool: &PgPool, now: DateTime<Utc>) -> Result<(), StoreError> {
    let today = now.date_naive();
    let first = today.pred_opt().unwrap_or(today);
    let days = first.iter_days().take_while(|day| *day <= today + Days::new(DAYS_AHEAD));
    let wanted: BTreeSet<Slot> = days.flat_map(|day| TABLES.map(|table| (table, day))).collect();
    for slot in missing(pool, wanted).await? {
        make(pool, slot).await?;
    }
    Ok(())
}

/// The days out of today and tomorrow that lack a partition: without today's nothing can be accepted.
///
/// # Errors
/// When the database fails.
pub async fn missing_days(pool: &PgPool, now: DateTime<Utc>) -> Result<Vec<NaiveDate>, StoreError> {
    let days = now.date_naive().iter_days().take(2);
    let wanted = days.flat_map(|day| TABLES.map(|table| (table, day))).collect();
    let days: BTreeSet<NaiveDate> = missing(pool, wanted).await?.into_iter().map(|(_, day)| day).collect();
    Ok(days.into_iter().collect())
}

/// Drops the partitions of the days before `cutoff`. A drop that broke off earlier, at whatever step, is completed. When
/// another process is at it, nothing is done.
///
/// # Errors
/// When the database fails, or readers keep a partition busy for too long; what was dropped until then stays dropped.
pub async fn drop_before(pool: &PgPool, cutoff: NaiveDate) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    // The connection takes its advisory lock and its setting with it, however this ends.
    connection.close_on_drop();
    let alone = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, LOCK);
    if !alone.fetch_one(&mut *connection).await? {
        return Ok(());
    }
    connection.execute("SET lock_timeout = '3s'").await?;
    let mut old: Vec<Attached> = attached(&mut connection).await?;
    old.retain(|partition| partition.detaching || partition.slot.1 < cutoff);
    // A parent takes no second detach while one is pending.
    old.sort_by_key(|partition| !partition.detaching);
    for partition in old {
        let (table, child) = (partition.slot.0, name(partition.slot));
        let way = if partition.detaching { "FINALIZE" } else { "CONCURRENTLY" };
        run(&mut connection, format!("ALTER TABLE {table} DETACH PARTITION {child} {way}")).await?;
        run(&mut connection, format!("DROP TABLE {child}")).await?;
    }
    for slot in detached(&mut connection).await?.into_iter().filter(|slot| slot.1 < cutoff) {
        run(&mut connection, format!("DROP TABLE {}", name(slot))).await?;
    }
    Ok(())
}

/// The first id of a day.
pub(crate) fn day_floor(day: NaiveDate) -> Uuid {
    uuid_floor(day.and_time(NaiveTime::MIN).and_utc())
}

/// The days whose deliveries have a place for how they ended.
pub(crate) async fn days_of_results(
    connection: &mut PgConnection,
) -> Result<BTreeSet<NaiveDate>, StoreError> {
    let there = attached(connection).await?.into_iter().filter(|partition| !partition.detaching);
    Ok(there
        .filter(|partition| partition.slot.0 == "delivery_results")
        .map(|partition| partition.slot.1)
        .collect())
}

async fn missing(pool: &PgPool, mut wanted: BTreeSet<Slot>) -> Result<BTreeSet<Slot>, StoreError> {
    let mut connection = pool.acquire().await?;
    for partition in attached(&mut connection).await? {
        if !partition.detaching {
            wanted.remove(&partition.slot);
        }
    }
    Ok(wanted)
}

async fn make(pool: &PgPool, slot: Slot) -> Result<(), StoreError> {
    let (table, child) = (slot.0, name(slot));
    let (from, to) = (day_floor(slot.1), day_floor(slot.1 + Days::new(1)));
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK).execute(&mut *tx).await?;
    // While this process waited for the lock, another one may have made it.
    if attached(&mut tx).await?.iter().any(|partition| partition.slot == slot) {
        return Ok(());
    }
    tx.execute("SET LOCAL lock_timeout = '3s'").await?;
    run(&mut tx, format!("CREATE TABLE IF NOT EXISTS {child} (LIKE {table} INCLUDING ALL)")).await?;
    run(
        &mut tx,
        format!("ALTER TABLE {table} ATTACH PARTITION {child} FOR VALUES FROM ('{from}') TO ('{to}')"),
    )
    .await?;
    tx.commit().await?;
    Ok(())
}

async fn attached(connection: &mut PgConnection) -> Result<Vec<Attached>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT child.relname::text AS "name!", pg_inherits.inhdetachpending AS detaching
           FROM pg_inherits JOIN pg_class child ON child.oid = pg_inherits.inhrelid
           WHERE pg_inherits.inhparent IN ('attempts'::regclass, 'delivery_results'::regclass, 'events'::regclass)"#
    );
    let rows = rows.fetch_all(connection).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some(Attached { slot: slot(&row.name)?, detaching: row.detaching }))
        .collect())
}

/// Tables that were partitions once and wait to be dropped.
async fn detached(connection: &mut PgConnection) -> Result<Vec<Slot>, StoreError> {
    let names = sqlx::query_scalar!(
        r#"SELECT relname::text AS "name!" FROM pg_class
           WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)
             AND relname ~ '^(attempts|delivery_results|events)_[0-9]{8}$'"#
    );
    let names = names.fetch_all(connection).await?;
    Ok(names.iter().filter_map(|name| slot(name)).collect())
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), StoreError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

fn name((table, day): Slot) -> String {
    format!("{table}_{}", day.format("%Y%m%d"))
}

fn slot(name: &str) -> Option<Slot> {
    let (parent, day) = name.rsplit_once('_')?;
    let table = TABLES.into_iter().find(|table| *table == parent)?;
    Some((table, NaiveDate::parse_from_str(day, "%Y%m%d").ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_by_its_table_and_day_and_read_back_from_that() {
        let day = NaiveDate::from_ymd_opt(2026, 1, 9).unwrap();
        assert_eq!(name(("delivery_results", day)), "delivery_results_20260109");
        assert_eq!(slot("delivery_results_20260109"), Some(("delivery_results", day)));
        assert_eq!(slot("events_default"), None);
        assert_eq!(slot("api_20260109"), None);
    }

    #[test]
    fn the_days_share_no_id_and_leave_none_out() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 22).unwrap();
        let last = uuid_floor(day.and_hms_milli_opt(23, 59, 59, 999).unwrap().and_utc());
        let next = day_floor(day.succ_opt().unwrap());
        assert!(last < next);
        assert_eq!(last.as_u128() + (1 << 80), next.as_u128());
    }
}
