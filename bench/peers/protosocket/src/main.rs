//! The peer protosocket is echo, or a small part of RESP, on the crate protosocket-server, with tokio's current-thread runtime: one loop.
//!
//! Buffers are pooled and replies leave through poll_outbound_many, as the crate's documentation advises.

mod echo;
mod pool;
mod resp;

use protosocket::{Connection, MessageReactor, SocketListener, StreamWithAddress, TcpSocketListener};
use protosocket_server::{ProtosocketServerConfig, ServerConnector};
use tokio::net::TcpStream;

// The crate's default is 1 MiB for each connection, all of it written to when the connection opens: 5 GB for 5,000 of them.
const BUFFER_INCREMENT: usize = 64 << 10;

const USAGE: &str = "usage: protosocket-peer [-proto echo|resp] [-listen HOST:PORT] [-increment BYTES] [-loops 1]";

type Stream = <TcpSocketListener as SocketListener>::Stream;

/// Makes a codec and a reactor for each connection.
struct Connector<C, R> {
    codec: fn() -> C,
    reactor: fn() -> R,
}

impl<R> ServerConnector for Connector<R::Codec, R>
where
    R: MessageReactor<LogicalOutbound = ()> + Send,
    R::Codec: Send + 'static,
    <R::Codec as protosocket::Encoder>::Serialized: Send,
{
    type Codec = R::Codec;
    type Reactor = R;
    type SocketListener = TcpSocketListener;

    fn codec(&mut self) -> R::Codec {
        (self.codec)()
    }

    fn new_reactor(&mut self, _: spillway::Sender<()>, _: &StreamWithAddress<TcpStream>) -> R {
        (self.reactor)()
    }

    fn spawn_connection(&self, connection: Connection<Stream, R>) {
        tokio::spawn(connection);
    }
}

fn main() {
    let (mut proto, mut listen, mut increment) = ("echo".to_string(), "127.0.0.1:9000".to_string(), BUFFER_INCREMENT);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().unwrap_or_else(|| fail(USAGE));
        match flag.trim_start_matches('-') {
            "proto" => proto = value,
            "listen" => listen = value,
            "increment" => increment = value.parse().unwrap_or_else(|_| fail(USAGE)),
            "loops" if value == "1" => (),
            _ => fail(USAGE),
        }
    }
    let address = listen.parse().unwrap_or_else(|_| fail("-listen wants an address as 127.0.0.1:9000"));
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap_or_else(|e| fail(&e.to_string()));
    let config = || ProtosocketServerConfig::default().buffer_allocation_increment(increment);
    runtime.block_on(async {
        let ended = match proto.as_str() {
            "echo" => match config().bind_tcp(address, Connector { codec: echo::Codec::default, reactor: echo::Reactor::default }) {
                Ok(server) => server.await,
                Err(e) => fail(&e.to_string()),
            },
            "resp" => match config().bind_tcp(address, Connector { codec: resp::Codec::default, reactor: resp::Reactor::default }) {
                Ok(server) => server.await,
                Err(e) => fail(&e.to_string()),
            },
            _ => fail(USAGE),
        };
        fail(&match ended {
            Ok(()) => "the listener ended".to_string(),
            Err(e) => e.to_string(),
        })
    });
}

fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a limit that lives as long as they run.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

fn fail(sentence: &str) -> ! {
    eprintln!("{sentence}");
    std::process::exit(1)
}
