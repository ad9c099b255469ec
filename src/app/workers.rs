//! The workers of an instance. Each holds its lease or shares its work; each goes on where it, or
//! another, stopped.

use std::time::Duration;

use futures::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{connect::Started, rotate, supervise::supervise};
use crate::{
    clock,
    commands::forward_acknowledgments,
    config::Config,
    inbox::{
        intake::{self, Intake},
        revocation,
    },
    ledger::{
        partitions,
        relay::{self, Relay},
    },
    live, projector, upstream,
};

/// How often partitions are made ahead; they are made three periods ahead.
const PARTITION_INTERVAL: Duration = Duration::from_hours(6);
/// Longer than any token lives.
const FENCE_LIFETIME: Duration = Duration::from_hours(24);

/// Starts them all.
pub fn start(
    started: &Started,
    config: &Config,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let app = &started.app;
    let gate = app.gate().clone();
    let keys_shutdown = shutdown.clone();
    tracker.spawn(async move { gate.run(keys_shutdown).await });

    tracker.spawn(clock::watch::run(app.clock().clone(), shutdown.clone()));

    let (secrets, app_of_secrets) = (started.secrets.clone(), app.clone());
    let secrets_shutdown = shutdown.clone();
    tracker.spawn(async move {
        rotate::run(secrets, &app_of_secrets, &secrets_shutdown).await;
    });

    let (upstream, probe_shutdown) = (app.commands().upstream.clone(), shutdown.clone());
    tracker.spawn(async move { upstream::probe::run(&upstream, &probe_shutdown).await });

    let intake = Intake::new(
        app.pools().intake().clone(),
        started.pubsub.clone(),
        intake::Settings::default(),
        app.clock().clone(),
    );
    let wake = [app.commands().ledger.head(), intake.head()];
    supervise("intake", tracker, shutdown, move |shutdown| {
        let intake = intake.clone();
        async move { intake.run(&shutdown).await }
    });

    let settings = projector::Settings {
        instance: config.foundation.instance.clone(),
        ..projector::Settings::default()
    };
    let stores = started.stores.clone();
    supervise("projector", tracker, shutdown, move |shutdown| {
        let (stores, settings, wake) = (stores.clone(), settings.clone(), wake.clone());
        async move { projector::run(&stores, &settings, wake, &shutdown).await }
    });
    publish(started, config, tracker, shutdown);
    revoke(started, tracker, shutdown);
    forward(started, tracker, shutdown);
    partition(started, tracker, shutdown);
}

fn publish(
    started: &Started,
    config: &Config,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let app = &started.app;
    let settings = relay::Settings {
        instance: config.foundation.instance.clone(),
        ..relay::Settings::default()
    };
    let relay = Relay::new(
        app.commands().ledger.clone(),
        app.pools(),
        started.pubsub.clone(),
        settings,
        app.clock().clone(),
    );
    supervise("relay", tracker, shutdown, move |shutdown| {
        let relay = relay.clone();
        async move { relay.run(&shutdown).await }
    });
}

/// Revocations have their own road: the fence stands before the message is acknowledged.
fn revoke(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (pubsub, session_tier) = (started.pubsub.clone(), started.stores.session.clone());
    supervise("revocations", tracker, shutdown, move |shutdown| {
        let (pubsub, session_tier) = (pubsub.clone(), session_tier.clone());
        async move {
            let sink = |revoked: revocation::Revocation| {
                let session_tier = session_tier.clone();
                async move {
                    let revocation = revocation_of(revoked);
                    live::revocations::publish(&session_tier, &revocation, FENCE_LIFETIME).await?;
                    Ok(())
                }
                .boxed()
            };
            revocation::run(&pubsub, sink, &shutdown).await
        }
    });
}

fn revocation_of(revoked: revocation::Revocation) -> live::Revocation {
    let subject = match revoked.subject {
        revocation::RevokedSubject::Session(sid) => live::Subject::Session(sid),
        revocation::RevokedSubject::Operator(operator_id) => live::Subject::Operator(operator_id),
        revocation::RevokedSubject::Device(device_id) => live::Subject::Device(device_id),
        revocation::RevokedSubject::Tenant => live::Subject::Tenant,
    };
    let revocation::Revocation { tenant_id, reason, at, .. } = revoked;
    live::Revocation { tenant_id, subject, reason, at }
}

fn forward(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (resources, pools) = (started.app.commands().clone(), started.app.pools().clone());
    supervise("acknowledgment-forwarding", tracker, shutdown, move |shutdown| {
        let (resources, pools) = (resources.clone(), pools.clone());
        async move {
            let head = resources.ledger.head();
            forward_acknowledgments::run(&resources, pools.jobs(), head, &shutdown).await
        }
    });
}

fn partition(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let pools = started.app.pools().clone();
    supervise("partitions", tracker, shutdown, move |shutdown| {
        let pools = pools.clone();
        async move {
            while !shutdown.is_cancelled() {
                let mut connection = pools.maintain().acquire().await?;
                partitions::ensure(&mut connection).await?;
                report_partitions(partitions::ahead(&mut connection).await?);
                drop(connection);
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = tokio::time::sleep(PARTITION_INTERVAL) => (),
                }
            }
            Ok::<(), sqlx::Error>(())
        }
    });
}

/// An append into a period without a partition fails, so running out of them is an alarm long
/// before.
fn report_partitions(ahead: Option<u32>) {
    metrics::gauge!("bff_backoffice_partitions_ahead").set(ahead.map_or(-1.0, f64::from));
    if ahead.is_none_or(|ahead| ahead < 1) {
        tracing::error!(ahead, "the ledger runs out of partitions");
    }
}
