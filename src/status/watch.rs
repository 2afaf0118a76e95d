//! Many nodes at a time, again and again.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::ask::Asker;
use super::{Found, Reach, Route, State, Wanted};
use crate::interrupt::Interrupt;

/// Nodes asked at a time: each is a process of ssh, which mostly waits.
const AT_A_TIME: usize = 32;
/// Between two times that a node is asked.
const PAUSE: Duration = Duration::from_secs(3);
/// The same where it did not let us in.
const LOCKED_OUT_PAUSE: Duration = Duration::from_secs(30);

/// Whom to ask, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes.
    pub nodes: Vec<Wanted>,
    /// How many of them, from the first on, were asked about. The monitoring host
    /// may be one more: what it says counts only if it is who it should be.
    pub shown: usize,
    /// The monitoring host, if there is one.
    pub watcher: Option<Watcher>,
    /// How long to ask again; zero to ask once.
    pub wait: Duration,
}

/// The monitoring host.
#[derive(Clone, Copy, Debug)]
pub struct Watcher {
    /// Which of [`Options::nodes`] it is.
    pub index: usize,
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
    /// Where it was asked.
    pub at: Option<IpAddr>,
}

impl Watch {
    /// Whether all of it is up that should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.prometheus.as_ref().is_none_or(Result::is_ok)
            && self.grafana.as_ref().is_none_or(Result::is_ok)
    }
}

/// Who is told of each change: the node's index, what it is, what was found.
pub type Changed<'c> = dyn FnMut(usize, &State, &Found) + 'c;

/// What was found at last.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// For each of [`Options::nodes`] that was asked about.
    pub nodes: Vec<(Found, State)>,
    /// The monitoring host's view.
    pub watch: Watch,
    /// The monitoring host itself, if there is one.
    pub host: Option<(Found, State)>,
}

impl Outcome {
    /// Whether another machine is where the monitoring host should be, so that nobody
    /// can say what that sees.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let is_other = |(_, state): &(Found, State)| matches!(state, State::Impostor(_));
        self.host.as_ref().is_some_and(is_other)
    }
}

enum Task {
    Node(usize),
    /// The monitoring host, where it let us in.
    Watcher(Route),
}

enum Answer {
    Node(usize, Box<io::Result<Found>>),
    Watcher(Route, Watch),
}

