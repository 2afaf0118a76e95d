//! The HTTP client: the system's CA certificates and proxies, no surprises.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{HeaderMap, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy, ProxyBuilder, ResponseExt as _, Timeout};

use super::FetchError;
use super::address::parse;
use crate::interrupt::Interrupt;

/// How the network is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Certificates that servers are checked by; `None` takes the system's.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// How long to wait, and how often to try again.
    pub patience: Patience,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            roots: None,
            patience: Patience::DEFAULT,
        }
    }
}

/// How long to wait for a server, and how often to try again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Silence after which a connection is taken for dead.
    pub silence: Duration,
    /// Attempts in a row that bring nothing.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each.
    pub pause: Duration,
    /// The longest pause, also where a server asks for more.
    pub longest_pause: Duration,
}

impl Patience {
    const DEFAULT: Self = Self {
        silence: Duration::from_secs(30),
        attempts: 6,
        pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(60),
    };
}

/// How often the wish to stop is looked for.
const POLL: Duration = Duration::from_millis(50);

/// Asks servers.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    pub(super) patience: Patience,
}

/// What to ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    /// Ask for the head of the answer alone.
    pub(super) only_head: bool,
    /// Bytes that are here already.
    pub(super) from: u64,
    /// Send the rest only if the whole is still this; otherwise all of it.
    pub(super) if_range: Option<&'a str>,
    /// Send it only if it is not this.
    pub(super) if_none_match: Option<&'a str>,
    /// Time for all of it; without, only silence is not borne.
    pub(super) within: Option<Duration>,
}

/// Why an answer did not come.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Asking again will not help.
    Final(FetchError),
    /// It may be over the next time.
    Passing(String),
}

impl Client {
    /// A client; reads the CA certificates and the proxies of the environment.
    ///
    /// # Errors
    /// Where the system has no CA certificates.
    pub fn new(settings: &Settings) -> Result<Self, FetchError> {
        let certificates = match &settings.roots {
            Some(roots) => roots.clone(),
            None => system_roots()?,
        };
        let roots: Vec<Certificate<'static>> = certificates
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect();
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let patience = settings.patience;
        let config = Config::builder()
            .tls_config(tls)
            .proxy(None)
            .http_status_as_error(false)
            .user_agent(concat!("cardmint/", env!("CARGO_PKG_VERSION")))
            .accept(AutoHeaderValue::Provided(Arc::new("*/*".to_owned())))
            .timeout_resolve(Some(patience.silence))
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            patience,
        })
    }

    /// Runs `work`; when the user asks to stop, whatever it waits for on the
    /// network fails at once.
    pub(super) fn until_interrupted<T>(
        &self,
        interrupt: &Interrupt,
        work: impl FnOnce() -> T,
    ) -> T {
        struct Done<'a>(&'a AtomicBool, thread::Thread);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
                self.1.unpark();
            }
        }
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    if interrupt.check().is_err() {
                        self.agent.clone().shutdown();
                        return;
                    }
                    thread::park_timeout(POLL);
                }
            });
            let _done = Done(&is_done, watcher.thread().clone());
            work()
        })
    }

    /// Asks once, following redirections, though never from https to http.
    pub(super) fn ask(
        &self,
        request: Request<'_>,
        interrupt: &Interrupt,
    ) -> Result<Response<Body>, Trouble> {
        let uri = parse(request.url).map_err(Trouble::Final)?;
        let is_https = uri.scheme_str() == Some("https");
        let proxy = proxy_for(is_https).map_err(Trouble::Final)?;
        let get = if request.only_head {
            self.agent.head(&uri)
        } else {
            self.agent.get(&uri)
        };
        let mut get = get
            .config()
            .https_only(is_https)
            .proxy(proxy)
            .timeout_global(request.within)
            .build();
        if request.from > 0 {
            get = get.header(header::RANGE, format!("bytes={}-", request.from));
            if let Some(validator) = request.if_range {
                get = get.header(header::IF_RANGE, validator);
            }
        }
        if let Some(etag) = request.if_none_match {
            get = get.header(header::IF_NONE_MATCH, etag);
        }
        match abandonable(interrupt, move || get.call())? {
            Some(answer) => answer.map_err(|error| trouble(request.url, error)),
            None => Err(Trouble::Final(FetchError::Interrupted)),
        }
    }
}

/// What `work` comes to, or `None` where the user asks to stop. Nothing ends a search
/// for a name or a server that does not take a connection; it is then left to itself.
fn abandonable<T: Send + 'static>(
    interrupt: &Interrupt,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Trouble> {
    let (sender, result) = sync_channel(1);
    let lost = |what: String| Trouble::Passing(what);
    thread::Builder::new()
        .spawn(move || drop(sender.send(work())))
        .map_err(|error| lost(error.to_string()))?;
    loop {
        match result.recv_timeout(POLL) {
            Ok(result) => return Ok(Some(result)),
            Err(RecvTimeoutError::Timeout) if interrupt.check().is_err() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(error @ RecvTimeoutError::Disconnected) => return Err(lost(error.to_string())),
        }
    }
}

