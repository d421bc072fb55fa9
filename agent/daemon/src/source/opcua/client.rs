//! The subscription: which nodes are watched, what their values become, and when the silence has lasted too long.

use std::time::Duration;

use explaind_core::domain::sample::SignalId;
use explaind_core::domain::time::Now;
use opcua::types::{
    DataChangeNotification, DataValue, ExtensionObject, MonitoredItemCreateRequest, MonitoringMode,
    MonitoringParameters, NamespaceMap, NodeId, NotificationMessage, ReadValueId, StatusChangeNotification, StatusCode,
    TimestampsToReturn, VariableId,
};
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::convert::{name, to_sample};
use super::{Config, Signal};
use crate::clock;
use crate::source::link::{Ending, Link};
use crate::source::{bad_sample, status};

/// The heartbeat's handle; signals have their index plus one.
const HEARTBEAT: u32 = u32::MAX;
/// How often the heartbeat is wanted.
const HEARTBEAT_MS: f64 = 1000.0;
/// The shortest silence that ends a connection.
const SILENCE: Duration = Duration::from_secs(5);
/// How soon a node that the server refused is asked for again.
const RETRY: Duration = Duration::from_secs(60);
/// Monitored items in one request; servers limit it.
const ITEMS_AT_ONCE: usize = 500;
/// Values that the server may keep of one item between two reports.
const QUEUE: u32 = 10;

/// Serves one connection.
pub(in crate::source) async fn run(config: &Config, link: &Link) -> Result<(), Ending> {
    let mut connection = tokio::select! {
        () = link.stopped() => return Err(Ending::Stopped),
        connection = Connection::open(&config.url.0, config.publishing_interval) => connection?,
    };
    link.waiting("connected; no data has arrived yet");
    let ending = tokio::select! {
        () = link.stopped() => Err(Ending::Stopped),
        ending = serve(config, link, &mut connection) => ending,
    };
    connection.close().await;
    ending
}

async fn serve(config: &Config, link: &Link, connection: &mut Connection) -> Result<(), Ending> {
    // Everything from here on comes from this session: it vouches for all values that follow.
    let connected = clock::now();
    let (subscription, interval) = connection.subscribe(config.publishing_interval).await?;
    let mut watch = Watch::new(config, link, connection, subscription, connected);
    watch.heartbeat().await?;
    watch.want_all().await?;
    let silence = SILENCE.max(interval * 3);
    let mut heard = Instant::now();
    let mut retry = Instant::now() + RETRY;
    loop {
        let heard_anything = watch.deliver().await?;
        if heard_anything {
            // Counted from when the driver took it: waiting for the driver is not the server's silence.
            heard = Instant::now();
        }
        tokio::select! {
            biased;
            event = watch.connection.next() => { event?; }
            () = sleep_until(heard + silence) => {
                return Err(Ending::Lost(format!("{} has sent nothing for {silence:?}", config.url.0)));
            }
            () = sleep_until(retry) => {
                watch.want_all().await?;
                retry = Instant::now() + RETRY;
            }
        }
    }
}

/// The watched nodes of one connection.
struct Watch<'a> {
    link: &'a Link,
    signals: &'a [Signal],
    ids: Vec<SignalId>,
    connection: &'a mut Connection,
    subscription: u32,
    connected: Now,
    /// Per signal the server's id of its monitored item; `None` while it is not watched.
    items: Vec<Option<u32>>,
    /// Whether any signal's value has come over this connection. A heartbeat alone does not make a source up.
    flowing: bool,
}

impl<'a> Watch<'a> {
    fn new(
        config: &'a Config,
        link: &'a Link,
        connection: &'a mut Connection,
        subscription: u32,
        connected: Now,
    ) -> Self {
        let ids = config.signals.iter().map(|signal| SignalId::new(link.name(), &signal.name)).collect();
        let items = vec![None; config.signals.len()];
        Self { link, signals: &config.signals, ids, connection, subscription, connected, items, flowing: false }
    }

    /// Subscribes to the server's clock: the one node that changes even when the plant stands still.
    async fn heartbeat(&mut self) -> Result<(), Ending> {
        let clock: NodeId = VariableId::Server_ServerStatus_CurrentTime.into();
        let results = self.create(vec![request(clock, HEARTBEAT, HEARTBEAT_MS, 1)]).await?;
        match results.first() {
            Some(Ok(_)) => Ok(()),
            Some(Err(status)) => Err(Ending::Lost(format!("the server does not show its clock: {}", name(*status)))),
            None => Err(Ending::Lost("the server did not answer which nodes it watches".to_owned())),
        }
    }

    /// Subscribes to every signal that is not watched yet. What the server refuses is reported and left for later.
    async fn want_all(&mut self) -> Result<(), Ending> {
        let missing: Vec<_> =
            self.items.iter().enumerate().filter(|(_, item)| item.is_none()).map(|(index, _)| index).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let namespaces = self.namespaces().await?;
        let mut wanted = Vec::new();
        let mut refused = Vec::new();
        for index in missing {
            match self.signals[index].node.resolve(&namespaces) {
                Ok(node) => wanted.push((index, node)),
                Err(fault) => refused.push((index, status::BAD_NODE_ID_UNKNOWN, fault)),
            }
        }
        for group in wanted.chunks(ITEMS_AT_ONCE) {
            let requests =
                group.iter().map(|(index, node)| request(node.clone(), handle(*index), -1.0, QUEUE)).collect();
            let results = self.create(requests).await?;
            for ((index, _), result) in group.iter().zip(results) {
                match result {
                    Ok(item) => {
                        self.items[*index] = Some(item);
                        self.link.fine(&self.signals[*index].name);
                    }
                    Err(code) => {
                        let fault = format!("the server refuses {}: {}", self.signals[*index].node, name(code));
                        refused.push((*index, code.bits(), fault));
                    }
                }
            }
        }
        self.refuse(refused).await
    }

