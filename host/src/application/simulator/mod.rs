//! A stand-in for Bitbucket's maintenance API, for the demo and for tests. It is not Bitbucket, and says so: in its
//! `Server` header, and in the name that it gives itself.
//!
//! Two calls are its own: `GET /simulator/state` tells how it stands and what was done to it, and
//! `POST /simulator/cancel` is the operator's cancel on the web page. Where Atlassian's documentation does not say which
//! status a refusal has, it answers 409 for a wrong token and 404 for a lock that does not exist.

mod connection;
mod options;
mod server;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use options::{Call, Failure, Fault, Options};
pub use state::{HistoryEntry, StateReport};

use self::connection::{Accepting, Switch};
use self::server::Server;
use self::state::State;
use crate::error::{ErrorKind, Result, ResultExt};

/// Its `Server` header.
pub const NAME: &str = "bkhost-bitbucket-simulator";
/// What it calls itself where Bitbucket says "Bitbucket".
pub const DISPLAY_NAME: &str = "Bitbucket simulator of bkhost";

/// A simulator that runs until it is stopped or dropped.
pub struct Simulator {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts one. Port 0 takes any free port.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn start(listen: SocketAddr, options: Options) -> Result<Self> {
        let cannot = || format!("the simulator cannot listen on {listen}");
        let listener = TcpListener::bind(listen).await.or_error(ErrorKind::Io, cannot)?;
        let address = listener.local_addr().or_error(ErrorKind::Io, cannot)?;
        let state = Arc::new(State::new(options)?);
        let stop = CancellationToken::new();
        let server = Server { state: Arc::clone(&state), stop: stop.clone() };
        let service = server.router().into_make_service_with_connect_info::<Switch>();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            // It never ends with an error: accepting is retried.
            let _ = axum::serve(Accepting(listener), service).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { address, state, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How it stands, and what was done to it.
    #[must_use]
    pub fn state(&self) -> StateReport {
        self.state.report()
    }

    /// Cancels the running backup, as an operator does on the web page. Whether one ran.
    pub fn operator_cancels(&self) -> bool {
        self.state.operator_cancels()
    }

    /// Stops: replies under way are finished, for two seconds at most.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.task).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}
