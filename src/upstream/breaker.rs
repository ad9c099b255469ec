//! A circuit breaker: after enough failures in a row a service is left alone, then tried with one
//! call.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{Gauge, gauge};
use tokio::time::Instant;

/// When a circuit opens and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Consecutive failures (timeout, lost connection, 5xx) that open the circuit. At least 1.
    pub failures_max: u32,
    /// How long an open circuit refuses calls before it lets one probe through.
    pub cooldown: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures_max: 5, cooldown: Duration::from_secs(4) }
    }
}

/// What a circuit does with calls. Gauge `bff_backoffice_circuit_breaker_state`: 0, 1, 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// One probe is under way; other calls are refused.
    HalfOpen,
    /// Calls are refused.
    Open,
}

/// One circuit; cheap to clone.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

/// The circuit is open: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open")]
pub struct Refused {
    /// When asking again makes sense.
    pub retry_after: Duration,
}

/// Leave to make one call. Dropped without a result it counts as nothing: a caller that hung up
/// says nothing about the service, and a probe that was cancelled leaves room for the next.
#[must_use = "a permit that is dropped at once protects nothing"]
pub struct Permit {
    breaker: Breaker,
    /// The circuit's term in which leave was given; results of an earlier term are too old to
    /// count.
    term: u64,
    probe: bool,
    recorded: bool,
}

struct Shared {
    settings: Settings,
    gauge: Gauge,
    circuit: Mutex<Circuit>,
}

struct Circuit {
    phase: Phase,
    /// Counts changes of phase.
    term: u64,
}

enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probing: bool },
}

impl Breaker {
    /// `upstream` labels the gauge.
    pub fn new(upstream: &'static str, settings: Settings) -> Self {
        let gauge = gauge!("bff_backoffice_circuit_breaker_state", "upstream" => upstream);
        gauge.set(0.0);
        let circuit = Mutex::new(Circuit { phase: Phase::Closed { failures: 0 }, term: 0 });
        Self(Arc::new(Shared { settings, gauge, circuit }))
    }

    /// # Errors
    /// The circuit is open, or half-open with its probe under way.
    pub fn permit(&self) -> Result<Permit, Refused> {
        let now = Instant::now();
        let mut circuit = self.lock();
        let probe = match &mut circuit.phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } if now < *until => {
                return Err(Refused { retry_after: *until - now });
            }
            Phase::Open { .. } => {
                self.enter(&mut circuit, Phase::HalfOpen { probing: true });
                true
            }
            Phase::HalfOpen { probing: true } => {
                return Err(Refused { retry_after: self.0.settings.cooldown });
            }
            Phase::HalfOpen { probing } => {
                *probing = true;
                true
            }
        };
        Ok(Permit { breaker: self.clone(), term: circuit.term, probe, recorded: false })
    }

    pub fn state(&self) -> State {
        self.lock().phase.state()
    }

    /// An open circuit whose cooldown is over: somebody has to try.
    pub fn awaits_probe(&self) -> bool {
        match self.lock().phase {
            Phase::Closed { .. } => false,
            Phase::Open { until } => until <= Instant::now(),
            Phase::HalfOpen { probing } => !probing,
        }
    }

    fn record(&self, term: u64, succeeded: bool) {
        let mut circuit = self.lock();
        if circuit.term != term {
            return;
        }
        let until = Instant::now() + self.0.settings.cooldown;
        match (&mut circuit.phase, succeeded) {
            (Phase::Closed { failures }, true) => *failures = 0,
            (Phase::Closed { failures }, false) => {
                *failures += 1;
                if self.0.settings.failures_max <= *failures {
                    self.enter(&mut circuit, Phase::Open { until });
                }
            }
            (Phase::HalfOpen { .. }, true) => {
                self.enter(&mut circuit, Phase::Closed { failures: 0 });
            }
            (Phase::HalfOpen { .. }, false) => self.enter(&mut circuit, Phase::Open { until }),
            // No permit is given in this phase, and the term keeps older ones out.
            (Phase::Open { .. }, _) => {}
        }
    }

    fn give_up_probe(&self, term: u64) {
        let mut circuit = self.lock();
        if circuit.term == term
            && let Phase::HalfOpen { probing } = &mut circuit.phase
        {
            *probing = false;
        }
    }

    fn enter(&self, circuit: &mut Circuit, phase: Phase) {
        circuit.phase = phase;
        circuit.term += 1;
        self.0.gauge.set(circuit.phase.state().level());
    }

    /// A panic cannot leave a circuit half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    pub fn succeeded(mut self) {
        self.recorded = true;
        self.breaker.record(self.term, true);
    }

    pub fn failed(mut self) {
        self.recorded = true;
        self.breaker.record(self.term, false);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.recorded {
            self.breaker.give_up_probe(self.term);
        }
    }
}

impl Phase {
    fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::HalfOpen { .. } => State::HalfOpen,
            Self::Open { .. } => State::Open,
        }
    }
}

impl State {
    fn level(self) -> f64 {
        match self {
            Self::Closed => 0.0,
            Self::HalfOpen => 1.0,
            Self::Open => 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(4);

    #[tokio::test(start_paused = true)]
    async fn only_consecutive_failures_open_the_circuit() {
        let breaker = breaker();
        for _ in 0..4 {
            breaker.permit().unwrap().failed();
        }
        breaker.permit().unwrap().succeeded();
        for _ in 0..4 {
            breaker.permit().unwrap().failed();
        }
        assert_eq!(breaker.state(), State::Closed);

        breaker.permit().unwrap().failed();

        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.permit().err(), Some(Refused { retry_after: COOLDOWN }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_probe_after_the_cooldown_closes_the_circuit() {
        let breaker = open();
        tokio::time::advance(COOLDOWN.saturating_sub(Duration::from_millis(1))).await;
        assert!(breaker.permit().is_err());
        assert!(!breaker.awaits_probe());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.awaits_probe());

        let probe = breaker.permit().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        assert!(breaker.permit().is_err(), "one probe at a time");
        probe.succeeded();

        assert_eq!(breaker.state(), State::Closed);
        assert!(breaker.permit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_opens_the_circuit_for_another_cooldown() {
        let breaker = open();
        tokio::time::advance(COOLDOWN).await;

        breaker.permit().unwrap().failed();

        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.permit().err(), Some(Refused { retry_after: COOLDOWN }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_probe_leaves_room_for_the_next() {
        let breaker = open();
        tokio::time::advance(COOLDOWN).await;

        drop(breaker.permit().unwrap());

        assert!(breaker.awaits_probe());
        breaker.permit().unwrap().succeeded();
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_call_is_no_failure() {
        let breaker = breaker();
        for _ in 0..20 {
            drop(breaker.permit().unwrap());
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_from_before_the_circuit_opened_changes_nothing() {
        let breaker = breaker();
        let slow = breaker.permit().unwrap();
        let slower = breaker.permit().unwrap();
        for _ in 0..5 {
            breaker.permit().unwrap().failed();
        }

        slow.succeeded();
        assert_eq!(breaker.state(), State::Open);

        tokio::time::advance(COOLDOWN).await;
        let probe = breaker.permit().unwrap();
        slower.failed();
        assert_eq!(breaker.state(), State::HalfOpen);
        probe.succeeded();
        assert_eq!(breaker.state(), State::Closed);
    }

    fn breaker() -> Breaker {
        Breaker::new("test-service", Settings { failures_max: 5, cooldown: COOLDOWN })
    }

    fn open() -> Breaker {
        let breaker = breaker();
        for _ in 0..5 {
            breaker.permit().unwrap().failed();
        }
        breaker
    }
}
