//! Takes deployments out of service: one that was replaced, or a version that has left.
//!
//! Requests hold the deployment that they were routed to, and find their way to its queue until they have been answered.
//! Only when nobody else holds it is the queue closed.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::deployment::Deployment;
use super::lifecycle::Event;
use super::manager::{Place, Registry};
use super::plan::Key;

/// Between the first two looks whether a deployment is still held; doubled from look to look.
const FIRST_LOOK: Duration = Duration::from_millis(2);
/// Between two looks at the most.
const LOOK_MAX: Duration = Duration::from_millis(500);

impl Registry {
    /// Lets a deployment that another has replaced finish what it has been asked. Returns at once.
    pub(super) fn retire(self: &Arc<Self>, deployment: Arc<Deployment>) {
        let registry = Arc::clone(self);
        let task = format!("retire-{}-{}", deployment.name, deployment.version);
        let retire = async move { registry.let_go(deployment).await };
        (self.spawn)(Place::Apart, task, Box::pin(retire));
    }

    /// Takes a version out of service, and out of the table once it has finished what it has been asked. Returns at once.
    pub(super) fn drain_version(self: &Arc<Self>, key: &Key) {
        let (name, version) = key;
        let deployment = self.table.find(name.as_str(), &version.to_string()).ok().and_then(|found| found.1.deployment);
        self.table.advance(key, Event::Drain, None);
        info!(model = %name, %version, "model draining");
        let Some(deployment) = deployment else {
            // It never served.
            self.table.remove(key);
            self.monitor.forget(name.as_str(), Some(*version));
            self.tell_change();
            return;
        };
        deployment.instruments.set_ready(false);
        self.tell_change();
        let (registry, key) = (Arc::clone(self), key.clone());
        let task = format!("drain-{name}-{version}");
        let drain = async move {
            // The table is a holder too.
            registry.table.release(&key);
            registry.let_go(deployment).await;
            registry.table.advance(&key, Event::Emptied, None);
            registry.table.remove(&key);
            info!(model = %key.0, version = %key.1, "model removed");
            registry.tell_change();
            // It may have been added again meanwhile.
            registry.nudge.notify_one();
        };
        (self.spawn)(Place::Apart, task, Box::pin(drain));
    }

    /// Closes a deployment once no request holds it, or once the last must have ended.
    async fn let_go(&self, deployment: Arc<Deployment>) {
        let longest = deployment.config.timeout.unwrap_or(self.timeout).max(self.timeout);
        if !is_let_go(&deployment, longest, &self.closing).await {
            let (model, version) = (&deployment.name, deployment.version);
            warn!(%model, %version, "requests still hold a model that is going");
        }
        deployment.rungs.close();
        self.monitor.retire(&deployment.instruments);
    }
}

/// Waits until nobody else holds a deployment, at most for `longest`, or until the server ends. False if the time is up.
async fn is_let_go(deployment: &Arc<Deployment>, longest: Duration, closing: &CancellationToken) -> bool {
    let until = Instant::now() + longest;
    let mut pause = FIRST_LOOK;
    while Arc::strong_count(deployment) > 1 && !closing.is_cancelled() {
        if Instant::now() >= until {
            return false;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LOOK_MAX),
            () = closing.cancelled() => {}
        }
    }
    true
}
