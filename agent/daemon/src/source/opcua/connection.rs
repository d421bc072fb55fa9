//! One session with one server, driven by hand.
//!
//! The library's own reconnect goes silent after a server restarts, so it is switched off: a lost connection ends the
//! session, and a new one starts from nothing. The library makes progress only while its event loop is polled, here; not
//! polling it is how the source waits for the driver.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use opcua::client::{
    Client, ClientBuilder, IdentityToken, MonitoredItemMap, OnSubscriptionNotificationCore, Session, SessionPollResult,
    SubscriptionActivity,
};
use opcua::types::{EndpointDescription, Error, MessageSecurityMode, NotificationMessage, StatusCode, UserTokenType};
use tokio::time::timeout;

use super::convert::name;
use crate::source::keys::Address;
use crate::source::link::Ending;

/// The longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the server may take to close the session.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the server keeps a session that we could not close. Short, since PLCs have few.
const SESSION_TIMEOUT_MS: u32 = 30_000;
/// Where the library looks for key files. Without encryption there are none, and here it cannot create any.
const NO_KEYS: &str = "/dev/null/pki";
/// The URI of security policy None.
const POLICY_NONE: &str = "http://opcfoundation.org/UA/SecurityPolicy#None";

type Events = Pin<Box<dyn Stream<Item = Result<SessionPollResult, StatusCode>> + Send>>;
/// Notifications as they came in, until the supervisor takes them out.
pub(super) type Inbox = Arc<Mutex<Vec<NotificationMessage>>>;

pub(super) struct Connection {
    pub(super) session: Arc<Session>,
    address: String,
    events: Events,
    inbox: Inbox,
}

/// Puts whole notification messages into the inbox, so that what the server sent together stays together.
struct Collector(Inbox);

impl OnSubscriptionNotificationCore for Collector {
    fn on_subscription_notification(&mut self, message: NotificationMessage, _items: MonitoredItemMap<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
    }
}

impl Connection {
    /// Connects and opens a session, as an anonymous user without encryption.
    pub(super) async fn open(address: &Address, publishing_interval: Duration) -> Result<Self, Ending> {
        let url = address.to_string();
        let lost = |fault: String| Ending::Lost(format!("cannot connect to {address}: {fault}"));
        let mut client = client(publishing_interval).map_err(&lost)?;
        let offered = timeout(PATIENCE, client.get_server_endpoints_from_url(url.as_str()))
            .await
            .map_err(|_| lost(format!("no answer within {PATIENCE:?}")))?
            .map_err(|error| lost(explain(&error)))?;
        let mut endpoint = choose(&offered).map_err(&lost)?.clone();
        // Servers advertise the host name that they believe they have; what the configuration says is what is reachable.
        endpoint.endpoint_url = url.clone().into();
        let (session, events) = client
            .connect_to_endpoint_directly(endpoint, IdentityToken::Anonymous)
            .map_err(|error| lost(explain(&error)))?;
        session.disable_reconnects();
        let mut connection = Self { session, address: url, events: Box::pin(events.enter()), inbox: Inbox::default() };
        timeout(PATIENCE * 2, connection.connected())
            .await
            .map_err(|_| lost(format!("no session within {:?}", PATIENCE * 2)))??;
        Ok(connection)
    }

    async fn connected(&mut self) -> Result<(), Ending> {
        while !matches!(self.next().await?, SessionPollResult::Reconnected(_)) {}
        Ok(())
    }

    /// Something happened on the connection; an error when that was its end.
    pub(super) async fn next(&mut self) -> Result<SessionPollResult, Ending> {
        let lost = |status: StatusCode| Ending::Lost(format!("lost {}: {}", self.address, name(status)));
        match self.events.next().await {
            Some(Ok(SessionPollResult::ConnectionLost(status) | SessionPollResult::ReconnectFailed(status))) => {
                Err(lost(status))
            }
            Some(Ok(SessionPollResult::Subscription(SubscriptionActivity::FatalFailure(status)))) => Err(lost(status)),
            Some(Ok(event)) => Ok(event),
            Some(Err(status)) => Err(lost(status)),
            None => Err(Ending::Lost(format!("{} closed the connection", self.address))),
        }
    }

