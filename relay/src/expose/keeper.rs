//! Starts and ends services and their listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use meshd_core::expose::{Exposure, Sites, check_place};
use meshd_core::statement::Protocol;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{Inner, Key, Route, Service, Wanted, ports, tunnels, udp};
use crate::serve::hello::read_hello;
use crate::serve::limits::Limits as Guests;

/// After `accept` failed for want of descriptors or memory.
const BREATHER: Duration = Duration::from_millis(100);

/// What is served now.
type Services = BTreeMap<Key, Result<Arc<Service>, String>>;

/// Listeners by transport and port; of UDP also by exposure.
type Listeners = BTreeMap<(Protocol, u16, Option<Key>), JoinSet<()>>;

/// Serves what is wanted until the program stops.
pub async fn keep(
    host: Arc<Inner>,
    mut wanted: watch::Receiver<Arc<[Wanted]>>,
    mut stop: watch::Receiver<bool>,
) {
    let watching = host.clone();
    let tunnels = tokio::spawn(async move { tunnels::watch(&watching.tunnels).await });
    let mut keeper = Keeper {
        guests: Guests::default(),
        services: Services::new(),
        listeners: Listeners::new(),
        host,
    };
    loop {
        let now = wanted.borrow_and_update().clone();
        keeper.serve(&now);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { break },
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    keeper.serve(&[]);
    tunnels.abort();
}

struct Keeper {
    guests: Guests,
    services: Services,
    listeners: Listeners,
    host: Arc<Inner>,
}

impl Keeper {
    /// This is wanted now. What did not change goes on undisturbed.
    fn serve(&mut self, wanted: &[Wanted]) {
        let before = std::mem::take(&mut self.services);
        let mut good: Vec<Exposure> = Vec::new();
        for one in wanted {
            let key = (one.network, one.name.clone());
            let served = match check_place(&one.terms, &self.host.own, &good) {
                Ok(()) => Ok(self.service(one, before.get(&key))),
                Err(why) => {
                    warn!(exposure = %one.name, network = %one.network_name, "not served: {why}");
                    Err(why.to_string())
                }
            };
            if served.is_ok() {
                good.push(Exposure {
                    network: one.network_name.clone(),
                    name: one.name.clone(),
                    terms: one.terms.clone(),
                });
            }
            self.services.insert(key, served);
        }
        self.route(wanted);
        self.listen(wanted);
        for (key, service) in before
            .iter()
            .filter_map(|(key, held)| Some((key, held.as_ref().ok()?)))
        {
            let goes_on = |now: &Arc<Service>| Arc::ptr_eq(now, service);
            if !matches!(self.services.get(key), Some(Ok(now)) if goes_on(now)) {
                info!(exposure = %key.1, "exposed no longer; its connections end");
                service.end();
            }
        }
        let told = self.services.clone();
        *self.host.services.write().unwrap_or_else(PoisonError::into_inner) = told;
    }

    fn service(&self, wanted: &Wanted, before: Option<&Result<Arc<Service>, String>>) -> Arc<Service> {
        match before {
            Some(Ok(service)) if service.is_at(wanted) => {
                service.set(wanted.clone());
                service.clone()
            }
            _ => {
                let (protocol, port) = (wanted.terms.protocol.word(), wanted.terms.port);
                info!(exposure = %wanted.name, network = %wanted.network_name, protocol, port, "exposed");
                Service::start(wanted.clone(), Arc::downgrade(&self.host))
            }
        }
    }

    /// What is served of this, with its service.
    fn served<'a>(
        &'a self,
        wanted: &'a [Wanted],
    ) -> impl Iterator<Item = (&'a Wanted, Key, &'a Arc<Service>)> {
        wanted.iter().filter_map(|one| {
            let key = (one.network, one.name.clone());
            let service = self.services.get(&key)?.as_ref().ok()?;
            Some((one, key, service))
        })
    }

    /// Where TCP connections go from now on.
    fn route(&self, wanted: &[Wanted]) {
        let mut routes: BTreeMap<u16, Route> = BTreeMap::new();
        for (one, _, service) in self.served(wanted) {
            let terms = &one.terms;
            match (terms.protocol, terms.sites.is_empty()) {
                (Protocol::Udp, _) => {}
                (Protocol::Tcp, true) => drop(routes.insert(terms.port, Route::Whole(service.clone()))),
                (Protocol::Tcp, false) => {
                    let empty = || Route::Sites(Sites::default());
                    if let Route::Sites(sites) = routes.entry(terms.port).or_insert_with(empty) {
                        let mut names = terms.sites.iter();
                        names
                            .by_ref()
                            .for_each(|site| sites.insert(site, service.clone()));
                    }
                }
            }
        }
        *self.host.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    /// Listens where it is needed, and nowhere else.
    fn listen(&mut self, wanted: &[Wanted]) {
        let needed: BTreeMap<_, _> = self
            .served(wanted)
            .map(|(one, key, service)| {
                let (protocol, port) = (one.terms.protocol, one.terms.port);
                let key = (protocol == Protocol::Udp).then_some(key);
                ((protocol, port, key), (one.name.clone(), service.clone()))
            })
            .collect();
        let host = self.host.clone();
        self.listeners.retain(|place, _| {
            let stays = needed.contains_key(place);
            if !stays {
                host.ports.forget(place.0, place.1);
            }
            stays
        });
        for (place, (name, service)) in needed {
            if !self.listeners.contains_key(&place) {
                let (protocol, port, _) = place;
                let listeners = self.open(protocol, port, &name, &service);
                self.listeners.insert(place, listeners);
            }
        }
    }

    fn open(&self, protocol: Protocol, port: u16, name: &str, service: &Arc<Service>) -> JoinSet<()> {
        let mut listeners = JoinSet::new();
        let mut own = self.host.own.iter();
        let is_own = own.any(|own| (own.protocol, own.port) == (protocol, port));
        for ip in ports::addresses(&self.host.public) {
            let at = SocketAddr::new(ip, port);
            match protocol {
                _ if is_own => self.host.ports.note(protocol, at),
                Protocol::Tcp => {
                    listeners.spawn(accept(
                        self.host.clone(),
                        at,
                        name.to_owned(),
                        self.guests.clone(),
                    ));
                }
                Protocol::Udp => {
                    listeners.spawn(udp::serve(
                        self.host.clone(),
                        at,
                        name.to_owned(),
                        service.clone(),
                    ));
                }
            }
        }
        listeners
    }
}

/// Accepts at one address of a port until it is wanted no longer.
async fn accept(host: Arc<Inner>, at: SocketAddr, name: String, guests: Guests) {
    let listener: TcpListener = host.ports.open(Protocol::Tcp, at, &name, ports::listen).await;
    loop {
        let (client, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(why) => {
                warn!(exposure = %name, %why, "cannot accept a connection");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let routes = host.routes.read().unwrap_or_else(PoisonError::into_inner);
        match routes.get(&at.port()) {
            Some(Route::Whole(service)) => service.accept(client, Vec::new(), from),
            Some(Route::Sites(_)) => drop(tokio::spawn(ask(host.clone(), client, from, guests.clone()))),
            None => {}
        }
    }
}

/// Finds out which site a client wants.
async fn ask(host: Arc<Inner>, client: TcpStream, from: SocketAddr, guests: Guests) {
    let Some(permit) = guests.enter(from.ip()) else {
        return;
    };
    let Ok(port) = client.local_addr().map(|at| at.port()) else {
        return;
    };
    let go = permit.must_go();
    let read = tokio::select! {
        read = read_hello(client) => read,
        () = go.notified() => return,
    };
    drop(permit);
    let (hello, replay) = match read {
        Ok(read) => read,
        Err(why) => return debug!(%from, %why, "no site is asked for"),
    };
    let routes = host.routes.read().unwrap_or_else(PoisonError::into_inner);
    let service = match (routes.get(&port), hello.server_name.as_deref()) {
        (Some(Route::Sites(sites)), Some(name)) => sites.find(name).cloned(),
        _ => None,
    };
    drop(routes);
    match service {
        Some(service) => {
            let (seen, client) = replay.into_parts();
            service.accept(client, seen, from);
        }
        None => debug!(%from, site = ?hello.server_name, "nobody exposes this site here"),
    }
}
