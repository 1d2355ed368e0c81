//! Follows the sources while the server runs: the system's word of a change, or the next look at the clock, wakes the
//! reconciler, which sees for itself what has changed.

use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::reconcile::{Pass, Reconciler};

/// One change comes as many events: so long they are let come in.
const GATHER: Duration = Duration::from_millis(50);

/// Loads what the sources hold, tells `loaded` how much of it failed, and, where a time between two looks is given,
/// follows the sources until `stop`. Cancel safe, but a version that is being loaded is loaded to its end.
pub async fn keep(
    mut reconciler: Reconciler,
    poll_interval: Option<Duration>,
    loaded: watch::Sender<Option<usize>>,
    stop: CancellationToken,
) {
    // Watched from before the first look, so that nothing is missed between the two.
    let nudge = Arc::clone(&reconciler.registry().nudge);
    let folders: Vec<&Path> = reconciler.sources().iter().filter_map(|source| source.folder()).collect();
    let poll_interval = poll_interval.filter(|_| !folders.is_empty());
    let _watcher = poll_interval.and_then(|_| watcher(&folders, &nudge));
    loop {
        let pass;
        tokio::select! {
            passed = pass_apart(reconciler) => match passed {
                Some((back, passed)) => (reconciler, pass) = (back, passed),
                None => return,
            },
            () = stop.cancelled() => return,
        }
        tell_first(&loaded, &pass);
        let Some(poll_interval) = poll_interval else { return };
        let tick = Instant::now() + poll_interval;
        tokio::select! {
            () = sleep_until(pass.look_again.map_or(tick, |at| at.min(tick))) => {}
            () = nudge.notified() => sleep(GATHER).await,
            () = stop.cancelled() => return,
        }
    }
}

/// The first pass is the one that those wait for who wait for the models.
fn tell_first(loaded: &watch::Sender<Option<usize>>, pass: &Pass) {
    loaded.send_if_modified(|failed| {
        let is_first = failed.is_none();
        failed.get_or_insert(pass.failed);
        is_first
    });
}

/// One pass, on a thread that may block.
async fn pass_apart(mut reconciler: Reconciler) -> Option<(Reconciler, Pass)> {
    let pass = tokio::task::spawn_blocking(move || {
        let pass = reconciler.pass(Instant::now());
        (reconciler, pass)
    });
    pass.await.inspect_err(|error| error!(%error, "models are not followed any more")).ok()
}

/// Has the system tell of changes in the folders. `None` if it tells of none; then polling has to do.
fn watcher(folders: &[&Path], nudge: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let nudge = Arc::clone(nudge);
    let heard = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| !is_reading(event.kind)) {
            nudge.notify_one();
        }
    };
    // A link could lead to anywhere, such as to the whole file system; where they lead in the repository is watched.
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(heard, config)
        .inspect_err(|error| warn!(%error, "the system tells of no changes of models; looking now and then has to do"))
        .ok()?;
    for folder in folders {
        let path = folder.canonicalize().map_err(notify::Error::io);
        if let Err(error) = path.and_then(|path| watcher.watch(&path, RecursiveMode::Recursive)) {
            warn!(folder = %folder.display(), %error, "the system tells of no changes here; looking now and then has to do");
        }
    }
    Some(watcher)
}

/// Did somebody only read? The reconciler does itself.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
