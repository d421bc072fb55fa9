//! A gateway with one alert, and a browser for it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONTENT_TYPE, HOST, SET_COOKIE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use axum::{Extension, Router};
use explaind_core::domain::alert::{
    AlarmState, AlertTransition, Cover, GATEWAY, Guidance, LONGEST_SHELVING, Priority, Unfit,
};
use explaind_core::domain::command::{Act, Command, Done, Refusal};
use explaind_core::domain::explanation::{Attribution, Explanation, Method as Way, Settlement};
use explaind_core::domain::extra::{Extra, Kind};
use explaind_core::domain::feedback::UserRole;
use explaind_core::domain::figures::Figures;
use explaind_core::domain::prediction::{Digest, Input, Outcome, Output, Prediction, Role, Space};
use explaind_core::domain::record::{Body as Content, NewRecord, Record, Stream};
use explaind_core::domain::sample::Quality;
use explaind_core::domain::time::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::desk::Desk;
use crate::buffer::{Buffer, Config as BufferConfig, Machine, SessionInfo};
use crate::clock;
use crate::mailbox::mailbox;
use crate::question::{About, Found, Question, Questions, Unanswered};
use crate::telemetry::Metrics;
use crate::web::access::Peer;
use crate::web::{Config, Feedback, Parts, Shared, UsersFile, Web, router};

/// What stands in stored text to see whether it ever becomes markup.
pub(super) const NASTY: &str = "<script>alert(1)</script>\"'&";

pub(super) struct Rig {
    pub(super) router: Router,
    pub(super) web: Shared,
    pub(super) folder: TempDir,
    pub(super) stop: CancellationToken,
    pub(super) desk: Desk,
}