/// The address that an answer came from in the end.
pub(super) fn final_url(response: &Response<Body>) -> String {
    response.get_uri().to_string()
}

/// A header as text; what is no text counts as missing.
pub(super) fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, FetchError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let what = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "none are installed".to_owned(),
        };
        return Err(FetchError::NoRoots(what));
    }
    Ok(found.certs)
}

/// The proxy that the environment names, as curl reads it: `HTTP_PROXY` in capitals
/// does not count, because a CGI server's clients can set it.
fn proxy_for(is_https: bool) -> Result<Option<Proxy>, FetchError> {
    let names: &[&'static str] = if is_https {
        &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    } else {
        &["http_proxy", "all_proxy", "ALL_PROXY"]
    };
    for name in names {
        let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) else {
            continue;
        };
        // It also reads NO_PROXY, but only of a proxy that it found itself.
        let given = Proxy::new(&value).map_err(|_| FetchError::Proxy(name))?;
        let mut proxy = Proxy::builder(given.protocol())
            .host(given.host())
            .port(given.port())
            .resolve_target(given.resolve_target());
        if let (Some(user), password) = (given.username(), given.password()) {
            proxy = proxy.username(user).password(password.unwrap_or_default());
        }
        for name in ["no_proxy", "NO_PROXY"] {
            proxy = exempt(proxy, &std::env::var(name).unwrap_or_default());
        }
        return proxy.build().map(Some).map_err(|_| FetchError::Proxy(name));
    }
    Ok(None)
}

/// Leaves out `hosts` and what is below them, with a dot before their names or not.
fn exempt(proxy: ProxyBuilder, hosts: &str) -> ProxyBuilder {
    let hosts = hosts.split(|c: char| c == ',' || c.is_whitespace());
    hosts
        .map(|host| host.trim_start_matches('.'))
        .filter(|host| !host.is_empty())
        .fold(proxy, |proxy, host| {
            proxy.no_proxy(host).no_proxy(&format!(".{host}"))
        })
}

fn trouble(url: &str, error: ureq::Error) -> Trouble {
    let url = url.to_owned();
    match error {
        ureq::Error::RequireHttpsOnly(to) => Trouble::Final(FetchError::Downgraded { url, to }),
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
            Trouble::Final(FetchError::Redirected(url))
        }
        ureq::Error::BadUri(what) => Trouble::Final(FetchError::NotAnAddress { url, what }),
        ureq::Error::Http(error) => Trouble::Final(FetchError::NotAnAddress {
            url,
            what: error.to_string(),
        }),
        ureq::Error::Rustls(error) => tls_trouble(url, &error),
        ureq::Error::Io(error) => io_trouble(url, &error),
        ureq::Error::Timeout(Timeout::Global) => too_slow(),
        ureq::Error::Timeout(_) => Trouble::Passing("the server does not answer".to_owned()),
        ureq::Error::HostNotFound => {
            Trouble::Passing("there is no such host, or no network".to_owned())
        }
        other => Trouble::Passing(other.to_string()),
    }
}

/// What an error while the body is read means. Those of TLS come wrapped.
pub(super) fn io_trouble(url: String, error: &io::Error) -> Trouble {
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_trouble(url, tls);
    }
    match inner.and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(ureq::Error::Timeout(Timeout::Global)) => too_slow(),
        Some(ureq::Error::Timeout(_)) => Trouble::Passing("the server fell silent".to_owned()),
        Some(ureq::Error::Rustls(tls)) => tls_trouble(url, tls),
        _ => Trouble::Passing(error.to_string()),
    }
}

fn too_slow() -> Trouble {
    Trouble::Passing("the server is too slow".to_owned())
}

fn tls_trouble(url: String, error: &rustls::Error) -> Trouble {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Trouble::Final(FetchError::Untrusted {
                url,
                what: error.to_string(),
            })
        }
        other => Trouble::Passing(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ureq::ProxyProtocol;

    use super::*;

    #[test]
    fn hosts_below_one_that_needs_no_proxy_need_none_either() {
        let asks_directly = |hosts: &str, host: &str| {
            let proxy = exempt(Proxy::builder(ProxyProtocol::Http).host("p"), hosts);
            let uri = format!("https://{host}:1/a").parse().expect("an address");
            proxy.build().expect("a proxy").is_no_proxy(&uri)
        };
        for hosts in [
            "example.org",
            ".example.org",
            "a, Example.org",
            "a b example.org",
        ] {
            for host in ["example.org", "a.example.org", "a.b.EXAMPLE.org"] {
                assert!(asks_directly(hosts, host), "{hosts}: {host}");
            }
            assert!(!asks_directly(hosts, "anexample.org"), "{hosts}");
        }
        assert!(asks_directly("*", "example.org"));
        assert!(asks_directly("10.0.0.1", "10.0.0.1"));
        assert!(!asks_directly("", "example.org"));
    }
}
