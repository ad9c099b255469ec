//! The services that publish events, with their names and topics.

use std::fmt;

/// A service of the platform that publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Producer {
    Iam,
    Tenant,
    Reservation,
    Inventory,
    Pricing,
    Housekeeping,
    Maintenance,
    Billing,
    Lock,
    AiOrchestrator,
    Notification,
    Sync,
    Analytics,
    Property,
    Theme,
}

impl Producer {
    pub const ALL: [Self; 15] = [
        Self::Iam,
        Self::Tenant,
        Self::Reservation,
        Self::Inventory,
        Self::Pricing,
        Self::Housekeeping,
        Self::Maintenance,
        Self::Billing,
        Self::Lock,
        Self::AiOrchestrator,
        Self::Notification,
        Self::Sync,
        Self::Analytics,
        Self::Property,
        Self::Theme,
    ];

    /// The second segment of its subjects and of its topic.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Tenant => "tenant",
            Self::Reservation => "reservation",
            Self::Inventory => "inventory",
            Self::Pricing => "pricing",
            Self::Housekeeping => "housekeeping",
            Self::Maintenance => "maintenance",
            Self::Billing => "billing",
            Self::Lock => "lock",
            Self::AiOrchestrator => "ai_orchestrator",
            Self::Notification => "notification",
            Self::Sync => "sync",
            Self::Analytics => "analytics",
            Self::Property => "property",
            Self::Theme => "theme",
        }
    }

    /// Its name as a service, as in `notification-service`.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Iam => "iam-service",
            Self::Tenant => "tenant-service",
            Self::Reservation => "reservation-service",
            Self::Inventory => "inventory-service",
            Self::Pricing => "pricing-service",
            Self::Housekeeping => "housekeeping-service",
            Self::Maintenance => "maintenance-service",
            Self::Billing => "billing-service",
            Self::Lock => "lock-integration-service",
            Self::AiOrchestrator => "ai-orchestrator-service",
            Self::Notification => "notification-service",
            Self::Sync => "sync-service",
            Self::Analytics => "analytics-service",
            Self::Property => "property-service",
            Self::Theme => "theme-config-service",
        }
    }

    /// Reads `notification`, `notification-service`, `ai_orchestrator`, `ai-orchestrator`, `lock`,
    /// `lock-integration` and their like.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix("-service").unwrap_or(text);
        Self::ALL.into_iter().find(|producer| {
            name == producer.segment() || Some(name) == producer.service().strip_suffix("-service")
        })
    }

    /// The topic's id, without project.
    pub fn topic(self) -> String {
        format!("melmastoon.{}.events", self.segment())
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.service())
    }
}