/// An answer with its body read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    /// The sentence of a problem document.
    pub(super) fn detail(&self) -> String {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["detail"].as_str().unwrap().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With this `[web]` table, accounts for every role (name and role alike), and a driver that acknowledges.
    pub(super) async fn with(table: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = UsersFile::of(folder.path());
        for role in [UserRole::Viewer, UserRole::Technician, UserRole::Engineer, UserRole::Collector] {
            users.add(role.as_str(), role, "long enough", String::new()).unwrap();
        }
        let metrics = Metrics::new();
        let session = SessionInfo {
            gateway: "line-3".into(),
            agent_version: "0".into(),
            config_digest: "0".into(),
            boot_id: Uuid::nil(),
            machine: Machine::default(),
            first: 1,
        };
        let path = folder.path().join("buffer");
        let buffer = Buffer::open(&path, &BufferConfig::default(), session, clock::now(), metrics.clone()).unwrap();
        let (mailbox, letters) = mailbox();
        tokio::spawn(drive(buffer.clone(), letters));
        let (rollout, at_desk) = crate::mailbox::mailbox();
        let desk = Desk::default();
        tokio::spawn(desk.clone().answer(at_desk));
        let shown = desk.clone();
        let asked = buffer.clone();
        let questions = Questions::new(move |question| answer(&asked, question));
        let stop = CancellationToken::new();
        let parts = Parts {
            gateway: "line-3".into(),
            assets: vec!["press-7".into()],
            feedback: Feedback { causes: vec!["Sensor verschmutzt".into(), "Werkzeug verschlissen".into()] },
            buffer,
            mailbox,
            rollout,
            questions,
            metrics,
            status: Arc::new(super::standing::status),
            models: Arc::new(move || shown.now()),
            ready: Arc::new(|| Ok(())),
            state_dir: folder.path().to_owned(),
            sync: crate::sync::Config::default(),
            registry: false,
            config: toml::from_str::<Config>(table).unwrap(),
            stop: stop.clone(),
        };
        let web = Web::open(parts).unwrap();
        Self { router: router(&web), web, folder, stop, desk }
    }

    /// Sends a request as if it came over TCP from this machine.
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        self.send_as(Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST)), request).await
    }

    pub(super) async fn send_as(&self, peer: Peer, request: Request<Body>) -> Answer {
        let response = self.response(peer, request).await;
        let (parts, body) = response.into_parts();
        let bytes: Bytes = to_bytes(body, 1 << 22).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(super) async fn response(&self, peer: Peer, request: Request<Body>) -> Response {
        self.router.clone().layer(Extension(peer)).oneshot(request).await.unwrap()
    }

    pub(super) async fn sign_in(&self, user: &str) -> Browser<'_> {
        let form = format!("user={user}&password=long+enough");
        let answer = self.send(form_post("/sign-in", &form, &[])).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let mut browser = Browser { rig: self, cookie, csrf: String::new() };
        let page = browser.get("/").await.text;
        browser.csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap_or_default().chars().take(64).collect();
        browser
    }

    /// Stores a challenger's prediction.
    pub(super) fn shadow(&self, asset: &str) -> Uuid {
        let at = clock::now();
        let prediction = Prediction { role: Role::Shadow, alert: None, ..a_prediction(asset, Uuid::nil()) };
        let record = NewRecord { id: clock::mint(at), at, body: Content::Prediction(prediction) };
        let id = record.id;
        self.web.buffer.append(vec![record]).unwrap();
        id
    }

    /// Stores a prediction that raises an alert, and its explanation. Returns alert, prediction and explanation.
    pub(super) fn raise(&self, asset: &str) -> (Uuid, Uuid, Uuid) {
        let (alert, prediction) = self.raise_unexplained(asset);
        (alert, prediction, self.explain(prediction))
    }

    /// Stores an explanation of a prediction, and returns its id.
    pub(super) fn explain(&self, prediction: Uuid) -> Uuid {
        let explanation = clock::mint(clock::now());
        let settlement = Settlement::Explained { id: explanation, explanation: an_explanation() };
        self.web.buffer.settle(vec![(prediction, settlement)]).unwrap();
        explanation
    }

    /// Stores a prediction that raises an alert, and no explanation. Returns both.
    pub(super) fn raise_unexplained(&self, asset: &str) -> (Uuid, Uuid) {
        let now = clock::now();
        let (prediction, alert) = (clock::mint(now), clock::mint(now));
        let change = AlertTransition {
            alert_id: Some(alert),
            asset: asset.into(),
            model: "press-failure".into(),
            prediction_id: Some(prediction),
            from: AlarmState::Normal,
            to: AlarmState::Unacknowledged,
            cover: Cover::default(),
            priority: Priority::High,
            author: None,
            comment: None,
            reason: "probability 0.93 above 0.5".into(),
            raised: None,
            guidance: Guidance::default(),
        };
        let records = vec![
            NewRecord { id: prediction, at: now, body: Content::Prediction(a_prediction(asset, alert)) },
            NewRecord { id: alert, at: now, body: Content::Alert(change) },
        ];
        self.web.buffer.append(records).unwrap();
        (alert, prediction)
    }

    /// Stores so many alerts of as many machines, in one write, each with its prediction.
    pub(super) fn raise_many(&self, count: usize) {
        let now = clock::now();
        let raised = (0..count).flat_map(|number| {
            let (prediction, alert, asset) = (clock::mint(now), clock::mint(now), format!("machine-{number}"));
            let change = AlertTransition {
                alert_id: Some(alert),
                asset: asset.as_str().into(),
                model: "press-failure".into(),
                prediction_id: Some(prediction),
                from: AlarmState::Normal,
                to: AlarmState::Unacknowledged,
                cover: Cover::default(),
                priority: Priority::High,
                author: None,
                comment: None,
                reason: "probability 0.93 above 0.5".into(),
                raised: None,
                guidance: Guidance::default(),
            };
            let prediction =
                NewRecord { id: prediction, at: now, body: Content::Prediction(a_prediction(&asset, alert)) };
            [prediction, NewRecord { id: alert, at: now, body: Content::Alert(change) }]
        });
        self.web.buffer.append(raised.collect()).unwrap();
        let unsettled = self.web.buffer.unsettled();
        let settled = unsettled
            .iter()
            .map(|record| (record.id, Settlement::Explained { id: clock::mint(now), explanation: an_explanation() }));
        self.web.buffer.settle(settled.collect()).unwrap();
    }

    /// Stores that an alert's condition is gone.
    pub(super) fn clear(&self, id: Uuid, latching: bool) {
        let (now, alert) = (clock::now(), self.web.buffer.alert(id).unwrap());
        let change = AlertTransition {
            from: alert.state,
            to: alert.state.clear(latching),
            author: None,
            reason: "probability 0.1 below 0.4".into(),
            ..alert.seen_after_all(String::new(), None)
        };
        let record = NewRecord { id: clock::mint(now), at: now, body: Content::Alert(change) };
        self.web.buffer.append(vec![record]).unwrap();
    }

    /// Stores an alert of the gateway's own.
    pub(super) fn raise_own(&self, rule: &str) -> Uuid {
        let (now, alert) = (clock::now(), clock::mint(clock::now()));
        let change = AlertTransition {
            alert_id: Some(alert),
            asset: GATEWAY.into(),
            model: rule.into(),
            prediction_id: None,
            from: AlarmState::Normal,
            to: AlarmState::Unacknowledged,
            cover: Cover::default(),
            priority: Priority::High,
            author: None,
            comment: None,
            reason: "5 bytes are kept and 4 are allowed".into(),
            raised: None,
            guidance: Guidance::default(),
        };
        self.web.buffer.append(vec![NewRecord { id: alert, at: now, body: Content::Alert(change) }]).unwrap();
        alert
    }

    /// Stores what would clear an alert, and that it is like another one. Returns the ids of both.
    pub(super) fn add_extras(&self, prediction: Uuid, like: (Uuid, Uuid)) -> (Uuid, Uuid) {
        let (alert, of_alert) = like;
        let cases = format!(
            r#"{{"alerts":[{{"alert_id":"{alert}","prediction_id":"{of_alert}","asset":"press-7","distance":0.1}}],
                "background":[{{"row":3,"values":[1.0],"distance":0.2}}],"compared":7}}"#
        );
        let found = store_extra(&self.web.buffer, prediction, Kind::Counterfactuals, COUNTERFACTUALS);
        (found.id, store_extra(&self.web.buffer, prediction, Kind::Cases, &cases).id)
    }

    pub(super) fn records(&self, stream: Stream) -> Vec<Record> {
        self.web.buffer.read(stream, 0, 1000).unwrap()
    }
}

