//! The gRPC face of the broker: which path is which operation. What is not here is UNIMPLEMENTED.

mod consumer;
mod rest;
mod streaming_pull;

use std::future::{Future, ready};

use axum::{Router, response::IntoResponse as _};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::{Status, server::Grpc, service::Routes};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    Broker,
    subscription::{LeaseId, settings::lease_extension},
};

/// A request of 10 MB, Pub/Sub's limit, with room to answer the one beyond it properly.
const REQUEST_BYTES_MAX: usize = 16_000_000;

/// What every call can reach.
#[derive(Clone)]
struct Server {
    broker: Broker,
    shutdown: CancellationToken,
}

type Request = axum::extract::Request;
type Response = axum::response::Response;

/// The broker's methods, until `shutdown` ends the waiting ones.
pub fn routes(broker: &Broker, shutdown: &CancellationToken) -> Routes {
    let server = Server { broker: broker.clone(), shutdown: shutdown.clone() };
    Routes::from(Router::new().fallback(move |request: Request| server.clone().call(request)))
}

impl Server {
    async fn call(self, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        if path.starts_with("/v1/") {
            return rest::serve(&self, request).await;
        }
        match path.strip_prefix("/google.pubsub.v1.") {
            Some("Publisher/Publish") => {
                unary(request, |publish| ready(self.publish(publish))).await
            }
            Some("Publisher/CreateTopic") => self.answer(request, Self::create_topic).await,
            Some("Publisher/GetTopic") => self.answer(request, Self::get_topic).await,
            Some("Publisher/UpdateTopic") => self.answer(request, Self::update_topic).await,
            Some("Publisher/ListTopics") => self.answer(request, Self::list_topics).await,
            Some("Publisher/ListTopicSubscriptions") => {
                self.answer(request, Self::list_topic_subscriptions).await
            }
            Some("Publisher/DeleteTopic") => self.answer(request, Self::delete_topic).await,
            Some("Subscriber/CreateSubscription") => {
                self.answer(request, Self::create_subscription).await
            }
            Some("Subscriber/GetSubscription") => {
                self.answer(request, Self::get_subscription).await
            }
            Some("Subscriber/UpdateSubscription") => {
                self.answer(request, Self::update_subscription).await
            }
            Some("Subscriber/ListSubscriptions") => {
                self.answer(request, Self::list_subscriptions).await
            }
            Some("Subscriber/DeleteSubscription") => {
                self.answer(request, Self::delete_subscription).await
            }
            Some("Subscriber/Acknowledge") => self.answer(request, Self::acknowledge).await,
            Some("Subscriber/ModifyAckDeadline") => {
                self.answer(request, Self::modify_ack_deadline).await
            }
            Some("Subscriber/Pull") => {
                unary(request, move |pull| consumer::pull(self.clone(), pull)).await
            }
            Some("Subscriber/StreamingPull") => streaming_pull::serve(self, request).await,
            _ => {
                let reason = format!("the embedded broker does not serve {path}");
                Status::unimplemented(reason).into_http::<axum::body::Body>().into_response()
            }
        }
    }

    /// Answers a call that waits for nothing.
    async fn answer<Q, A>(
        self,
        request: Request,
        operate: fn(&Self, &Q) -> Result<A, Status>,
    ) -> Response
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
    {
        unary(request, |message| ready(operate(&self, &message))).await
    }

    fn publish(&self, request: pubsub::PublishRequest) -> Result<pubsub::PublishResponse, Status> {
        let message_ids = self.broker.with(|catalogue, now| catalogue.publish(request, now))?;
        Ok(pubsub::PublishResponse { message_ids })
    }

    fn create_topic(&self, topic: &pubsub::Topic) -> Result<pubsub::Topic, Status> {
        self.broker.with(|catalogue, _| catalogue.create_topic(topic.clone()))
    }

    fn get_topic(&self, request: &pubsub::GetTopicRequest) -> Result<pubsub::Topic, Status> {
        self.broker.with(|catalogue, _| catalogue.topic(&request.topic))
    }

    fn update_topic(&self, request: &pubsub::UpdateTopicRequest) -> Result<pubsub::Topic, Status> {
        self.broker.with(|catalogue, _| catalogue.update_topic(request.clone()))
    }

