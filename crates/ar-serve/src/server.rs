use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use ar_pipeline::{Pipeline, PipelineError};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};

use crate::api::{Shared, router};
use crate::metrics::Metrics;
use crate::videos::Videos;
use crate::worker::Worker;
use crate::{ServeError, Token, connections, limits};

/// Connections that the system queues until they are accepted.
const BACKLOG: u32 = 1024;
/// The most threads that encode and decode pictures.
const BLOCKING_THREADS: usize = 16;

/// Where a server listens, and who may use it.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The address; by default 127.0.0.1, which only programs on the same machine can reach.
    pub host: IpAddr,
    /// The port; 0 chooses a free one.
    pub port: u16,
    /// The token that clients need; by default a random one.
    pub token: Option<Token>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            token: None,
        }
    }
}

/// A server that is listening. It serves requests when it [runs](Server::run).
pub struct Server {
    pipeline: Pipeline,
    /// Pixels of a frame.
    size: usize,
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    stop: watch::Sender<bool>,
}

/// Stops a server from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Asks the server to stop: it accepts no more requests, ends the videos in progress, and gives
    /// open connections 3 seconds to end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// If the model has no transformer or no VAE, or the address is in use or does not belong to
    /// this machine.
    pub fn bind(pipeline: &Pipeline, options: &ServerOptions) -> Result<Self, ServeError> {
        let model = pipeline.model().config();
        if model.transformer.is_none() {
            return Err(PipelineError::NoTransformer.into());
        }
        let vae = model.vae.as_ref().ok_or(PipelineError::NoVae)?;
        let runtime = runtime(&mut Builder::new_current_thread())?;
        let address = SocketAddr::new(options.host, options.port);
        let listener = runtime.block_on(async { listen(address) });
        let failed = |source| ServeError::Listen { address, source };
        let listener = listener.map_err(failed)?;
        Ok(Self {
            pipeline: pipeline.clone(),
            size: vae.image_size(),
            address: listener.local_addr().map_err(failed)?,
            runtime,
            listener,
            token: match &options.token {
                Some(token) => token.clone(),
                None => Token::random()?,
            },
            stop: watch::Sender::new(false),
        })
    }

    /// The address with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that clients need.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The address of the page, with the token.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            // All addresses of this machine, including this one.
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        format!("http://{address}/?token={}", self.token.as_str())
    }

    /// A handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Serves requests, and makes videos on this thread, until the server is stopped.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn run(self) -> Result<(), ServeError> {
        let (videos, jobs) = Videos::new();
        let videos = Arc::new(videos);
        let metrics = Arc::new(Metrics::new());
        let router = router(Arc::new(Shared {
            size: self.size,
            token: self.token,
            model: self.pipeline.model().config().clone(),
            videos: videos.clone(),
            metrics: metrics.clone(),
            uploads: Semaphore::new(limits::UPLOADS),
            downloads: Arc::new(Semaphore::new(limits::DOWNLOADS)),
        }));
        let worker = Worker {
            pipeline: self.pipeline,
            videos,
            metrics: metrics.clone(),
        };
        let stop = self.stop.subscribe();
        let (http, listener) = (self.runtime, self.listener);
        let serving = connections::serve(listener, router, metrics, stop.clone());
        let thread = thread::Builder::new().name("http".into()).spawn(move || {
            http.block_on(serving);
            // An encoder may still be running for a client that has disconnected.
            http.shutdown_background();
        });
        let thread = thread.map_err(ServeError::System)?;
        let local = runtime(&mut Builder::new_current_thread())?;
        local.block_on(worker.run(jobs, stop));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(())
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.address)
    }
}

fn runtime(builder: &mut Builder) -> Result<Runtime, ServeError> {
    builder
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .map_err(ServeError::System)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Otherwise the port of a stopped server stays in use for a minute.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // The system buffers little for slow readers; connections inherit this.
    socket.set_send_buffer_size(limits::BUFFER_BYTES as u32)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
