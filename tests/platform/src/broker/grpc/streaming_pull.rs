//! `StreamingPull`: messages out as they are assigned, acknowledgements and deadlines in.

use axum::response::IntoResponse as _;
use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    self as pubsub, StreamingPullRequest, StreamingPullResponse,
    streaming_pull_response::SubscriptionProperties,
};
use tokio::time::{Duration, Interval, MissedTickBehavior, interval};
use tonic::{Status, Streaming};
use tower::service_fn;

use super::{Request, Response, Server, consumer::Membership, grpc, leases};
use crate::broker::subscription::{
    consumers::Window,
    settings::{ack_deadline, lease_extension},
};

/// Bytes of messages in one response, unless a single one is larger.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;

/// Requests taken in before messages go out again, so that neither side starves the other.
const REQUESTS_IN_TURN_MAX: usize = 64;

/// How often an idle stream gets an empty response, if its client understands them.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// The first protocol version whose clients expect heartbeats.
const HEARTBEAT_PROTOCOL_VERSION: i64 = 1;

/// Serves one stream.
pub async fn serve(server: Server, request: Request) -> Response {
    let service = service_fn(move |request: tonic::Request<Streaming<StreamingPullRequest>>| {
        let server = server.clone();
        async move {
            let session = Session::open(server, request.into_inner()).await?;
            Ok::<_, Status>(tonic::Response::new(session.responses()))
        }
    });
    let mut grpc = grpc::<StreamingPullRequest, StreamingPullResponse>();
    grpc.streaming(service, request).await.into_response()
}

struct Session {
    membership: Membership,
    requests: Streaming<StreamingPullRequest>,
    properties: SubscriptionProperties,
    /// Ticks at once, which sends the properties first.
    heartbeat: Interval,
    has_heartbeats: bool,
    has_ended: bool,
}

impl Session {
    /// Reads the first request, which says which subscription and how much at once.
    async fn open(
        server: Server,
        mut requests: Streaming<StreamingPullRequest>,
    ) -> Result<Self, Status> {
        let first = requests.next().await;
        let first =
            first.ok_or_else(|| Status::invalid_argument("the stream has no request"))??;
        let name = first.subscription.clone();
        let resource = server.broker.with(|catalogue, _| catalogue.subscription(&name))?;
        if first.stream_ack_deadline_seconds == 0 {
            return Err(Status::invalid_argument("the stream's ack deadline is missing"));
        }
        let window = Window {
            messages_max: limit(first.max_outstanding_messages),
            bytes_max: limit(first.max_outstanding_bytes),
        };
        let ack_deadline = ack_deadline(first.stream_ack_deadline_seconds)?;
        let membership = Membership::join(server, name, window, Some(ack_deadline))?;
        let mut heartbeat = interval(HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let session = Self {
            membership,
            requests,
            properties: SubscriptionProperties {
                exactly_once_delivery_enabled: false,
                message_ordering_enabled: resource.enable_message_ordering,
            },
            heartbeat,
            has_heartbeats: first.protocol_version >= HEARTBEAT_PROTOCOL_VERSION,
            has_ended: false,
        };
        session.apply_leases(&first)?;
        Ok(session)
    }

    fn responses(self) -> impl Stream<Item = Result<StreamingPullResponse, Status>> {
        stream::unfold(self, |mut session| async move {
            if session.has_ended {
                return None;
            }
            let response = session.next().await.transpose()?;
            session.has_ended = response.is_err();
            Some((response, session))
        })
    }

    /// The next response; none once the client has said its last.
    async fn next(&mut self) -> Result<Option<StreamingPullResponse>, Status> {
        for _ in 0..REQUESTS_IN_TURN_MAX {
            match self.requests.next().now_or_never() {
                None => break,
                Some(None) => return Ok(None),
                Some(Some(request)) => self.apply(&request?)?,
            }
        }
        loop {
            let received = self.membership.collect(RESPONSE_BYTES_MAX)?;
            if !received.is_empty() {
                return Ok(Some(self.response(received)));
            }
            tokio::select! {
                status = self.membership.ended() => return Err(status),
                request = self.requests.next() => match request {
                    None => return Ok(None),
                    Some(request) => self.apply(&request?)?,
                },
                () = self.membership.assigned() => {}
                _ = self.heartbeat.tick() => return Ok(Some(self.response(Vec::new()))),
            }
        }
    }

    fn response(&mut self, received: Vec<pubsub::ReceivedMessage>) -> StreamingPullResponse {
        if self.has_heartbeats {
            self.heartbeat.reset();
        } else {
            self.heartbeat.reset_after(Duration::MAX);
        }
        StreamingPullResponse {
            received_messages: received,
            acknowledge_confirmation: None,
            modify_ack_deadline_confirmation: None,
            subscription_properties: Some(self.properties),
        }
    }

    fn apply(&self, request: &StreamingPullRequest) -> Result<(), Status> {
        let repeats_settings = !request.subscription.is_empty()
            || !request.client_id.is_empty()
            || request.max_outstanding_messages != 0
            || request.max_outstanding_bytes != 0
            || request.protocol_version != 0;
        if repeats_settings {
            return Err(Status::invalid_argument(
                "only the first request may name the subscription, client, limits and protocol",
            ));
        }
        if request.stream_ack_deadline_seconds != 0 {
            let ack_deadline = ack_deadline(request.stream_ack_deadline_seconds)?;
            let Membership { broker, subscription, consumer, .. } = &self.membership;
            broker.with(|catalogue, now| {
                catalogue.change(subscription, now, |messages| {
                    messages.set_ack_deadline(*consumer, ack_deadline);
                })
            })?;
        }
        self.apply_leases(request)
    }

    fn apply_leases(&self, request: &StreamingPullRequest) -> Result<(), Status> {
        let acknowledged = leases(&request.ack_ids)?;
        let modified = leases(&request.modify_deadline_ack_ids)?;
        if modified.len() != request.modify_deadline_seconds.len() {
            return Err(Status::invalid_argument("as many deadlines as ack ids are needed"));
        }
        let seconds = request.modify_deadline_seconds.iter();
        let ack_deadlines = seconds.map(|seconds| lease_extension(*seconds));
        let ack_deadlines = ack_deadlines.collect::<Result<Vec<_>, _>>()?;
        let Membership { broker, subscription, .. } = &self.membership;
        broker.with(|catalogue, now| {
            catalogue.change(subscription, now, |messages| {
                for lease in acknowledged {
                    messages.acknowledge(lease);
                }
                for (lease, ack_deadline) in modified.into_iter().zip(ack_deadlines) {
                    messages.modify_ack_deadline(lease, ack_deadline, now);
                }
            })
        })
    }
}

/// A limit of the first request, where nothing positive means none.
fn limit(value: i64) -> u64 {
    u64::try_from(value).ok().filter(|limit| *limit > 0).unwrap_or(u64::MAX)
}
