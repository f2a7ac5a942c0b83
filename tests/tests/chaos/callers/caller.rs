//! One caller, and what all of them share.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use prost_reflect::DynamicMessage;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use rstuf_api::{Reason, Refusal};
use rstuf_runtime::Channel;
use rstuf_tests::processes::Service;
use rstuf_tuf::Layout;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tonic::Code;

use super::{
    aimed::Aim,
    calls::{self, Method, call},
    known::Known,
    messages,
};
use crate::support::is_transient;

/// Streams that one caller keeps open and says nothing on.
const SILENT_MAX: usize = 4;
/// Calls that are kept, to be made again.
const REPLAYED_MAX: usize = 64;
/// No call takes longer to be answered.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Faults that are told.
const FAULTS_MAX: usize = 10;

/// What no caller can bring about, because nothing is set aside where the signers' limits stay: refused by this name.
const REFUSED: [(&str, Refusal); 1] = [("RetryTask", Refusal::TaskNotSetAside)];

/// What came of all calls.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) codes: BTreeMap<String, BTreeMap<String, usize>>,
    pub(crate) refusals: BTreeMap<String, usize>,
    faults: Vec<String>,
}

/// What callers share.
pub(crate) struct Play {
    pub(crate) methods: Vec<Method>,
    pub(crate) layout: Layout,
    pub(crate) urls: BTreeMap<Service, String>,
    pub(crate) steps: usize,
    pub(crate) done: AtomicUsize,
    /// Counts kills: what broke around one is no answer.
    pub(crate) kills: AtomicUsize,
    pub(crate) tally: Arc<Mutex<Tally>>,
}

impl Tally {
    /// Nothing was the services' fault, and every method was called and did something.
    pub(crate) fn check(&self, methods: &[Method]) -> anyhow::Result<()> {
        ensure!(self.faults.is_empty(), "{:#?}", self.faults);
        for method in methods.iter().map(Method::name) {
            let codes = self.codes.get(&method).with_context(|| format!("{method} was not called"))?;
            let refusal = REFUSED.iter().find(|(refused, _)| method.ends_with(refused));
            let is_answered = match refusal {
                Some((_, reason)) => self.refusals.contains_key(&reason.to_string()),
                None => codes.contains_key("Ok"),
            };
            ensure!(is_answered, "{method} was never answered: {codes:?}");
        }
        Ok(())
    }
}

impl Play {
    /// Whether all steps are done; there are more, within reason, until every method was answered.
    fn is_over(&self) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        done >= self.steps * 4 || (done >= self.steps && self.tally.lock().unwrap().check(&self.methods).is_ok())
    }

    fn count(&self, method: &Method, answer: &calls::Answer, in_peace: bool) {
        let code = answer.code();
        let reason = answer.error.as_ref().and_then(Reason::of).map(|reason| reason.name);
        // A connection may also be found broken a while after whoever was at its other end died.
        let is_broken = answer.error.as_ref().is_some_and(|it| it.source().is_some());
        if (is_broken || is_transient(code)) && reason.is_none() && !in_peace {
            return;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        let mut tally = self.tally.lock().unwrap();
        *tally.codes.entry(method.name()).or_default().entry(format!("{code:?}")).or_default() += 1;
        if let Some(reason) = reason {
            *tally.refusals.entry(reason.to_string()).or_default() += 1;
        }
        let is_odd = matches!(code, Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented);
        if (reason == Some(Refusal::Internal) || (in_peace && is_odd && !is_broken)) && tally.faults.len() < FAULTS_MAX
        {
            tally.faults.push(format!("{}: {:?}", method.name(), answer.error));
        }
    }
}

/// One caller.
pub(crate) struct Caller {
    play: Arc<Play>,
    channels: BTreeMap<Service, Channel>,
    known: Known,
    random: StdRng,
    replayed: VecDeque<(Method, Vec<Bytes>)>,
    silent: JoinSet<()>,
}

impl Caller {
    pub(crate) fn new(play: Arc<Play>, known: Known, random: StdRng) -> anyhow::Result<Self> {
        let channels = calls::channels(&play.urls)?;
        Ok(Self { play, channels, known, random, replayed: VecDeque::new(), silent: JoinSet::new() })
    }

