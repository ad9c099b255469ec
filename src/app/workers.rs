//! The workers of an instance. Each holds its lease or shares its work; each goes on where it, or
//! another, stopped.

use std::time::Duration;

use futures::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connect::Started,
    jobs, rotate, screens,
    supervise::{keep_running, supervise},
};
use crate::{
    access::{Gate, StoreError},
    clock,
    commands::{
        archive_claims, close_session::Places, force_log_out, keep_sessions, replay_offline,
        report, retention,
    },
    config::Config,
    inbox::{
        intake::{self, Intake},
        revocation,
    },
    ledger::{
        idempotency::purge,
        partitions,
        relay::{self, Relay},
    },
    live::memberships::{self, Change},
    projector, upstream,
};

/// How often partitions are made ahead; they are made three periods ahead.
const PARTITION_INTERVAL: Duration = Duration::from_hours(6);
/// How often it is noted that revocations are fenced.
const FENCES_INTERVAL: Duration = Duration::from_secs(5);
/// Longer than tenant-service takes to answer, or to know of its own event everywhere.
const FORGET_AGAIN_AFTER: Duration = Duration::from_secs(4);

/// Starts them all.
pub fn start(
    started: &Started,
    config: &Config,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let (app, gate) = (&started.app, started.app.gate().clone());
    keep_running("token-keys", tracker, shutdown, move |shutdown| {
        let gate = gate.clone();
        async move { gate.run(shutdown).await }
    });

    let jobs = app.clone();
    keep_running("scheduler-keys", tracker, shutdown, move |shutdown| {
        let jobs = jobs.clone();
        async move {
            if let Some(scheduler) = jobs.scheduler() {
                scheduler.run(shutdown).await;
            }
        }
    });

    let watched = app.clock().clone();
    keep_running("clock-watch", tracker, shutdown, move |shutdown| {
        clock::watch::run(watched.clone(), shutdown)
    });

    let (secrets, app_of_secrets) = (started.secrets.clone(), app.clone());
    let secrets_shutdown = shutdown.clone();
    tracker.spawn(async move {
        rotate::run(secrets, &app_of_secrets, &secrets_shutdown).await;
    });

    let upstream = app.commands().upstream.clone();
    keep_running("circuit-probe", tracker, shutdown, move |shutdown| {
        let upstream = upstream.clone();
        async move { upstream::probe::run(&upstream, &shutdown).await }
    });

    let intake = Intake::new(
        app.pools().intake().clone(),
        started.pubsub.clone(),
        intake::Settings::default(),
        app.clock().clone(),
    )
    .listened_to_by(screens::listener(app));
    let wake = [app.commands().ledger.head(), intake.head()];
    for intake in intake.by_topic() {
        supervise("intake", tracker, shutdown, move |shutdown| {
            let intake = intake.clone();
            async move { intake.run(&shutdown).await }
        });
    }

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
    look_after_sessions(started, tracker, shutdown);
    report(started, tracker, shutdown);
    complete(started, tracker, shutdown);
    look_after_desks(started, tracker, shutdown);
    partition(started, tracker, shutdown);
    look_after_claims(started, tracker, shutdown);
    screens::refresh(started, tracker, shutdown);
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
    let app = &started.app;
    let (pubsub, feed) = (started.pubsub.clone(), started.feed.clone());
    let (resources, places) = (app.commands().clone(), places(started));
    supervise("revocations", tracker, shutdown, move |shutdown| {
        let (pubsub, feed) = (pubsub.clone(), feed.clone());
        let (resources, places) = (resources.clone(), places.clone());
        async move {
            let sink = |revocation: revocation::Revocation| {
                let (resources, places) = (resources.clone(), places.clone());
                async move { Ok(force_log_out::run(&resources, &places, &revocation).await?) }
                    .boxed()
            };
            revocation::run(&pubsub, sink, &feed, &shutdown).await
        }
    });

    let (gate, clock, feed) = (app.gate().clone(), app.clock().clone(), started.feed.clone());
    supervise("fences", tracker, shutdown, move |shutdown| {
        let (gate, clock, feed) = (gate.clone(), clock.clone(), feed.clone());
        async move {
            while !shutdown.is_cancelled() {
                gate.note_fencing(clock.now()).await?;
                metrics::gauge!("bff_backoffice_revocation_feed_lag_seconds")
                    .set(feed.lag().as_secs_f64());
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = tokio::time::sleep(FENCES_INTERVAL) => (),
                }
            }
            Ok::<(), StoreError>(())
        }
    });
}

