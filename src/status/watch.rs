//! Many nodes at a time, again and again.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

use super::{Found, Reach, State, Wanted, http, names, ssh};
use crate::interrupt::{Interrupt, Interrupted};

/// Nodes asked at a time: each is a process of ssh, which mostly waits.
const AT_A_TIME: usize = 32;
/// Between two times that a node is asked.
const PAUSE: Duration = Duration::from_secs(3);
/// A node on the same network accepts within milliseconds.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

/// Whom to ask, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes.
    pub nodes: Vec<Wanted>,
    /// The monitoring host, if there is one.
    pub watcher: Option<Watcher>,
    /// How long to ask again; zero to ask once.
    pub wait: Duration,
}

/// The monitoring host.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// The node; only its addresses count.
    pub node: Wanted,
    /// Whether it runs Grafana.
    pub grafana: bool,
}

/// What the monitoring host says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Which nodes Prometheus reaches, by hostname; why it says nothing.
    pub prometheus: Option<Result<BTreeMap<String, bool>, String>>,
    /// Whether Grafana is up, where it should be; why not.
    pub grafana: Option<Result<(), String>>,
}

/// What was found at last.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For each node of [`Options::nodes`].
    pub nodes: Vec<(Found, State)>,
    /// The monitoring host's view.
    pub watch: Watch,
}

enum Task {
    Node(usize),
    Watcher,
}

enum Answer {
    Node(usize, Box<io::Result<Found>>),
    Watcher(Watch),
}

/// Asks all nodes until all that can change has, or the time is up. Each change
/// is told to `changed`, by the node's index.
///
/// # Errors
/// [`Interrupted`], and where ssh cannot be started.
pub fn watch(
    options: &Options,
    interrupt: &Interrupt,
    changed: &mut dyn FnMut(usize, &State, &Found),
) -> anyhow::Result<Outcome> {
    let end = Instant::now() + options.wait;
    let mut round = Round::start(options);
    loop {
        interrupt.check().map_err(|Interrupted| Interrupted)?;
        match round.answers.recv_timeout(Duration::from_millis(100)) {
            Ok(Answer::Node(index, found)) => {
                let found = found.map_err(|error| anyhow::anyhow!("running ssh: {error}"))?;
                round.nodes[index] = Some(found);
                round.asked_again(Task::Node(index));
                round.tell(index, changed);
            }
            Ok(Answer::Watcher(watch)) => {
                round.watch = Some(watch);
                round.asked_again(Task::Watcher);
                for index in 0..options.nodes.len() {
                    round.tell(index, changed);
                }
            }
            // Workers end after this loop only.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if round.is_complete() && (round.is_over() || Instant::now() >= end) {
            return Ok(round.finish());
        }
        round.ask_due(Instant::now() < end);
    }
}

struct Round<'a> {
    options: &'a Options,
    tasks: Sender<Task>,
    answers: Receiver<Answer>,
    /// What is to be asked again, and when.
    due: Vec<(Instant, Task)>,
    nodes: Vec<Option<Found>>,
    watch: Option<Watch>,
    told: Vec<Option<State>>,
    /// Asked and not answered.
    open: usize,
}

impl<'a> Round<'a> {
    fn start(options: &'a Options) -> Self {
        let (tasks, queue) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let shared = Arc::new(options.clone());
        // Not scoped: nobody waits for a name server when the user wants to stop.
        for _ in 0..AT_A_TIME.min(options.nodes.len() + 1) {
            let (queue, answer, options) =
                (Arc::clone(&queue), answer.clone(), Arc::clone(&shared));
            thread::spawn(move || work(&queue, &answer, &options));
        }
        let mut due: Vec<(Instant, Task)> = Vec::new();
        let now = Instant::now();
        due.extend((0..options.nodes.len()).map(|index| (now, Task::Node(index))));
        due.extend(options.watcher.iter().map(|_| (now, Task::Watcher)));
        let mut round = Self {
            options,
            tasks,
            answers,
            due,
            nodes: vec![None; options.nodes.len()],
            watch: None,
            told: vec![None; options.nodes.len()],
            open: 0,
        };
        round.ask_due(true);
        round
    }

    fn asked_again(&mut self, task: Task) {
        self.open -= 1;
        self.due.push((Instant::now() + PAUSE, task));
    }

    /// Asks what is due; `again` is whether there is time for a second asking.
    fn ask_due(&mut self, again: bool) {
        let now = Instant::now();
        let mut later = Vec::new();
        for (at, task) in std::mem::take(&mut self.due) {
            let wants = match task {
                Task::Node(index) => match &self.nodes[index] {
                    None => true,
                    Some(_) => again && !self.is_settled(index),
                },
                Task::Watcher => self.watch.is_none() || again,
            };
            if at > now {
                later.push((at, task));
            } else if wants && self.tasks.send(task).is_ok() {
                self.open += 1;
            }
        }
        self.due = later;
    }

