//! The scenarios: what is done how often, and within what.

use std::{fmt, time::Duration};

use clap::ValueEnum;

/// Of the capacity model.
pub const DESKTOPS: u32 = 2_500;

/// What desktops go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The capacity model: a working day.
    Steady,
    /// Five times the capacity model.
    Peak,
    /// The capacity model with ten times its mutations, each tenth of them pressed twice.
    Burst,
    /// The capacity model, and all live streams break in one moment and come back.
    Storm,
}

/// What a desktop asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Dashboard,
    Board,
    Heartbeat,
    Handshake,
    LockAction,
    Decision,
    Suggestions,
    Mutation,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Dashboard,
        Self::Board,
        Self::Heartbeat,
        Self::Handshake,
        Self::LockAction,
        Self::Decision,
        Self::Suggestions,
        Self::Mutation,
    ];

    /// Of the capacity model, an hour. It names no rate for boards, handshakes and lists of
    /// suggestions: those are what gives each of their figures a tail.
    pub fn per_hour(self) -> u32 {
        match self {
            Self::Dashboard => 1_500 * 60,
            Self::Heartbeat => 2_500 * 60,
            Self::Mutation => 3_000 * 60,
            Self::LockAction => 500,
            Self::Decision => 250,
            Self::Board => 10 * 3_600,
            Self::Suggestions => 5 * 3_600,
            Self::Handshake => 3_600,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Board => "board",
            Self::Heartbeat => "heartbeat",
            Self::Handshake => "sync handshake",
            Self::LockAction => "lock action",
            Self::Decision => "AI decision",
            Self::Suggestions => "AI suggestions",
            Self::Mutation => "mutation",
        }
    }

    /// The longest 95 of a hundred may take: `SERVICE_OVERVIEW` §10, and for mutations
    /// `SERVICE_READINESS` §4. The document names none for decisions.
    pub fn p95_max(self) -> Option<Duration> {
        let milliseconds = match self {
            Self::Dashboard => 600,
            Self::Board => 400,
            Self::Heartbeat => 80,
            Self::Handshake => 300,
            Self::LockAction => 800,
            Self::Suggestions => 500,
            Self::Mutation => 1_500,
            Self::Decision => return None,
        };
        Some(Duration::from_millis(milliseconds))
    }
}

impl Scenario {
    /// How often a kind is asked for, a second.
    pub fn rate(self, kind: Kind) -> f64 {
        let times = match (self, kind) {
            (Self::Peak, _) => 5.0,
            (Self::Burst, Kind::Mutation) => 10.0,
            _ => 1.0,
        };
        f64::from(kind.per_hour()) / 3_600.0 * times
    }

    /// The longest 95 of a hundred of all may take: `SERVICE_READINESS` §4.
    pub fn p95_max(self) -> Duration {
        Duration::from_millis(match self {
            Self::Steady | Self::Storm => 600,
            Self::Peak => 1_000,
            Self::Burst => 1_500,
        })
    }

    /// Of a hundred looks for a part of a screen, those that must find it kept: what is in use is warm
    /// under the capacity model; else `SERVICE_READINESS` §4.
    pub fn found_percent_min(self) -> f64 {
        match self {
            Self::Steady | Self::Storm => 95.0,
            Self::Peak | Self::Burst => 80.0,
        }
    }

    /// What the service may keep resident, in MiB, where load and desktops are the capacity model's.
    pub fn resident_mib_max(self, desktops: u32) -> Option<f64> {
        (self == Self::Steady && desktops <= DESKTOPS).then_some(100.0)
    }

    pub fn breaks_streams(self) -> bool {
        self == Self::Storm
    }

    /// Whether some mutations come twice.
    pub fn presses_twice(self) -> bool {
        self == Self::Burst
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::Peak => "peak",
            Self::Burst => "burst",
            Self::Storm => "storm",
        })
    }
}