/// Somebody who is signed in.
pub(super) struct Browser<'a> {
    pub(super) rig: &'a Rig,
    pub(super) cookie: String,
    pub(super) csrf: String,
}

impl Browser<'_> {
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.rig.send(get(path, &[("cookie", &self.cookie)])).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.rig.send(self.json_post(path, &body.to_string())).await
    }

    pub(super) fn json_post(&self, path: &str, body: &str) -> Request<Body> {
        let headers =
            [("cookie", self.cookie.as_str()), ("x-csrf-token", &self.csrf), ("content-type", "application/json")];
        request(Method::POST, path, body, &headers)
    }

    pub(super) async fn form(&self, path: &str, fields: &str) -> Answer {
        let fields = format!("csrf={}&{fields}", self.csrf);
        self.rig.send(form_post(path, &fields, &[("cookie", &self.cookie)])).await
    }
}

pub(super) fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    request(Method::GET, path, "", headers)
}

pub(super) fn form_post(path: &str, form: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded"), ("origin", "http://localhost:8090")];
    all.extend_from_slice(headers);
    request(Method::POST, path, form, &all)
}

/// A request with a host, unless the headers name another.
pub(super) fn request(method: Method, path: &str, body: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str())) {
        request = request.header(HOST, "localhost:8090");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

/// For tests that need to see a page as a person would.
pub(super) const PERSON: (&str, &str) = ("accept", "text/html,application/xhtml+xml");

fn a_prediction(asset: &str, alert: Uuid) -> Prediction {
    let inputs = [("Torque [Nm]", 65.7), ("Tool wear [min]", 208.0), (NASTY, 1.0)];
    Prediction {
        asset: asset.into(),
        model: "press-failure".into(),
        model_version: "1.4.0".into(),
        model_digest: Digest([1; 32]),
        background_digest: Digest([2; 32]),
        role: Role::Champion,
        outcome: Outcome::Predicted(Output { value: 0.93, label: Some("failure".into()), probability: Some(0.93) }),
        source_time: None,
        inputs: inputs.iter().map(|(name, value)| Input { feature: (*name).into(), value: Some(*value) }).collect(),
        input_quality: Quality::Good,
        alert: Some(alert),
    }
}

fn an_explanation() -> Explanation {
    let share = |feature: &str, value, input, unit: &str, usual| Attribution {
        feature: feature.into(),
        value,
        standard_error: 0.0,
        input,
        unit: unit.into(),
        usual,
        category: None,
        intervals: Vec::new(),
        error: None,
    };
    Explanation {
        space: Space::Margin,
        base_value: -3.1,
        output: 2.59,
        attributions: vec![
            share("Torque [Nm]", 4.2, 65.7, "Nm", (27.1, 52.3)),
            share("Tool wear [min]", 1.6, 208.0, "min", (21.0, 192.0)),
            share(NASTY, -0.11, 1.0, NASTY, (0.0, 2.0)),
        ],
        method: Way::TreeShapley,
        evaluations: 0,
        additivity_gap: 1e-9,
        faithfulness: None,
    }
}

/// Answers as the explainer does: of one machine the model is gone, of another it has too much to do, and no model has
/// the space `value`.
fn answer(buffer: &Buffer, question: Question) -> bool {
    let Content::Prediction(prediction) = &question.prediction.body else { return false };
    let refused = match &*prediction.asset {
        "busy" => return false,
        "replaced" => Some(Unanswered::NotRunning),
        _ => None,
    };
    let stored = |kind, content: &str| store_extra(buffer, question.prediction.id, kind, content);
    match question.about {
        About::Counterfactuals(answer) => {
            let found = || Found::stored(&stored(Kind::Counterfactuals, COUNTERFACTUALS)).unwrap();
            answer.send(refused.map_or_else(|| Ok(found()), Err)).is_ok()
        }
        About::Space(Space::Value, answer) => {
            answer.send(Err(Unanswered::NoSuchSpace("this model has no value".to_owned()))).is_ok()
        }
        About::Space(space, answer) => {
            let explanation = Explanation { space, output: 0.93, base_value: 0.04, ..an_explanation() };
            let content = serde_json::to_string(&Figures::from(&explanation)).unwrap();
            let found = || Found::stored(&stored(Kind::Space(space), &content)).unwrap();
            answer.send(refused.map_or_else(|| Ok(found()), Err)).is_ok()
        }
    }
}

fn store_extra(buffer: &Buffer, prediction_id: Uuid, kind: Kind, content: &str) -> Arc<Record> {
    let at = clock::now();
    let extra = Extra { prediction_id, kind, content: content.to_owned() };
    let record = NewRecord { id: clock::mint(at), at, body: Content::Extra(extra) };
    buffer.append(vec![record]).unwrap().remove(0)
}

const COUNTERFACTUALS: &str = r#"{"outcome":"found","clear":"below 0.4","alternatives":[{"changes":[{"feature":
    "Torque [Nm]","unit":"Nm","from":65.7,"to":52.5,"category":null,"and_beyond":true}],"distance":1.1,"output":0.21}],
    "searched":["Torque [Nm]"],"at_most":3,"evaluations":40,"budget":1024,"complete":true}"#;

