//! The one place where the simulator reads the time.

use chrono::{DateTime, SubsecRound, Utc};

/// Now, in UTC, cut to milliseconds, which is what the platform's services put on the wire.
#[expect(clippy::disallowed_methods, reason = "the simulator's one reading of the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