/// Asks all nodes until all that can change has, or the time is up. Each change
/// is told to `changed`, by the node's index.
///
/// # Errors
/// Where the user interrupts it, and where ssh cannot be started.
pub fn watch(
    options: &Options,
    interrupt: &Interrupt,
    changed: &mut Changed<'_>,
) -> anyhow::Result<Outcome> {
    // Settings for ssh; workers that are left behind lose their folder.
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let is_time = || began.elapsed() < options.wait;
    let mut round = Round::start(options, folder.path());
    loop {
        interrupt.check()?;
        match round.answers.recv_timeout(Duration::from_millis(100)) {
            Ok(Answer::Node(index, found)) => round.hear_node(index, (*found)?, changed),
            Ok(Answer::Watcher(route, watch)) => {
                round.open -= 1;
                round
                    .due
                    .push((Instant::now() + PAUSE, Task::Watcher(route)));
                round.hear_watch(watch, changed);
            }
            // Workers end after this loop only.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if round.is_complete() && (round.is_over() || !is_time()) {
            return Ok(round.finish());
        }
        round.ask_due(is_time());
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
    /// Whether the monitoring host let us in, so that it is asked what it sees.
    is_watching: bool,
    /// Asked and not answered.
    open: usize,
}

impl<'a> Round<'a> {
    fn start(options: &'a Options, folder: &Path) -> Self {
        let (tasks, queue) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let shared = Arc::new(options.clone());
        // Not scoped: nobody waits for a name server when the user wants to stop.
        for number in 0..AT_A_TIME.min(options.nodes.len() + 1) {
            let (queue, answer) = (Arc::clone(&queue), answer.clone());
            let (options, folder) = (Arc::clone(&shared), folder.join(number.to_string()));
            thread::spawn(move || work(&queue, &answer, &options, &folder));
        }
        let now = Instant::now();
        let all = 0..options.nodes.len();
        let mut round = Self {
            options,
            tasks,
            answers,
            due: all.map(|index| (now, Task::Node(index))).collect(),
            nodes: vec![None; options.nodes.len()],
            watch: None,
            told: vec![None; options.nodes.len()],
            is_watching: false,
            open: 0,
        };
        round.ask_due(true);
        round
    }

    fn hear_node(&mut self, index: usize, found: Found, changed: &mut Changed<'_>) {
        self.open -= 1;
        let pause = match found.reach {
            // sshd counts failed logins, and in the end refuses whoever goes on.
            Reach::LockedOut(_) => LOCKED_OUT_PAUSE,
            _ => PAUSE,
        };
        self.due.push((Instant::now() + pause, Task::Node(index)));
        let is_watcher = self.options.watcher.is_some_and(|host| host.index == index);
        // Its word counts once its key is known to be right.
        let way_in = found.route.filter(|_| found.reach == Reach::In);
        self.nodes[index] = Some(found);
        match way_in {
            Some(route) if is_watcher && !self.is_watching => {
                self.is_watching = true;
                self.watch = None;
                self.due.push((Instant::now(), Task::Watcher(route)));
            }
            None if is_watcher && !self.is_watching => {
                self.hear_watch(self.unreached(index), changed);
            }
            _ => {}
        }
        self.tell(index, changed);
    }

    /// The word of the monitoring host, which does not let us in.
    fn unreached(&self, index: usize) -> Watch {
        let why = self.state(index).map(|(_, state)| state.detail());
        let why = why.unwrap_or_default();
        let why = format!("the node itself was not reached: {why}");
        let has_grafana = self.options.watcher.is_some_and(|host| host.grafana);
        Watch {
            grafana: has_grafana.then(|| Err(why.clone())),
            prometheus: Some(Err(why)),
            at: None,
        }
    }

    fn hear_watch(&mut self, watch: Watch, changed: &mut Changed<'_>) {
        self.watch = Some(watch);
        for index in 0..self.options.shown {
            self.tell(index, changed);
        }
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
                Task::Watcher(_) => again || self.watch.is_none(),
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
            && wanted.exporter
        {
            found.scraped = Some(up.get(&wanted.hostname).copied().unwrap_or(false));
        }
        let watched = wanted.exporter && self.options.watcher.is_some();
        let state = State::of(wanted, &found, watched);
        Some((found, state))
    }

    fn tell(&mut self, index: usize, changed: &mut Changed<'_>) {
        let Some((found, state)) = self.state(index).filter(|_| index < self.options.shown) else {
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
        // What a host sees that does not let us in, and never will, nobody can say.
        let is_asked = self.watch.as_ref().is_some_and(|watch| watch.at.is_some());
        let host = self.options.watcher.filter(|_| !is_asked);
        if host.is_some_and(|host| self.is_settled(host.index)) {
            return (0..self.options.shown).all(|index| self.is_settled(index));
        }
        let is_final = |index| self.state(index).is_some_and(|(_, state)| state.is_final());
        (0..self.options.shown).all(is_final) && self.watch.as_ref().is_none_or(Watch::is_well)
    }

    fn finish(self) -> Outcome {
        let nodes = (0..self.options.shown).filter_map(|index| self.state(index));
        let host = self.options.watcher.map(|host| host.index);
        Outcome {
            nodes: nodes.collect(),
            host: host.and_then(|index| self.state(index)),
            watch: self.watch.unwrap_or_default(),
        }
    }
}

fn work(queue: &Mutex<Receiver<Task>>, answer: &Sender<Answer>, options: &Options, folder: &Path) {
    let asker = Asker::new(folder);
    loop {
        let task = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let result = match task {
            Ok(Task::Node(index)) => {
                Answer::Node(index, Box::new(asker.node(&options.nodes[index])))
            }
            Ok(Task::Watcher(route)) => {
                let grafana = options.watcher.is_some_and(|host| host.grafana);
                Answer::Watcher(route, asker.watcher(route, grafana))
            }
            Err(_) => return,
        };
        if answer.send(result).is_err() {
            return;
        }
    }
}
