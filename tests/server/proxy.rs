//! A proxy that notes where it is sent.

use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::connection::read_request;
use super::lock;

/// Answers CONNECT; goes on until the process ends.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noting = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noting = Arc::clone(&noting);
                thread::spawn(move || drop(tunnel(stream, &noting)));
            }
        });
        Self { address, asked }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `host:port` of every connection that was made.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

fn tunnel(client: TcpStream, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let Some(request) = read_request(&mut reader)? else {
        return Ok(());
    };
    let mut client = client;
    if request.method != "CONNECT" {
        return client.write_all(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n");
    }
    lock(asked).push(request.path.clone());
    if !["localhost:", "127.0.0.1:"]
        .iter()
        .any(|host| request.path.starts_with(host))
    {
        // No test leaves this computer.
        return client.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    }
    let mut server = TcpStream::connect(&request.path)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || drop(io::copy(&mut back_from, &mut back_to)));
    io::copy(&mut reader, &mut server)?;
    server.shutdown(std::net::Shutdown::Write)
}
