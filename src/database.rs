//! The database as a whole: where it is, the roles it is entered under, its migrations.

use std::{collections::HashMap, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{Connection, PgConnection, migrate::Migrator, postgres::PgConnectOptions};

use crate::ledger::partitions;

/// Every migration, in order. The files are embedded; nothing is read at run time.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Where the database is and how much of it one instance may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `postgres://backoffice_app@host/database`. The other roles use it with their own name.
    pub url: SecretString,
    /// The owner's, for migrations alone. `None` in an instance that does not migrate.
    pub owner_url: Option<SecretString>,
    /// Connections that requests may hold open, per instance. At least 1.
    pub request_pool_max: u32,
    /// Connections that each other role may hold open, per instance. At least 1.
    pub pool_max: u32,
    /// How long a caller waits for a free connection before it is told that the database is
    /// unavailable.
    pub acquire_timeout: Duration,
    /// Passwords of roles that do not share the one in `url`. A role without either enters without
    /// a password.
    pub role_passwords: HashMap<Role, SecretString>,
}

impl Settings {
    /// Settings with the documented defaults: 24 connections for requests, 8 for each other role, 3 s
    /// to wait for one.
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            owner_url: None,
            request_pool_max: 24,
            pool_max: 8,
            acquire_timeout: Duration::from_secs(3),
            role_passwords: HashMap::new(),
        }
    }

    /// How `role` connects.
    ///
    /// # Errors
    /// When `url` is not a Postgres URL.
    pub fn connect_options(&self, role: Role) -> Result<PgConnectOptions, sqlx::Error> {
        let options = PgConnectOptions::from_str(self.url.expose_secret())?
            .username(role.name())
            .application_name(role.name());
        Ok(match self.role_passwords.get(&role) {
            Some(password) => options.password(password.expose_secret()),
            None => options,
        })
    }
}

/// Who enters the database at run time. Each has one job and the least privilege for it
/// (`migrations/roles.toml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Requests: the rows of their own tenant.
    App,
    /// The sequencer: heads, claims, new events.
    Append,
    /// Ledger to Pub/Sub.
    Relay,
    /// Trees and checkpoints over the ledger.
    Seal,
    /// Ledger and inbox to views.
    Project,
    /// Pub/Sub to inbox.
    Intake,
    /// Purge, retention, archive, completion.
    Jobs,
    /// Creates partitions ahead of time.
    Maintain,
}

impl Role {
    pub const ALL: [Self; 8] = [
        Self::App,
        Self::Append,
        Self::Relay,
        Self::Seal,
        Self::Project,
        Self::Intake,
        Self::Jobs,
        Self::Maintain,
    ];

    /// The role's name in Postgres.
    pub const fn name(self) -> &'static str {
        match self {
            Self::App => "backoffice_app",
            Self::Append => "backoffice_append",
            Self::Relay => "backoffice_relay",
            Self::Seal => "backoffice_seal",
            Self::Project => "backoffice_project",
            Self::Intake => "backoffice_intake",
            Self::Jobs => "backoffice_jobs",
            Self::Maintain => "backoffice_maintain",
        }
    }
}

/// Why the database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database does not take the migrations")]
    Migrations(#[from] sqlx::migrate::MigrateError),
    #[error("the database cannot be reached as its owner")]
    Connection(#[from] sqlx::Error),
}

/// Runs the migrations that are missing and creates the ledger's partitions, as the owner. Safe to
/// repeat, and to run twice at once.
///
/// # Errors
/// [`MigrateError`]; each migration is there whole or not at all.
pub async fn migrate(owner_url: &SecretString) -> Result<(), MigrateError> {
    let mut owner = PgConnection::connect(owner_url.expose_secret()).await?;
    MIGRATIONS.run(&mut owner).await?;
    partitions::ensure(&mut owner).await?;
    owner.close().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_enters_under_its_own_name_and_password() {
        let mut settings = Settings::new("postgres://backoffice_app:shared@db:6000/bff".into());
        settings.role_passwords.insert(Role::Relay, "its-own".into());

        let relay = settings.connect_options(Role::Relay).unwrap();
        let append = settings.connect_options(Role::Append).unwrap();

        assert_eq!((relay.get_username(), relay.get_port()), ("backoffice_relay", 6000));
        assert_eq!(append.get_username(), "backoffice_append");
        assert_eq!(append.get_database(), Some("bff"));
    }

    #[test]
    fn settings_do_not_show_their_secrets() {
        let settings = Settings::new("postgres://backoffice_app:hunter2@db/bff".into());
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