    /// Until all steps are done.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        while !self.play.is_over() {
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let play = Arc::clone(&self.play);
        let asks = |method: &&Method| ["Sign", "Load"].iter().any(|it| method.descriptor.name().starts_with(it));
        let signs: Vec<_> = play.methods.iter().filter(asks).collect();
        // What changes most gets more of all.
        let signs = signs.choose(&mut self.random).copied().filter(|_| self.random.random_bool(0.4));
        let method = signs.or_else(|| play.methods.choose(&mut self.random)).context("no method")?;
        match self.random.random_range(0..20) {
            0 => {
                let again = self.replayed.get(self.random.random_range(0..REPLAYED_MAX)).cloned();
                let Some((method, messages)) = again else { return Ok(()) };
                self.call(&method, messages, true).await
            }
            1 => self.be_silent(method),
            2..8 => {
                let messages = self.any(method)?;
                let read = self.random.random_bool(0.9);
                self.call(method, messages, read).await
            }
            _ => {
                self.look_first(method).await?;
                let messages = self.aimed(method)?;
                let read = self.random.random_bool(0.95);
                self.call(method, messages, read).await
            }
        }
    }

    /// Whoever wants to be answered finds out how things are, mostly.
    async fn look_first(&mut self, method: &Method) -> anyhow::Result<()> {
        let looks: &[(Service, &str)] = match method.descriptor.name() {
            "SignTargets" => &[(Service::Targets, "ListRoleStates")],
            "SignSnapshot" => &[(Service::Snapshot, "ListRoleStates"), (Service::Targets, "GetDocuments")],
            "SignTimestamp" => &[(Service::Timestamp, "ListRoleStates"), (Service::Snapshot, "GetDocuments")],
            "GetDocuments" | "LoadDocuments" => &[(method.at, "ListRoleStates")],
            _ => &[],
        };
        let play = Arc::clone(&self.play);
        for (at, name) in looks {
            let first = play.methods.iter().find(|it| it.at == *at && it.descriptor.name() == *name);
            let first = first.context("no such method")?;
            if self.random.random_bool(0.7) {
                let aim = Aim { known: &self.known, layout: play.layout, random: &mut self.random }.at(first);
                self.call(first, aim.unwrap_or_else(|| vec![Bytes::new()]), true).await?;
            }
        }
        Ok(())
    }

    /// Messages of the right types.
    fn any(&mut self, method: &Method) -> anyhow::Result<Vec<Bytes>> {
        let count = if method.descriptor.is_client_streaming() { self.random.random_range(0..4) } else { 1 };
        let message = |_| messages::any(&method.descriptor.input(), &self.known, &mut self.random);
        let made: Vec<_> = (0..count).map(message).collect();
        Ok(made.iter().map(|message| Bytes::from(prost::Message::encode_to_vec(message))).collect())
    }

    /// Messages that stand a chance, one of which is sometimes not as it should be.
    fn aimed(&mut self, method: &Method) -> anyhow::Result<Vec<Bytes>> {
        let aim = Aim { known: &self.known, layout: self.play.layout, random: &mut self.random }.at(method);
        let Some(mut made) = aim else { return self.any(method) };
        if self.random.random_bool(0.25) {
            let which = self.random.random_range(0..made.len());
            let mut message = DynamicMessage::decode(method.descriptor.input(), made[which].clone())?;
            messages::alter(&mut message, &self.known, &mut self.random);
            made[which] = prost::Message::encode_to_vec(&message).into();
        }
        Ok(made)
    }

    async fn call(&mut self, method: &Method, messages: Vec<Bytes>, read: bool) -> anyhow::Result<()> {
        if self.random.random_bool(0.2) {
            self.replayed.push_front((method.clone(), messages.clone()));
            self.replayed.truncate(REPLAYED_MAX);
        }
        let kills = self.play.kills.load(Ordering::Acquire);
        let answer = call(&self.channels[&method.at], method, messages, read);
        let answer = tokio::time::timeout(ANSWER_MAX, answer).await;
        let answer = answer.with_context(|| format!("{} is not answered", method.name()))?;
        let in_peace = kills.is_multiple_of(2) && self.play.kills.load(Ordering::Acquire) == kills;
        self.play.count(method, &answer, in_peace);
        if answer.code() == Code::Unavailable && !in_peace {
            // It is down.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for message in answer.messages {
            let message = DynamicMessage::decode(method.descriptor.output(), message)?;
            self.known.learn(method.at, &message, &mut self.random);
        }
        Ok(())
    }

    /// Begins a call and says no more, on a connection of its own.
    fn be_silent(&mut self, method: &Method) -> anyhow::Result<()> {
        if self.silent.len() >= SILENT_MAX {
            self.silent = JoinSet::new();
        }
        let messages = self.aimed(method)?;
        let channel = rstuf_runtime::connect(&self.play.urls[&method.at])?;
        let method = method.clone();
        self.silent.spawn(async move {
            let messages = tokio_stream::iter(messages).chain(tokio_stream::pending());
            let _unread = calls::begin(&channel, &method, messages).await;
            std::future::pending().await
        });
        Ok(())
    }
}