    /// Tells the driver and the status page about signals that cannot be watched.
    async fn refuse(&mut self, refused: Vec<(usize, u32, String)>) -> Result<(), Ending> {
        let arrival = clock::now();
        let mut samples = Vec::with_capacity(refused.len());
        for (index, code, fault) in refused {
            self.link.trouble(&self.signals[index].name, &fault);
            samples.push(bad_sample(&self.ids[index], code, None, arrival));
        }
        self.link.samples(samples).await?;
        if self.items.iter().all(Option::is_none) {
            self.link.waiting("connected, but the server refuses every node; compare the node ids with the server's");
        }
        Ok(())
    }

    async fn namespaces(&mut self) -> Result<NamespaceMap, Ending> {
        if !self.signals.iter().any(|signal| signal.node.needs_namespaces()) {
            return Ok(NamespaceMap::new());
        }
        let session = self.connection.session.clone();
        self.connection.ask("read its namespaces", session.read_namespace_array()).await
    }

    async fn create(
        &mut self,
        requests: Vec<MonitoredItemCreateRequest>,
    ) -> Result<Vec<Result<u32, StatusCode>>, Ending> {
        let session = self.connection.session.clone();
        let create = session.create_monitored_items(self.subscription, TimestampsToReturn::Both, requests);
        let created = self.connection.ask("watch nodes", create).await?;
        let item = |result: StatusCode, id| if result.is_bad() { Err(result) } else { Ok(id) };
        Ok(created.into_iter().map(|made| item(made.result.status_code, made.result.monitored_item_id)).collect())
    }

    /// Hands on what has come in; says whether anything has.
    async fn deliver(&mut self) -> Result<bool, Ending> {
        let mut heard = false;
        for message in self.connection.take_inbox() {
            heard = true;
            self.notify(message).await?;
        }
        Ok(heard)
    }

    async fn notify(&mut self, message: NotificationMessage) -> Result<(), Ending> {
        let arrival = clock::now();
        let mut alive = false;
        let mut samples = Vec::new();
        let mut gone = Vec::new();
        for body in message.notification_data.into_iter().flatten() {
            for item in changes(body)? {
                if item.0 == HEARTBEAT {
                    alive = item.1.status.is_none_or(|status| !status.is_bad());
                    continue;
                }
                let Some(index) = index(item.0).filter(|index| *index < self.signals.len()) else { continue };
                let unknown = item.1.status == Some(StatusCode::BadNodeIdUnknown);
                let (sample, fault) = to_sample(&self.ids[index], item.1, arrival);
                samples.push(sample);
                match fault {
                    _ if unknown => gone.push(index),
                    Some(fault) => self.link.trouble(&self.signals[index].name, &fault),
                    None => self.link.fine(&self.signals[index].name),
                }
            }
        }
        self.flowing |= !samples.is_empty();
        self.link.samples(samples).await?;
        if alive {
            self.link.alive(self.connected).await?;
        }
        self.forget(gone).await?;
        if self.flowing && self.items.iter().any(Option::is_some) {
            self.link.up();
        }
        Ok(())
    }

    /// Nodes that the server has deleted under us: their items are given back, and they are asked for again later.
    async fn forget(&mut self, gone: Vec<usize>) -> Result<(), Ending> {
        let mut items = Vec::new();
        for index in gone {
            let fault = format!("the server no longer has {}", self.signals[index].node);
            self.link.trouble(&self.signals[index].name, &fault);
            items.extend(self.items[index].take());
        }
        if items.is_empty() {
            return Ok(());
        }
        let session = self.connection.session.clone();
        let delete = session.delete_monitored_items(self.subscription, &items);
        self.connection.ask("unwatch a node", delete).await.map(|_| ())
    }
}

fn request(node: NodeId, handle: u32, sampling_ms: f64, queue_size: u32) -> MonitoredItemCreateRequest {
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::from(node),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: handle,
            // Negative: as often as the server publishes (OPC UA Part 4, 5.13.1.2).
            sampling_interval: sampling_ms,
            filter: ExtensionObject::null(),
            queue_size,
            discard_oldest: true,
        },
    }
}

fn handle(index: usize) -> u32 {
    u32::try_from(index).map_or(HEARTBEAT, |index| index.saturating_add(1))
}

fn index(handle: u32) -> Option<usize> {
    usize::try_from(handle.checked_sub(1)?).ok()
}

/// The changed values in one part of a notification, by handle.
fn changes(body: ExtensionObject) -> Result<Vec<(u32, DataValue)>, Ending> {
    if let Some(change) = body.inner_as::<StatusChangeNotification>() {
        return Err(Ending::Lost(format!("the server ended the subscription: {}", name(change.status))));
    }
    let changes = body.into_inner_as::<DataChangeNotification>().map(|data| data.monitored_items);
    Ok(changes.flatten().unwrap_or_default().into_iter().map(|item| (item.client_handle, item.value)).collect())
}
