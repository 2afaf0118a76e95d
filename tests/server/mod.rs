//! A real HTTP(S) server on loopback that can behave as badly as the worst on the
//! internet. Shared by the tests of the download and those of the program.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::expect_used,
    unreachable_pub,
    reason = "a failed expectation is a failed test"
)]

mod answer;
mod connection;
mod content;
mod proxy;
mod tls;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use answer::Answer;
pub use content::Content;
pub use proxy::Proxy;
pub use tls::Authority;

/// Nobody's test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub method: String,
    pub path: String,
    /// First byte asked for, where only a part was.
    pub from: Option<u64>,
    pub if_range: Option<String>,
    pub status: u16,
    /// Bytes of the body that were sent.
    pub sent: u64,
}

/// The requests so far.
#[derive(Default)]
pub(crate) struct Asks {
    answered: Vec<Ask>,
    /// How many are being answered.
    unfinished: usize,
}

/// What the connections share.
pub(crate) struct Shared {
    answers: Mutex<HashMap<String, Arc<Answer>>>,
    asks: Mutex<Asks>,
    answered: Condvar,
    stop: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// The server; ends when it is dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    pub fn http() -> Self {
        Self::start(None)
    }

    pub fn https(authority: &Authority) -> Self {
        Self::start(Some(authority.server()))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            asks: Mutex::default(),
            answered: Condvar::new(),
            stop: AtomicBool::new(false),
            tls,
        });
        let listening = Arc::clone(&shared);
        let listener = thread::spawn(move || {
            for stream in listener.incoming() {
                if listening.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&listening)) else {
                    continue;
                };
                thread::spawn(move || connection::serve(stream, &shared));
            }
        });
        Self {
            address,
            shared,
            listener: Some(listener),
        }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// What `path` answers from now on.
    pub fn serve(&self, path: &str, answer: Answer) {
        lock(&self.shared.answers).insert(path.to_owned(), Arc::new(answer));
    }

    /// All requests so far that were answered. Who asked may have the last byte before
    /// we know that it is sent, so those that are being answered are waited for; not
    /// those on which we fell silent.
    pub fn asks(&self) -> Vec<Ask> {
        let asks = lock(&self.shared.asks);
        let waited = self
            .shared
            .answered
            .wait_timeout_while(asks, PATIENCE, |asks| asks.unfinished > 0);
        let (asks, _) = waited.unwrap_or_else(PoisonError::into_inner);
        asks.answered.clone()
    }

    /// Those for one path.
    pub fn asks_for(&self, path: &str) -> Vec<Ask> {
        let mut asks = self.asks();
        asks.retain(|ask| ask.path == path);
        asks
    }

    /// Bytes of bodies that were sent for a path.
    pub fn sent(&self, path: &str) -> u64 {
        self.asks_for(path).iter().map(|ask| ask.sent).sum()
    }
}

impl Shared {
    /// Takes note that answering a request begins, or goes on.
    fn begin(&self) {
        lock(&self.asks).unfinished += 1;
    }

    /// Takes note that it is over, or halts for good.
    fn end(&self, ask: Option<Ask>) {
        let mut asks = lock(&self.asks);
        asks.answered.extend(ask);
        asks.unfinished -= 1;
        self.answered.notify_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