/// Sessions end by themselves, and what memberships are remembered is forgotten when they change.
fn look_after_sessions(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let app = &started.app;
    let (resources, sessions) = (app.commands().clone(), app.sessions().clone());
    supervise("sessions", tracker, shutdown, move |shutdown| {
        let (resources, sessions) = (resources.clone(), sessions.clone());
        async move { keep_sessions::run(&resources, &sessions, &shutdown).await }
    });

    let (gate, session_tier) = (app.gate().clone(), started.stores.session.clone());
    let forgetting = tracker.clone();
    supervise("memberships", tracker, shutdown, move |shutdown| {
        let (gate, session_tier) = (gate.clone(), session_tier.clone());
        let forgetting = forgetting.clone();
        async move {
            let heard = |change: Change| {
                let (gate, shutdown) = (gate.clone(), shutdown.clone());
                forgetting.spawn(async move {
                    forget(&gate, &change).await;
                    // A request may have been asking while it changed, or been told what was.
                    tokio::select! {
                        () = shutdown.cancelled() => (),
                        () = tokio::time::sleep(FORGET_AGAIN_AFTER) => {
                            forget(&gate, &change).await;
                        }
                    }
                });
            };
            memberships::follow(&session_tier, heard, &shutdown).await
        }
    });
}

async fn forget(gate: &Gate, change: &Change) {
    match change {
        Change::Of(tenant_id, operator_id) => {
            gate.memberships().forget(tenant_id, operator_id).await;
        }
        Change::OfMany => gate.memberships().forget_all(),
    }
}

fn places(started: &Started) -> Places {
    Places {
        sessions: started.app.sessions().clone(),
        session_tier: started.stores.session.clone(),
    }
}

fn report(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (resources, pools) = (started.app.commands().clone(), started.app.pools().clone());
    supervise("upstream-reports", tracker, shutdown, move |shutdown| {
        let (resources, pools) = (resources.clone(), pools.clone());
        async move {
            let head = resources.ledger.head();
            report::run(&resources, pools.jobs(), head, &shutdown).await
        }
    });
}

fn complete(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let completer = jobs::completer(started.app.pools(), started.app.commands());
    supervise("completion", tracker, shutdown, move |shutdown| {
        let completer = completer.clone();
        async move { completer.run(&shutdown).await }
    });
}

/// What desktops did offline is recorded, and what is kept beside the ledger is forgotten in time.
fn look_after_desks(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (resources, pools) = (started.app.commands().clone(), started.app.pools().clone());
    supervise("offline-replays", tracker, shutdown, move |shutdown| {
        let (resources, pools) = (resources.clone(), pools.clone());
        async move { replay_offline::run(&resources, pools.jobs(), &shutdown).await }
    });
    let (pools, clock) = (started.app.pools().clone(), started.app.clock().clone());
    supervise("retention", tracker, shutdown, move |shutdown| {
        let (pools, clock) = (pools.clone(), clock.clone());
        async move { retention::run(pools.jobs(), &clock, &shutdown).await }
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

/// Claims are ended, archived and forgotten.
fn look_after_claims(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (resources, pools) = (started.app.commands().clone(), started.app.pools().clone());
    supervise("archive", tracker, shutdown, move |shutdown| {
        let (resources, pools) = (resources.clone(), pools.clone());
        async move { archive_claims::run(&resources, pools.jobs(), &shutdown).await }
    });
    let pools = started.app.pools().clone();
    supervise("purge-idempotency", tracker, shutdown, move |shutdown| {
        let pools = pools.clone();
        async move { purge::run(pools.jobs(), &shutdown).await }
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
