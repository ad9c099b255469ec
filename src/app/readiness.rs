//! When an instance is ready: its stores, the issuer's keys, and enough of the circuits.

use super::App;
use crate::http::health::{Readiness, Scope};

/// The checks behind `/health/ready`.
pub fn readiness(app: &App) -> Readiness {
    let [postgres, ledger, session, cache, keys, circuits] = std::array::from_fn(|_| app.clone());
    Readiness::default()
        .check("postgres", Scope::Stores, move || {
            let app = postgres.clone();
            async move {
                let ping = sqlx::query("select 1").execute(app.pools().project()).await;
                ping.map(|_| ()).map_err(|_| "Postgres does not answer".to_owned())
            }
        })
        .check("ledger", Scope::Stores, move || {
            let takes_appends = ledger.commands().ledger.takes_appends();
            async move { takes_appends.then_some(()).ok_or_else(|| "takes no appends".to_owned()) }
        })
        .check("redis-session", Scope::Stores, move || {
            let app = session.clone();
            async move {
                match app.session_tier().eviction_policy().await {
                    Ok(policy) if policy == "noeviction" => Ok(()),
                    Ok(policy) => Err(format!("evicts ({policy}): sessions would be lost")),
                    Err(_) => Err("the session tier does not answer".to_owned()),
                }
            }
        })
        .check("redis-cache", Scope::Stores, move || {
            let app = cache.clone();
            async move {
                let ping = app.cache_tier().ping().await;
                ping.map_err(|_| "the cache tier does not answer".to_owned())
            }
        })
        .check("token-keys", Scope::Stores, move || {
            let is_ready = keys.gate().is_ready();
            async move { is_ready.then_some(()).ok_or_else(|| "no usable keys yet".to_owned()) }
        })
        .check("circuits", Scope::Circuits, move || {
            let usable = circuits.commands().upstream.usable();
            async move { usable }
        })
}
