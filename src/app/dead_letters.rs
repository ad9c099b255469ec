//! What a person does about messages of other services that could not be read: looks at them, and has
//! them read again after a fix.

use anyhow::Context;
use chrono::TimeDelta;

use super::connect;
use crate::{
    clock::{Clock, SystemClock},
    config::Foundation,
    inbox::dead_letter::{self, LetterId, Listed, Replayed},
    output,
};

/// Says of each which it is, how old, of which subject, and why it cannot be read; never what it
/// holds.
///
/// # Errors
/// When Postgres fails.
pub async fn list(foundation: &Foundation) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    let (now, mut place, mut count) = (SystemClock.now(), None, 0_u64);
    loop {
        let page = dead_letter::list(pools.intake(), place.as_ref()).await?;
        let Some(last) = page.last() else { break };
        place = Some(last.id.clone());
        for Listed { id, subject, reason, received_at } in page {
            let (age, subject) = (age(now - received_at), subject.as_deref().unwrap_or("-"));
            output::line(format_args!("{id}  {age}  {subject}  {reason}"))?;
            count += 1;
        }
    }
    output::line(format_args!("{count} dead letters"))
}

/// Reads these again, or all of them; running instances fold what can be read now.
///
/// # Errors
/// When Postgres fails, or when there is no dead letter of an id; what was read before stays read.
pub async fn replay(foundation: &Foundation, ids: Option<&[LetterId]>) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    let (pool, now) = (pools.intake(), SystemClock.now());
    let mut tally = Tally::default();
    match ids {
        Some(ids) => {
            for id in ids {
                let replayed = dead_letter::replay(pool, id, now).await?;
                tally.told(id, &replayed.with_context(|| format!("there is no dead letter {id}"))?);
            }
        }
        None => dead_letter::replay_all(pool, now, |id, it| tally.told(id, it)).await?,
    }
    let Tally { read, unreadable, said } = tally;
    said?;
    output::line(format_args!("{read} dead letters read, {unreadable} still unreadable"))
}

/// What was said so far.
struct Tally {
    read: u64,
    unreadable: u64,
    said: anyhow::Result<()>,
}

impl Default for Tally {
    fn default() -> Self {
        Self { read: 0, unreadable: 0, said: Ok(()) }
    }
}

impl Tally {
    fn told(&mut self, id: &LetterId, replayed: &Replayed) {
        let said = match replayed {
            Replayed::Read => {
                self.read += 1;
                output::line(format_args!("{id}  read"))
            }
            Replayed::Unreadable(reason) => {
                self.unreadable += 1;
                output::line(format_args!("{id}  {reason}"))
            }
        };
        // Who does not read on has what was asked for done all the same.
        self.said = std::mem::replace(&mut self.said, Ok(())).and(said);
    }
}

/// In its largest unit, as `3d`.
fn age(age: TimeDelta) -> String {
    match (age.num_days(), age.num_hours(), age.num_minutes()) {
        (days @ 1.., ..) => format!("{days}d"),
        (_, hours @ 1.., _) => format!("{hours}h"),
        (.., minutes) => format!("{}m", minutes.max(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let told = [30, 60 * 59, 3_600 * 23, 86_400 * 3, -5].map(|s| age(TimeDelta::seconds(s)));
        assert_eq!(told, ["0m", "59m", "23h", "3d", "0m"]);
    }
}
