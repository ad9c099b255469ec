//! The ledger's partitions, one a ledger and period, made before they are needed.

use chrono::{DateTime, Months, Utc};
use events::{Ledger, Period};
use sqlx::PgConnection;

/// How many periods after the current one have their partition. An append into a period without one
/// would fail.
pub const AHEAD: u32 = 3;

/// Creates what is missing of the current period's partitions and the next [`AHEAD`]; returns how
/// many it created.
///
/// Entered as the owner or as `backoffice_maintain`; no other role may. Appends go on meanwhile.
///
/// # Errors
/// When the database fails; the partitions made so far stay.
pub async fn ensure(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let now = database_time(connection).await?;
    let mut created_count = 0;
    for ledger in Ledger::ALL {
        for period in periods(ledger, now) {
            let created = sqlx::query_scalar!(
                r#"select maintenance.ensure_event_partition($1, $2) as "created!""#,
                ledger.name(),
                period,
            )
            .fetch_one(&mut *connection)
            .await?;
            created_count += u32::from(created);
        }
    }
    Ok(created_count)
}

/// For how many periods after the current one every ledger has its partition: 0 to [`AHEAD`],
/// `None` when a current one is missing.
///
/// # Errors
/// When the database fails.
pub async fn ahead(connection: &mut PgConnection) -> Result<Option<u32>, sqlx::Error> {
    let now = database_time(connection).await?;
    let mut ahead = Some(AHEAD);
    for ledger in Ledger::ALL {
        let tables: Vec<String> =
            periods(ledger, now).iter().map(|period| table(ledger, period)).collect();
        let present = sqlx::query_scalar!(
            r#"
            select to_regclass('public.' || quote_ident(name)) is not null as "present!"
            from unnest($1::text[]) with ordinality as wanted (name, number)
            order by number
            "#,
            &tables,
        )
        .fetch_all(&mut *connection)
        .await?;
        let in_a_row = present.into_iter().take_while(|present| *present).count();
        ahead = ahead.min(u32::try_from(in_a_row).ok().and_then(|count| count.checked_sub(1)));
    }
    Ok(ahead)
}

/// The partition of one ledger and period: `event_alert_ack_2026_11`.
fn table(ledger: Ledger, period: &str) -> String {
    format!("event_{}_{}", ledger.name(), period).replace('-', "_")
}

fn periods(ledger: Ledger, now: DateTime<Utc>) -> Vec<String> {
    let months_each = match ledger.period() {
        Period::Year => 12,
        Period::Month => 1,
    };
    (0..=AHEAD)
        .filter_map(|step| now.checked_add_months(Months::new(step * months_each)))
        .map(|at| ledger.period().name_at(at))
        .collect()
}

/// The database decides an event's period, so its clock decides which partitions come next.
async fn database_time(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_run_on_over_the_end_of_the_year() {
        let now = "2026-11-30T23:59:59Z".parse().unwrap();
        assert_eq!(periods(Ledger::AlertAck, now), ["2026-11", "2026-12", "2027-01", "2027-02"]);
        assert_eq!(periods(Ledger::Session, now), ["2026", "2027", "2028", "2029"]);
        assert_eq!(table(Ledger::AlertAck, "2026-11"), "event_alert_ack_2026_11");
    }
}