    /// Drives the connection until a request is answered.
    pub(super) async fn ask<T>(
        &mut self,
        what: &str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Ending> {
        let address = self.address.clone();
        let failed = |fault: String| Ending::Lost(format!("{address} does not let us {what}: {fault}"));
        let answer = async {
            tokio::pin!(request);
            loop {
                tokio::select! {
                    biased;
                    answer = &mut request => return answer.map_err(|error| failed(explain(&error))),
                    event = self.next() => { event?; }
                }
            }
        };
        timeout(PATIENCE * 2, answer).await.map_err(|_| failed("no answer".to_owned()))?
    }

    /// A fresh subscription; returns its id and the publishing interval that the server grants.
    pub(super) async fn subscribe(&mut self, publishing_interval: Duration) -> Result<(u32, Duration), Ending> {
        // The server keeps a subscription for about a minute after it lost us, and speaks up at least every ten
        // intervals. A lifetime is at least three times that (OPC UA Part 4, 5.14.2).
        let keep_alive = 10;
        let intervals = Duration::from_secs(60).as_millis() / publishing_interval.as_millis().max(1);
        let lifetime = u32::try_from(intervals).unwrap_or(u32::MAX).max(3 * keep_alive);
        let session = Arc::clone(&self.session);
        let collector = Collector(Arc::clone(&self.inbox));
        let create = async {
            session.create_subscription(publishing_interval, lifetime, keep_alive, 0, 0, true, collector).await
        };
        let id = self.ask("subscribe", create).await?;
        let state = session.subscription_state().lock();
        let granted = state.get(id).map_or(publishing_interval, |subscription| subscription.publishing_interval());
        Ok((id, granted))
    }

    /// Notifications since the last call.
    pub(super) fn take_inbox(&self) -> Vec<NotificationMessage> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes session and subscription, so that they do not count against the server's limits.
    pub(super) async fn close(mut self) {
        let session = Arc::clone(&self.session);
        let goodbye = async {
            let disconnect = session.disconnect();
            tokio::pin!(disconnect);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut disconnect => return,
                    event = self.events.next() => if event.is_none() { return },
                }
            }
        };
        // A server that does not answer forgets the session by itself, after its timeout.
        let _ = timeout(GOODBYE, goodbye).await;
    }
}

fn client(publishing_interval: Duration) -> Result<Client, String> {
    let builder = ClientBuilder::new()
        .application_name("explaind")
        .application_uri("urn:explaind")
        .product_uri("urn:explaind")
        .session_name("explaind")
        .pki_dir(NO_KEYS)
        .create_sample_keypair(false)
        .session_retry_limit(0)
        .recreate_subscriptions(false)
        .session_timeout(SESSION_TIMEOUT_MS)
        .request_timeout(PATIENCE)
        // A publish request is answered when there is news, so it outlives any other.
        .publish_timeout(Duration::from_secs(60) + publishing_interval.saturating_mul(10))
        .min_publish_interval(publishing_interval.min(Duration::from_millis(100)))
        .max_array_length(100_000);
    // The library reports the missing key files as errors; they are missing on purpose.
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), || builder.client())
        .map_err(|errors| errors.join("; "))
}

/// The endpoint without encryption that lets anonymous users in.
fn choose(offered: &[EndpointDescription]) -> Result<&EndpointDescription, String> {
    let open: Vec<_> = offered
        .iter()
        .filter(|endpoint| {
            endpoint.security_mode == MessageSecurityMode::None
                && matches!(endpoint.security_policy_uri.as_ref(), POLICY_NONE | "")
        })
        .collect();
    if open.is_empty() {
        let mut offers: Vec<_> = offered
            .iter()
            .map(|endpoint| {
                let policy = endpoint.security_policy_uri.as_ref();
                format!("{} {:?}", policy.rsplit('#').next().unwrap_or(policy), endpoint.security_mode)
            })
            .collect();
        offers.dedup();
        let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
        return Err(format!("it offers no endpoint with security policy None, only {offers}"));
    }
    let anonymous = |endpoint: &&&EndpointDescription| {
        let tokens = endpoint.user_identity_tokens.as_deref().unwrap_or_default();
        tokens.iter().any(|token| token.token_type == UserTokenType::Anonymous)
    };
    open.iter()
        .find(anonymous)
        .copied()
        .ok_or_else(|| "it lets no anonymous users in, and a password is not sent without encryption".to_owned())
}

/// The library shows errors of the system as `Os { code: 111, …, message: "Connection refused" }`; people need the message.
fn explain(error: &Error) -> String {
    let text = error.to_string();
    let message = text.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"')).map(|(message, _)| message);
    message.map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use opcua::types::UserTokenPolicy;

    use super::*;

    fn endpoint(policy: &str, mode: MessageSecurityMode, token: UserTokenType) -> EndpointDescription {
        EndpointDescription {
            security_policy_uri: format!("http://opcfoundation.org/UA/SecurityPolicy#{policy}").into(),
            security_mode: mode,
            user_identity_tokens: Some(vec![UserTokenPolicy { token_type: token, ..UserTokenPolicy::default() }]),
            ..EndpointDescription::default()
        }
    }

    #[test]
    fn only_an_open_endpoint_for_anonymous_users_will_do() {
        let secure = endpoint("Basic256Sha256", MessageSecurityMode::SignAndEncrypt, UserTokenType::Anonymous);
        let named = endpoint("None", MessageSecurityMode::None, UserTokenType::UserName);
        let open = endpoint("None", MessageSecurityMode::None, UserTokenType::Anonymous);
        let all = [secure.clone(), named.clone(), open.clone()];
        assert_eq!(choose(&all), Ok(&open));
        let error = choose(&[secure]).unwrap_err();
        assert!(error.contains("only Basic256Sha256 SignAndEncrypt"), "{error}");
        assert!(choose(&[named]).unwrap_err().contains("no anonymous users"));
        assert!(choose(&[]).unwrap_err().contains("only nothing"));
    }
}
