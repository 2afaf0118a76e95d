//! Everything about one node, once: the first of its addresses where it is itself.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::Agent;

use super::{Found, Reach, Route, Wanted, Watch, http, names, ssh};

/// A node on the same network accepts within milliseconds.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

/// Asks one node at a time.
pub(super) struct Asker {
    agent: Agent,
    /// For the settings of ssh.
    folder: PathBuf,
}

impl Asker {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            agent: http::agent(),
            folder: folder.to_owned(),
        }
    }

    /// Goes from address to address until one is the node: a name server may lead to
    /// a machine that had the address before.
    ///
    /// # Errors
    /// Where there is no ssh to start.
    pub(super) fn node(&self, wanted: &Wanted) -> io::Result<Found> {
        let mut found = Found {
            route: None,
            reach: Reach::NoAddress(names::tried(wanted)),
            told: None,
            exporter: None,
            scraped: None,
            strangers: Vec::new(),
        };
        for source in names::sources(wanted) {
            for route in names::look_up(wanted, *source) {
                let (reach, told) = self.at(wanted, route)?;
                if let Reach::Impostor(_) = reach {
                    found.strangers.push(route);
                }
                if rank(&reach) > rank(&found.reach) {
                    (found.route, found.reach, found.told) = (Some(route), reach, told);
                }
                if found.reach == Reach::In {
                    if wanted.exporter {
                        found.exporter = Some(http::exporter(&self.agent, route.address));
                    }
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    fn at(&self, wanted: &Wanted, route: Route) -> io::Result<(Reach, Option<super::Told>)> {
        let at = SocketAddr::from((route.address, 22));
        match TcpStream::connect_timeout(&at, CONNECT_PATIENCE) {
            Ok(_) => match ssh::ask(wanted, route, &self.folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
                    error.kind(),
                    "there is no ssh here to log in with",
                )),
                Err(error) => Ok((Reach::NotYet(format!("running ssh: {error}")), None)),
                Ok(answer) => Ok(answer),
            },
            // A machine is there and says no.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Ok((Reach::NotYet("no sshd yet".to_owned()), None))
            }
            Err(_) => Ok((Reach::Silent, None)),
        }
    }

    /// What the monitoring host sees; it is known to be itself.
    pub(super) fn watcher(&self, route: Route, grafana: bool) -> Watch {
        Watch {
            prometheus: Some(http::scraped(&self.agent, route.address)),
            grafana: grafana.then(|| http::grafana(&self.agent, route.address)),
            at: Some(route.address),
        }
    }
}

/// What says most, of what is met at several addresses.
fn rank(reach: &Reach) -> u8 {
    match reach {
        Reach::NoAddress(_) => 0,
        Reach::Silent => 1,
        Reach::NotYet(_) => 2,
        Reach::Impostor(_) => 3,
        Reach::LockedOut(_) => 4,
        Reach::In => 5,
    }
}