    /// Whether asking this node itself again would change nothing: what only
    /// Prometheus can change is Prometheus' to say.
    fn is_settled(&self, index: usize) -> bool {
        let wanted = &self.options.nodes[index];
        let found = self.nodes[index].as_ref();
        found.is_some_and(|found| State::of(wanted, found, false).is_final())
    }

    fn state(&self, index: usize) -> Option<(Found, State)> {
        let wanted = &self.options.nodes[index];
        let mut found = self.nodes[index].clone()?;
        if let Some(Watch {
            prometheus: Some(Ok(up)),
            ..
        }) = &self.watch
        {
            found.scraped = Some(up.get(&wanted.hostname).copied().unwrap_or(false));
        }
        let watched = wanted.exporter && self.options.watcher.is_some();
        let state = State::of(wanted, &found, watched);
        Some((found, state))
    }

    fn tell(&mut self, index: usize, changed: &mut dyn FnMut(usize, &State, &Found)) {
        let Some((found, state)) = self.state(index) else {
            return;
        };
        // Whether it is well is Prometheus' to say, who was not asked yet.
        if found.reach == Reach::In && self.watch.is_none() && self.options.watcher.is_some() {
            return;
        }
        if self.told[index].as_ref() != Some(&state) {
            changed(index, &state, &found);
            self.told[index] = Some(state);
        }
    }

    /// Whether everybody was asked, and nobody is being asked.
    fn is_complete(&self) -> bool {
        let watch = self.watch.is_some() || self.options.watcher.is_none();
        self.open == 0 && watch && self.nodes.iter().all(Option::is_some)
    }

    /// Whether nothing will change any more.
    fn is_over(&self) -> bool {
        let is_final = |index| self.state(index).is_some_and(|(_, state)| state.is_final());
        let grafana = self.watch.as_ref().and_then(|watch| watch.grafana.as_ref());
        (0..self.nodes.len()).all(is_final) && grafana.is_none_or(Result::is_ok)
    }

    fn finish(self) -> Outcome {
        let nodes = (0..self.nodes.len()).filter_map(|index| self.state(index));
        Outcome {
            nodes: nodes.collect(),
            watch: self.watch.unwrap_or_default(),
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>, answer: &Sender<Answer>, options: &Options) {
    let agent = http::agent();
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let result = match task {
            Ok(Task::Node(index)) => {
                Answer::Node(index, Box::new(ask(&options.nodes[index], &agent)))
            }
            Ok(Task::Watcher) => Answer::Watcher(ask_watcher(options, &agent)),
            Err(_) => return,
        };
        if answer.send(result).is_err() {
            return;
        }
    }
}

/// Everything about one node, once.
fn ask(wanted: &Wanted, agent: &Agent) -> io::Result<Found> {
    let mut found = Found {
        route: None,
        reach: Reach::Silent,
        told: None,
        exporter: None,
        scraped: None,
    };
    let routes = match names::routes(wanted) {
        Ok(routes) => routes,
        Err(why) => {
            found.reach = Reach::NoAddress(why);
            return Ok(found);
        }
    };
    found.route = routes.first().copied();
    for route in routes {
        let at = SocketAddr::from((route.address, 22));
        match TcpStream::connect_timeout(&at, CONNECT_PATIENCE) {
            Ok(_) => {
                found.route = Some(route);
                (found.reach, found.told) = ssh::ask(wanted, route)?;
                break;
            }
            // A machine is there and says no.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                found.route = Some(route);
                found.reach = Reach::NotYet("no sshd yet".to_owned());
            }
            Err(_) => {}
        }
    }
    let is_node = !matches!(found.reach, Reach::Impostor(_) | Reach::Silent);
    if wanted.exporter && is_node {
        let route = found.route.as_ref();
        found.exporter = route.map(|route| http::exporter(agent, route.address));
    }
    Ok(found)
}

fn ask_watcher(options: &Options, agent: &Agent) -> Watch {
    let Some(watcher) = &options.watcher else {
        return Watch::default();
    };
    let routes = match names::routes(&watcher.node) {
        Ok(routes) => routes,
        Err(why) => {
            return Watch {
                prometheus: Some(Err(why)),
                grafana: None,
            };
        }
    };
    let mut watch = Watch::default();
    for route in routes {
        let prometheus = http::scraped(agent, route.address);
        let is_there = prometheus.is_ok();
        watch.prometheus = Some(prometheus);
        watch.grafana = watcher.grafana.then(|| http::grafana(agent, route.address));
        if is_there {
            break;
        }
    }
    watch
}
