//! One decision under one key: what two instances, a ledger that takes nothing and a wish that
//! nobody checked make of it.

use backoffice::{
    commands::{
        Actor, CommandError, Resources, StoredResponse,
        decide_suggestion::{self, Offer, Refusal, Request, Wish},
        idempotency::{KeyedRequest, Outcome},
    },
    database::Role,
};
use events::ledger::suggestion_decision::Decision;
use serde_json::json;
use sqlx::Connection;
use ulid::Ulid;

use crate::support::{
    replica::{Replica, actor, claims},
    service::World,
    suggestions::kinds_of,
};

const SUGGESTION: &str = "sgn_7";

/// One wish of one operator under one key, to be sent to any instance.
struct Press {
    actor: Actor,
    wish: Wish,
    key: Ulid,
}

impl Press {
    async fn new(world: &World, offer: Offer) -> Self {
        let actor = actor(world).await;
        let wish = Wish {
            suggestion_id: SUGGESTION.parse().unwrap(),
            property_id: actor.caller.property_ids[0].clone(),
            category: "rate_change".to_owned(),
            offer,
            decision: Decision::Accept,
            modification: None,
            reason_code: None,
            comment: None,
        };
        Self { actor, wish, key: Ulid::generate() }
    }

    async fn send(&self, resources: &Resources) -> Result<Outcome, CommandError> {
        let keyed = KeyedRequest::new(resources, &self.actor, self.key, "POST /ai", &json!({}));
        let render = |refusal: Refusal| {
            assert_eq!(refusal, Refusal::Expired);
            // Each instance would write it in its own words.
            StoredResponse::json(410, &json!({ "by": Ulid::generate().to_string() }))
        };
        let (actor, wish) = (&self.actor, &self.wish);
        let request = Request { actor, wish, keyed: &keyed, render: &render };
        decide_suggestion::run(resources, request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_23_a_refusal_that_two_instances_write_at_once_is_one_answer() {
    let world = World::start().await;
    let (one, two) = (Replica::start(&world), Replica::start(&world));
    let press = Press::new(&world, Offer::Withdrawn).await;
    let mut holder = world.database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    // Both find the key free, and neither can write.
    let lock = "lock table idempotency in exclusive mode";
    sqlx::raw_sql(lock).execute(&mut *held).await.unwrap();

    let (by_one, by_two, ()) =
        tokio::join!(press.send(&one.resources), press.send(&two.resources), async {
            world.database.until_waiting(Role::Append, 2).await;
            held.rollback().await.unwrap();
        });

    let (by_one, by_two) = (by_one.unwrap(), by_two.unwrap());
    assert_eq!(by_one.response, by_two.response);
    assert_ne!(by_one.replayed, by_two.replayed);
    assert_eq!(claims(&world, &press.key.to_string()).await, ["completed"]);
    assert_eq!(kinds_of(&world, SUGGESTION).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_cannot_be_kept_is_not_given() {
    let world = World::start().await;
    let replica = Replica::start(&world);
    let press = Press::new(&world, Offer::Withdrawn).await;
    let mut superuser = world.database.superuser().await;
    let fault = "create function fault() returns trigger language plpgsql \
                 as 'begin raise exception ''fault''; end'; create trigger fault \
                 before insert on idempotency for each row execute function fault()";
    sqlx::raw_sql(fault).execute(&mut superuser).await.unwrap();

    let refused = press.send(&replica.resources).await;

    assert!(matches!(refused, Err(CommandError::Unavailable(_))), "{refused:?}");
    let mend = "drop trigger fault on idempotency";
    sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    let kept = press.send(&replica.resources).await.unwrap();
    let again = press.send(&replica.resources).await.unwrap();
    assert_eq!((kept.response.status, kept.replayed), (410, false));
    assert_eq!((&again.response, again.replayed), (&kept.response, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_checked_is_not_recorded() {
    let world = World::start().await;
    let replica = Replica::start(&world);
    let mut press = Press::new(&world, Offer::Open { until: None }).await;
    press.wish.decision = Decision::Modify;

    let refused = press.send(&replica.resources).await;

    assert!(matches!(refused, Err(CommandError::Unavailable(_))), "{refused:?}");
    assert_eq!(claims(&world, &press.key.to_string()).await, Vec::<String>::new());
    assert_eq!(kinds_of(&world, SUGGESTION).await, Vec::<String>::new());
}