    fn list_topics(
        &self,
        request: &pubsub::ListTopicsRequest,
    ) -> Result<pubsub::ListTopicsResponse, Status> {
        let page = self.broker.with(|catalogue, _| catalogue.list_topics(request));
        page.map(|(topics, next)| pubsub::ListTopicsResponse { topics, next_page_token: next })
    }

    fn list_topic_subscriptions(
        &self,
        request: &pubsub::ListTopicSubscriptionsRequest,
    ) -> Result<pubsub::ListTopicSubscriptionsResponse, Status> {
        let page = self.broker.with(|catalogue, _| catalogue.list_topic_subscriptions(request));
        let (subscriptions, next_page_token) = page?;
        Ok(pubsub::ListTopicSubscriptionsResponse { subscriptions, next_page_token })
    }

    fn delete_topic(&self, request: &pubsub::DeleteTopicRequest) -> Result<(), Status> {
        self.broker.with(|catalogue, _| catalogue.delete_topic(&request.topic))
    }

    fn create_subscription(
        &self,
        subscription: &pubsub::Subscription,
    ) -> Result<pubsub::Subscription, Status> {
        self.broker.with(|catalogue, now| catalogue.create_subscription(subscription.clone(), now))
    }

    fn get_subscription(
        &self,
        request: &pubsub::GetSubscriptionRequest,
    ) -> Result<pubsub::Subscription, Status> {
        self.broker.with(|catalogue, _| catalogue.subscription(&request.subscription))
    }

    fn update_subscription(
        &self,
        request: &pubsub::UpdateSubscriptionRequest,
    ) -> Result<pubsub::Subscription, Status> {
        self.broker.with(|catalogue, now| catalogue.update_subscription(request.clone(), now))
    }

    fn list_subscriptions(
        &self,
        request: &pubsub::ListSubscriptionsRequest,
    ) -> Result<pubsub::ListSubscriptionsResponse, Status> {
        let page = self.broker.with(|catalogue, _| catalogue.list_subscriptions(request));
        let (subscriptions, next_page_token) = page?;
        Ok(pubsub::ListSubscriptionsResponse { subscriptions, next_page_token })
    }

    fn delete_subscription(
        &self,
        request: &pubsub::DeleteSubscriptionRequest,
    ) -> Result<(), Status> {
        self.broker.with(|catalogue, _| catalogue.delete_subscription(&request.subscription))
    }

    fn acknowledge(&self, request: &pubsub::AcknowledgeRequest) -> Result<(), Status> {
        let leases = leases(&request.ack_ids)?;
        self.broker.with(|catalogue, now| {
            catalogue.change(&request.subscription, now, |messages| {
                for lease in leases {
                    messages.acknowledge(lease);
                }
            })
        })
    }

    fn modify_ack_deadline(
        &self,
        request: &pubsub::ModifyAckDeadlineRequest,
    ) -> Result<(), Status> {
        let leases = leases(&request.ack_ids)?;
        let ack_deadline = lease_extension(request.ack_deadline_seconds)?;
        self.broker.with(|catalogue, now| {
            catalogue.change(&request.subscription, now, |messages| {
                for lease in leases {
                    messages.modify_ack_deadline(lease, ack_deadline, now);
                }
            })
        })
    }
}

/// Serves one call with one answer.
async fn unary<Q, A, F>(request: Request, answer: impl Fn(Q) -> F) -> Response
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>>,
{
    let service = service_fn(|request: tonic::Request<Q>| {
        let answer = answer(request.into_inner());
        async move { answer.await.map(tonic::Response::new) }
    });
    grpc::<Q, A>().unary(service, request).await.into_response()
}

fn grpc<Q, A>() -> Grpc<ProstCodec<A, Q>>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(usize::MAX)
}

fn ack_id(lease: LeaseId) -> String {
    format!("lease-{}", lease.0)
}

/// Reads ack ids; one that this broker cannot have made is an `INVALID_ARGUMENT`.
fn leases(ack_ids: &[String]) -> Result<Vec<LeaseId>, Status> {
    let lease = |ack_id: &String| {
        let number = ack_id.strip_prefix("lease-").and_then(|number| number.parse().ok());
        number.map(LeaseId).ok_or_else(|| Status::invalid_argument("malformed ack id"))
    };
    ack_ids.iter().map(lease).collect()
}
