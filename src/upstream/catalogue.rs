//! The fourteen services we call: where they are, how long a call may take, how often it is
//! repeated.

use std::{fmt, time::Duration};

use url::Url;

/// A service we call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Iam,
    Tenant,
    Reservation,
    Inventory,
    Pricing,
    Housekeeping,
    Maintenance,
    Billing,
    LockIntegration,
    AiOrchestrator,
    Notification,
    Sync,
    Analytics,
    Property,
}

/// What holds for every call of one service.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub service: Service,
    /// `iam-service` …; label of metrics and logs, and the path segment in development.
    pub name: &'static str,
    /// Host in production, reached over the VPC with TLS.
    pub host: &'static str,
    /// For one attempt of a read, from the connection to the last byte of the answer.
    pub read_timeout: Duration,
    /// For one attempt of a mutation.
    pub mutation_timeout: Duration,
    /// Attempts after the first. Zero: one attempt, whatever happens.
    pub read_retries: usize,
    /// Attempts after the first, only under the same upstream key.
    pub mutation_retries: usize,
}

/// The topology's table of egress, in its order, which is also that of [`Service`].
pub const ROWS: [Row; 14] = [
    // A validation is a read and a refresh is a mutation.
    row(Service::Iam, ["iam-service", "iam"], [200, 600], [0, 0]),
    row(Service::Tenant, ["tenant-service", "tenant"], [500, 500], [1, 1]),
    row(Service::Reservation, ["reservation-service", "reservation"], [800, 1500], [0, 1]),
    row(Service::Inventory, ["inventory-service", "inventory"], [600, 600], [1, 1]),
    row(Service::Pricing, ["pricing-service", "pricing"], [600, 600], [1, 1]),
    row(Service::Housekeeping, ["housekeeping-service", "housekeeping"], [700, 700], [1, 1]),
    row(Service::Maintenance, ["maintenance-service", "maintenance"], [700, 700], [1, 1]),
    row(Service::Billing, ["billing-service", "billing"], [600, 600], [1, 1]),
    row(Service::LockIntegration, ["lock-integration-service", "lock"], [1200, 1200], [0, 0]),
    row(Service::AiOrchestrator, ["ai-orchestrator-service", "ai"], [800, 800], [0, 0]),
    row(Service::Notification, ["notification-service", "notification"], [500, 500], [1, 1]),
    row(Service::Sync, ["sync-service", "sync"], [700, 700], [0, 0]),
    row(Service::Analytics, ["analytics-service", "analytics"], [600, 600], [1, 1]),
    row(Service::Property, ["property-service", "property"], [800, 800], [1, 1]),
];

impl Service {
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// `iam-service` …
    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        ROWS.iter().map(|row| row.service)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Row {
    /// Where the service is when no setting says otherwise.
    pub fn base_url(&self) -> Url {
        Url::parse(&format!("https://{}.melmastoon.internal", self.host))
            .expect("the hosts of the table are valid, which a test checks")
    }

    pub fn timeout(&self, mutation: bool) -> Duration {
        if mutation { self.mutation_timeout } else { self.read_timeout }
    }

    pub fn retries(&self, mutation: bool) -> usize {
        if mutation { self.mutation_retries } else { self.read_retries }
    }
}

/// Pairs are (name, host), (read, mutation) in milliseconds, (read, mutation) in further attempts.
const fn row(
    service: Service,
    [name, host]: [&'static str; 2],
    [read_ms, mutation_ms]: [u64; 2],
    [read_retries, mutation_retries]: [usize; 2],
) -> Row {
    Row {
        service,
        name,
        host,
        read_timeout: Duration::from_millis(read_ms),
        mutation_timeout: Duration::from_millis(mutation_ms),
        read_retries,
        mutation_retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_finds_its_own_row() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.service as usize, index, "{}", row.name);
            assert_eq!(row.service.row().name, row.name);
            assert_eq!(row.base_url().scheme(), "https");
        }
    }

    #[test]
    fn a_door_is_never_asked_for_twice_by_itself() {
        assert_eq!(Service::LockIntegration.row().retries(true), 0);
    }
}
