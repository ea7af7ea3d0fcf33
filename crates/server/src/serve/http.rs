//! The HTTP listeners, with the limits that keep a slow or greedy peer from others' way.

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
use crate::net::tcp::{Connections, Seat};
use crate::supervisor::Supervisor;
use crate::tr;

type Make = IntoMakeServiceWithConnectInfo<Router, SocketAddr>;

/// Listeners that serve.
pub(super) struct Http {
    /// Where they really are.
    pub(super) addresses: Vec<SocketAddr>,
    serving: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

/// Open all of them.
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
        let mut http = Http { addresses: Vec::new(), serving: Vec::new(), stop };
        let limits = ConnLimits {
            per_source: HTTP_CONNECTIONS_PER_SOURCE,
            total: HTTP_CONNECTIONS,
            ..ConnLimits::default()
        };
        let seats = Connections::new(0, limits);
        for listener in listeners {
            http.addresses.extend(listener.local_addr());
            let make = router.clone().into_make_service_with_connect_info::<SocketAddr>();
            let (listener, seats, stopping) = (Arc::new(listener), Arc::clone(&seats), stopping.clone());
            let proxies = proxies.to_vec();
            let begin = move || {
                let (listener, seats) = (Arc::clone(&listener), Arc::clone(&seats));
                serve(listener, make.clone(), seats, proxies.clone(), stopping.clone())
            };
            http.serving.push(supervisor.task(&Handle::current(), "http-accept", begin));
        }
        http
    }

    /// Answer what was asked, then close.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        let ended = async {
            for serving in self.serving {
                serving.await.ok();
            }
        };
        // Connections that only wait for a next request are not worth waiting for.
        tokio::time::timeout(Duration::from_secs(2), ended).await.ok();
    }
}

async fn serve(
    listener: Arc<TcpListener>,
    make: Make,
    seats: Arc<Connections>,
    proxies: Vec<IpNet>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors: others must close first.
                tracing::warn!(%error, "a connection to the API was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Who comes when the house is full, or has his share of it, is sent away at once. A proxy has many clients, and their share is its business.
        let ip = peer.ip().to_canonical();
        let seat = match proxies.iter().any(|network| network.contains(&ip)) {
            true => seats.seat_within(ip, HTTP_CONNECTIONS),
            false => seats.seat(ip),
        };
        let Some(seat) = seat else { continue };
        connections.spawn(converse(stream, peer, make.clone(), seat, stopping.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    mut make: Make,
    seat: Seat,
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
        tracing::debug!(%error, "a connection to the API ended");
    }
    drop(seat);
}

fn unreachable(never: Infallible) -> ! {
    match never {}
}
