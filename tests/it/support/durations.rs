//! Many durations as one figure.

use std::time::Duration;

/// The `fraction` quantile of what was measured; 0.5 is the median. Nothing measured takes no time.
pub fn quantile(measured: &mut [Duration], fraction: f64) -> Duration {
    measured.sort_unstable();
    let Some(last) = measured.len().checked_sub(1) else { return Duration::ZERO };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into what one run measures"
    )]
    let index = (last as f64 * fraction).round() as usize;
    measured[index]
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
