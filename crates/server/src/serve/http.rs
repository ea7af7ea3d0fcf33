//! The HTTP listeners, with connection limits and timeouts against slow or greedy clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tower::Service;

use crate::holder::{self, Protocol};
use crate::limits::{ConnLimits, HTTP_CONNECTIONS, HTTP_CONNECTIONS_PER_SOURCE, HTTP_HEAD};
use crate::net::tcp::{ConnPermit, Connections};
use crate::supervisor::Supervisor;
use crate::tr;

type Make = IntoMakeServiceWithConnectInfo<Router, SocketAddr>;

/// The running listeners.
pub(super) struct Http {
    /// The bound addresses.
    pub(super) addresses: Vec<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// Open all listeners.
pub(super) async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let why = holder::why_not(Protocol::Tcp, *address, &error);
            anyhow::Error::msg(tr!(
                "http.listen: {address} cannot be opened: {why}",
                "http.listen: no se puede abrir {address}: {why}"
            ))
        });
        listeners.push(listener?);
    }
    Ok(listeners)
}

impl Http {
    pub(super) fn start(
        listeners: Vec<TcpListener>,
        router: &Router,
        proxies: &[IpNet],
        supervisor: &Supervisor,
    ) -> Http {
        let (stop, stopping) = watch::channel(false);
        let mut http = Http { addresses: Vec::new(), accepting: Vec::new(), stop };
        let limits = ConnLimits {
            per_source: HTTP_CONNECTIONS_PER_SOURCE,
            total: HTTP_CONNECTIONS,
            ..ConnLimits::default()
        };
        let connections = Connections::new(0, limits);
        for listener in listeners {
            http.addresses.extend(listener.local_addr());
            let make = router.clone().into_make_service_with_connect_info::<SocketAddr>();
            let (listener, connections, stopping) =
                (Arc::new(listener), Arc::clone(&connections), stopping.clone());
            let proxies = proxies.to_vec();
            let begin = move || {
                let (listener, connections) = (Arc::clone(&listener), Arc::clone(&connections));
                serve(listener, make.clone(), connections, proxies.clone(), stopping.clone())
            };
            http.accepting.push(supervisor.task(&Handle::current(), "http-accept", begin));
        }
        http
    }

    /// Finish requests in progress, then close.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let ended = async {
            for accepting in self.accepting {
                accepting.await.ok();
            }
        };
        // Idle keep-alive connections are not waited for.
        tokio::time::timeout(Duration::from_secs(2), ended).await.ok();
    }
}

async fn serve(
    listener: Arc<TcpListener>,
    make: Make,
    connections: Arc<Connections>,
    proxies: Vec<IpNet>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut tasks: JoinSet<()> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: other connections must close first.
                tracing::warn!(%error, "accepting an API connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Over the global or per-source connection limit: close immediately. A trusted proxy is not limited per source: it limits its own clients.
        let ip = peer.ip().to_canonical();
        let permit = match proxies.iter().any(|network| network.contains(&ip)) {
            true => connections.acquire_within(ip, HTTP_CONNECTIONS),
            false => connections.acquire(ip),
        };
        let Some(permit) = permit else { continue };
        tasks.spawn(serve_connection(stream, peer, make.clone(), permit, stopping.clone()));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    mut make: Make,
    permit: ConnPermit,
    mut stopping: watch::Receiver<bool>,
) {
    stream.set_nodelay(true).ok();
    let service = match make.call(peer).await {
        Ok(service) => TowerToHyperService::new(service),
        Err(never) => unreachable(never),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HTTP_HEAD)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { stopping.wait_for(|stop| *stop).await.ok(); } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection ended with an error");
    }
    drop(permit);
}

fn unreachable(never: Infallible) -> ! {
    match never {}
}