/// Does what people ask for as the driver does, as far as the buffer knows.
async fn drive(buffer: Buffer, mut letters: tokio::sync::mpsc::Receiver<crate::mailbox::Letter>) {
    while let Some(letter) = letters.recv().await {
        let done = carry_out(&buffer, letter.command);
        let _ = letter.answer.send(done);
    }
}

fn carry_out(buffer: &Buffer, command: Command) -> Result<Done, Refusal> {
    let (id, author, act) = match command {
        Command::Acknowledge { alert_id, author, comment } => (alert_id, author, Err(comment)),
        Command::Alarm { alert_id, author, act } => (alert_id, author, Ok(act)),
        other => panic!("{other:?}"),
    };
    let alert = buffer.alert(id).ok_or(Refusal::UnknownAlert(id))?;
    let (mut to, mut cover, at) = (alert.state, alert.cover, clock::now());
    let comment = match act {
        Err(comment) => {
            to = to.acknowledge();
            comment
        }
        Ok(Act::Reset { comment }) => {
            to = to.reset()?;
            comment
        }
        Ok(Act::Shelve { length, reason }) => {
            if length > LONGEST_SHELVING {
                return Err(Unfit::Length.into());
            }
            let micros = at.utc.as_micros() + i64::try_from(length.as_micros()).unwrap();
            cover.shelved_until = Some(Timestamp::from_micros(micros));
            Some(reason)
        }
        Ok(Act::Unshelve { comment }) => {
            cover.shelved_until.take().ok_or(Unfit::NotShelved)?;
            comment
        }
        Ok(Act::OutOfService { reason }) => {
            cover.out_of_service = true;
            Some(reason)
        }
        Ok(Act::InService { comment }) => {
            cover.out_of_service = false;
            comment
        }
    };
    let alert_id = Some(id).filter(|_| alert.state.is_open() || cover == alert.cover);
    let seen = alert.seen_after_all(author, comment);
    let change = AlertTransition { alert_id, from: alert.state, to, cover, ..seen };
    buffer.append(vec![NewRecord { id: clock::mint(at), at, body: Content::Alert(change) }]).unwrap();
    Ok(Done::Acknowledged { state: to })
}

/// How long a test waits for something that must come.
pub(super) const SOON: Duration = Duration::from_secs(10);
