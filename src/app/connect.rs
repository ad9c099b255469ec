//! Builds the parts of an instance from its settings and connects them.

mod gate;

use std::{fmt::Display, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use backon::{ExponentialBuilder, Retryable};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::{App, Parts, Stop};
use crate::{
    clock::SharedClock,
    commands::{Resources, device_sync::token::SyncKeys, idempotency::turn::Turns},
    composition::Composer,
    config::{Config, Stores, Upstreams},
    database,
    http::seal::Seal,
    inbox::revocation::Feed,
    ledger::{self, Ledger, Pools, leaf, personal::MasterKey},
    live::{self, CursorKeys, Hub},
    projector::{self, Builder},
    pubsub::{self, Pubsub},
    secrets::{Rotating, Secrets, Watch},
    upstream::{self, Profiles, Upstream, id_token},
    views::Redis,
};

/// How long stores may take to come up beside us before the start fails.
const STORES_WAIT: Duration = Duration::from_secs(30);
/// How long a reader waits for a view that is being built.
const VIEW_WAIT: Duration = Duration::from_secs(3);

/// An instance whose parts are connected.
pub struct Started {
    pub app: App,
    pub pubsub: Pubsub,
    pub stores: projector::Stores,
    pub secrets: Watch,
    /// How current the revocations are.
    pub feed: Feed,
}

/// Connects to every store and starts what requests need. `trackers` are those of requests and of
/// workers.
///
/// # Errors
/// A secret, a setting or a store that is not usable, in words that say which.
pub async fn connect(
    config: &Config,
    clock: SharedClock,
    stop: &Stop,
    trackers: (&TaskTracker, &TaskTracker),
) -> anyhow::Result<Started> {
    let secrets_dir = &config.foundation.secrets_dir;
    let (secrets, watch) = Watch::start(secrets_dir).context("SECRETS_DIR")?;
    let (tracker, worker_tracker) = trackers;
    let upstream = upstream(&config.upstreams)?;
    let scheduler = gate::scheduler(config, &upstream);
    let (pools, session_tier, cache_tier, pubsub) = tokio::try_join!(
        postgres(&config.foundation.stores),
        redis("REDIS_SESSION_URL", config.foundation.stores.redis_session_url.expose_secret()),
        redis("REDIS_CACHE_URL", config.foundation.stores.redis_cache_url.expose_secret()),
        pubsub(&config.foundation.stores),
    )?;
    let feed = Feed::new(clock.clone());
    let gate = gate::build(config, &secrets, &upstream, &session_tier, clock.clone())
        .await?
        .vouched_by(gate::standing(upstream.clone(), feed.clone()));
    gate.flags().refresh_or_report().await;
    let cursor_keys = cursor_keys(&secrets.live);
    let sync_keys = SyncKeys::new(&secrets.sync).context("SECRETS_DIR")?;
    let hub = Hub::start(
        session_tier.clone(),
        live::Settings::new(cursor_keys.clone(), clock.clone()),
        worker_tracker,
        stop.requests.clone(),
    );
    let ledger = Ledger::start(
        pools.clone(),
        ledger::Settings::default(),
        master_key(&secrets)?,
        worker_tracker,
        stop.workers.clone(),
    );
    let stores = projector::Stores {
        pools: pools.clone(),
        cache: cache_tier.clone(),
        session: session_tier.clone(),
    };
    let composer = Composer::new(
        upstream.clone(),
        (cache_tier.clone(), session_tier.clone()),
        clock.clone(),
        tracker.clone(),
    );
    let app = App::new(Parts {
        gate,
        seal: Seal::new(&secrets.peppered("seal", &[])),
        profiles: Profiles::new(upstream.clone()),
        composer,
        commands: Resources {
            ledger,
            upstream,
            secrets: Arc::new(secrets),
            clock: clock.clone(),
            instance: config.foundation.instance.as_str().into(),
            turns: Turns::default(),
        },
        hub,
        cursor_keys,
        sync_keys,
        builder: Builder::new(stores.clone(), tracker.clone(), VIEW_WAIT),
        pools,
        cache_tier,
        session_tier,
        clock,
        scheduler,
        tracker: tracker.clone(),
    });
    Ok(Started { app, pubsub, stores, secrets: watch, feed })
}

/// The pools, once the database answers, is migrated and keeps tenants apart.
///
/// # Errors
/// Which of these it does not.
pub async fn postgres(stores: &Stores) -> anyhow::Result<Pools> {
    let mut settings = database::Settings::new(stores.database_url.clone());
    settings.request_pool_max = stores.database_request_pool_max.get();
    settings.pool_max = stores.database_pool_max.get();
    let pools = Pools::connect(&settings).context("DATABASE_URL")?;
    let defects = patiently("DATABASE_URL", || pools.isolation_defects())
        .await
        .context("DATABASE_URL: Postgres cannot be used")?;
    if !defects.is_empty() {
        bail!("the database does not keep tenants apart: {defects:?}");
    }
    let migrated = sqlx::query_scalar::<_, bool>("select to_regclass('public.event') is not null");
    if !migrated.fetch_one(pools.project()).await? {
        bail!("the database has no tables: run `backoffice migrate` with DATABASE_OWNER_URL");
    }
    Ok(pools)
}

/// A Redis tier, once it answers; `name` is the variable that says where it is.
///
/// # Errors
/// When it does not answer in time.
pub async fn redis(name: &'static str, url: &str) -> anyhow::Result<Redis> {
    patiently(name, || Redis::connect(url))
        .await
        .with_context(|| format!("{name}: Redis does not answer"))
}

/// Pub/Sub, once it answers; on an emulator the topics are made first.
///
/// # Errors
/// When it does not answer in time.
pub async fn pubsub(stores: &Stores) -> anyhow::Result<Pubsub> {
    let pubsub = Pubsub::connect(&pubsub_settings(stores)).await?;
    let name = "PUBSUB_PROJECT or PUBSUB_EMULATOR_HOST";
    patiently(name, || pubsub.ensure_topology()).await.context("Pub/Sub cannot be used")?;
    Ok(pubsub)
}

fn pubsub_settings(stores: &Stores) -> pubsub::Settings {
    pubsub::Settings {
        project: stores.pubsub_project.clone(),
        endpoint: stores.pubsub_emulator_host.clone(),
        manage_topology: stores.pubsub_emulator_host.is_some(),
        ..pubsub::Settings::default()
    }
}

/// Tries until it works, for as long as stores may take to come up.
async fn patiently<T, E: Display, Try: Future<Output = Result<T, E>>>(
    name: &'static str,
    attempt: impl FnMut() -> Try,
) -> Result<T, E> {
    let delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(2))
        .with_total_delay(Some(STORES_WAIT))
        .without_max_times();
    let mut is_told = false;
    let tell = |error: &E, _| {
        if !std::mem::replace(&mut is_told, true) {
            tracing::warn!(setting = name, error = %error, "a store does not answer yet");
        }
    };
    attempt.retry(delays).notify(tell).await
}

