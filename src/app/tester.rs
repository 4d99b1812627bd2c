//! Speed tests of devices against this node: is it this Wi-Fi, or the line?

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::life::Life;
use crate::meter::ndt7::server::{Ends, Server, Settings};
use crate::portal::{Arrival, Door};
use axum::Router;
use std::sync::Arc;

/// The paths of tests. Through the proxy a device would measure the proxy as well, so it has to come straight to the web port.
pub(super) fn routes(pages: Vec<String>, clock: &Clock, life: &Life, metrics: &Metrics) -> Router {
    let who = Arc::new(|extensions: &http::Extensions| {
        let arrival = extensions.get::<Arrival>().filter(|arrival| arrival.door == Door::Web)?;
        Some(Ends { client: arrival.client, server: arrival.local })
    });
    Server::new(Settings::lan(pages), who, clock.clone(), life, metrics).routes()
}