/// The services we call.
///
/// # Errors
/// The platform's credentials, or TLS.
pub fn upstream(upstreams: &Upstreams) -> anyhow::Result<Upstream> {
    let identity = match &upstreams.id_token {
        Some(token) => id_token::Settings::Static(token.clone()),
        None => id_token::Settings::Google,
    };
    let mut settings = upstream::Settings::new(identity);
    if let Some(base_url) = &upstreams.base_url {
        settings.base_urls = upstream::Settings::all_below(base_url);
    }
    Ok(Upstream::new(&settings)?)
}

fn cursor_keys(secret: &Rotating) -> CursorKeys {
    CursorKeys::new(secret.current.clone(), secret.previous.clone())
}

/// The key that wraps the keys of persons; its id is its fingerprint, so that a rotation needs no
/// bookkeeping.
///
/// # Errors
/// Never for a secret that was read: its hash has the length of a key.
pub fn master_key(secrets: &Secrets) -> anyhow::Result<MasterKey> {
    let (id, key) = named(&secrets.personal_data.current);
    let mut master_key = MasterKey::new(&id, &key)?;
    for previous in &secrets.personal_data.previous {
        let (id, key) = named(previous);
        master_key = master_key.with_previous(&id, &key)?;
    }
    Ok(master_key)
}

fn named(secret: &SecretString) -> (String, [u8; 32]) {
    let key = Sha256::digest(secret.expose_secret());
    let id = Sha256::digest(key);
    (leaf::hex(&id[..8]), key.into())
}
