//! The server's settings, checked: addresses, limits, time-outs, log, shutdown, devices.

mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use worker::{DeviceChoice, Worker};

use super::form::{Address, Choice, Folder, Levels, List, Positive, Size, Switch, Time};
use super::reader::{Reader, positive};

const GRPC_PORT: u16 = 8001;
const METRICS_PORT: u16 = 8002;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Everything that can be set about a server. [`Config::default`] has no model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Folders of models; at least one if it came from [`Config::resolve`].
    pub models: Vec<PathBuf>,
    /// Does one model that fails to load stop the server?
    pub strict: bool,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where metrics and health over HTTP listen.
    pub metrics: SocketAddr,
    /// Longest time that a request is given, unless its model says otherwise.
    pub timeout: Duration,
    /// In which process models run.
    pub device: DeviceChoice,
    /// The processes beside the server that models run in.
    pub worker: Worker,
    /// How the folders of models are followed.
    pub repository: Repository,
    /// What clients may use.
    pub limits: Limits,
    /// How the server stops.
    pub shutdown: Shutdown,
    /// What is logged and how.
    pub log: Log,
    /// How metrics are kept.
    pub monitor: Monitor,
    /// What of the machine is used.
    pub runtime: Runtime,
}

/// How the folders of models are followed while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Are they?
    pub watch: bool,
    /// Time between two looks at them, whether or not the system tells of a change.
    pub poll_interval: Duration,
    /// Time for which the files of a version must have stayed as they are before it is loaded.
    pub settle_time: Duration,
}

/// What clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message in either direction, bytes.
    pub message_bytes_max: NonZeroUsize,
    /// Bytes of requests that the server holds at once, at least [`Limits::message_bytes_max`]; `None` for an eighth of
    /// the memory.
    pub in_flight_bytes_max: Option<NonZeroUsize>,
    /// Requests that the server holds at once.
    pub in_flight_requests_max: NonZeroUsize,
    /// Open connections to the gRPC port.
    pub connections_max: NonZeroUsize,
    /// Calls at once on one connection.
    pub streams_max: NonZeroUsize,
    /// Time in which a new connection must begin to speak HTTP/2.
    pub handshake_timeout: Duration,
    /// Time without a call after which a connection is told to go.
    pub idle_timeout: Duration,
    /// Age at which a connection is told to go, give or take a tenth.
    pub connection_age: Duration,
    /// Time without a byte of a request that has begun, after which it is ended.
    pub receive_timeout: Duration,
    /// Time without progress after which an answer that its client does not read is reset.
    pub send_timeout: Duration,
    /// Memory that the server may use; `None` for what its cgroup or the machine has.
    pub memory_bytes_max: Option<NonZeroUsize>,
    /// Memory that the models may take together; `None` for half of the memory.
    pub models_bytes_max: Option<NonZeroUsize>,
}

/// How the server stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Time between the signal, when readiness turns false, and the moment when no new call is accepted.
    pub delay: Duration,
    /// Time that accepted calls then have to finish.
    pub grace: Duration,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or parts `target=level` separated by commas.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Is there a line for each request?
    pub access: bool,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// How metrics are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Time that the percentiles look back over.
    pub window: Duration,
}

/// What of the machine is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Threads that compute models; `None` for one for each core.
    pub threads: Option<NonZeroUsize>,
}

impl Default for Config {
    fn default() -> Self {
        Self::read(&mut Reader::default())
    }
}

impl Config {
    /// Declares and reads every setting of the server.
    pub(super) fn read(settings: &mut Reader<'_>) -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            models: settings
                .what(
                    "Folders of models, each laid out as `<model>/<version>/<files>`; relative to where the server is \
                     started. In the environment they are separated by `:`; the flag is repeated",
                )
                .change("Always")
                .find("models", &List(Folder), "none: `serve` needs one at least")
                .unwrap_or_default(),
            strict: settings
                .what(
                    "Whether one model that fails to load stops the server, rather than being reported by log, \
                     readiness and metric while the others serve",
                )
                .change("Set it where a server with a model missing is worse than no server")
                .get("strict", &Switch, false),
            grpc: settings
                .what("Where gRPC listens. Port 0 takes a free one, which the log names")
                .change("Narrow it to `127.0.0.1` behind a proxy on the same machine; `[::]` takes IPv6 as well")
                .get("grpc", &Address, any(GRPC_PORT)),
            metrics: settings
                .what("Where Prometheus' metrics and health over HTTP listen; not the address of `grpc`")
                .change("Move it to an address that only your monitoring can reach")
                .get("metrics", &Address, any(METRICS_PORT)),
            timeout: settings
                .what(
                    "Longest time that a request is given. A shorter gRPC deadline or `timeout` parameter counts \
                     instead, and a model's own `timeout` takes this one's place",
                )
                .change("Lower it to the longest wait that is still of use to your callers")
                .get("timeout", &Time(MILLISECOND..=HOUR), 60 * SECOND),
            device: DeviceChoice::read(settings),
            worker: Worker::read(settings),
            repository: Repository::read(settings),
            limits: Limits::read(settings),
            shutdown: Shutdown::read(settings),
            log: Log::read(settings),
            monitor: Monitor::read(settings),
            runtime: Runtime::read(settings),
        }
    }

    /// Notes what no setting shows by itself: settings that do not go together.
    pub(super) fn check(&self, settings: &mut Reader<'_>) {
        if self.models.is_empty() {
            settings.conflict("models", "models", "no folder of models: give --models DIR, or `models` in the file");
        }
        // Two sockets on one port are told apart by the system only if both addresses are specific.
        let (grpc, metrics) = (self.grpc, self.metrics);
        let alike = grpc.ip() == metrics.ip() || grpc.ip().is_unspecified() || metrics.ip().is_unspecified();
        if grpc.port() != 0 && grpc.port() == metrics.port() && alike {
            settings.conflict("metrics", "grpc", &format!("{metrics} is taken by `grpc`, which listens at {grpc}"));
        }
        let (message, all) = (self.limits.message_bytes_max, self.limits.in_flight_bytes_max);
        if let Some(all) = all.filter(|all| message > *all) {
            let text = format!("{all} bytes cannot hold one message of `limits.message_bytes_max`, {message} bytes");
            settings.conflict("limits.in_flight_bytes_max", "limits.message_bytes_max", &text);
        }
    }
}

impl Repository {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            watch: settings
                .what(
                    "Whether changes in the folders of models are followed: new versions are loaded, changed ones \
                     loaded again, removed ones drained",
                )
                .change("Set it to false where models change only with a restart")
                .get("repository.watch", &Switch, true),
            poll_interval: settings
                .what(
                    "Time between two looks at the folders of models. Changes that the system tells of are seen at once; \
                     network file systems tell of none",
                )
                .change("Raise it where the folders are so large or so far that looking is dear")
                .get("repository.poll_interval", &Time(100 * MILLISECOND..=HOUR), 5 * SECOND),
            settle_time: settings
                .what(
                    "Time for which a version's files and its `model.toml` must have stayed as they are before they are \
                     taken",
                )
                .change("Raise it where models are copied by tools that pause for longer")
                .get("repository.settle_time", &Time(Duration::ZERO..=HOUR), SECOND),
        }
    }
}

impl Limits {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            message_bytes_max: settings
                .what("Largest message, also when it is inflated and its typed contents are decoded")
                .change("Raise it for models of large tensors; one message may then take so much memory")
                .get("limits.message_bytes_max", &Size(KIB..=2 * GIB), positive(64 * MIB)),
            in_flight_bytes_max: settings
                .what(
                    "Bytes of requests, and of answers not read yet, that the server holds at once; more are refused with \
                     `RESOURCE_EXHAUSTED` before they are read. At least `limits.message_bytes_max`",
                )
                .change("Set it to the memory that requests may take; the rows of batches and models come on top")
                .find(
                    "limits.in_flight_bytes_max",
                    &Size(MIB..=1024 * GIB),
                    "an eighth of `limits.memory_bytes_max`, or one message if that is more",
                ),
            in_flight_requests_max: settings
                .what("Requests that the server holds at once; more are refused with `RESOURCE_EXHAUSTED`")
                .change("Raise it for very many slow callers; each model's queue has a limit of its own")
                .get("limits.in_flight_requests_max", &Positive(1 << 20), positive(4096)),
            connections_max: settings
                .what("Open connections to the gRPC port; more are closed at once")
                .change("Raise it, and the number of files that the process may open, for more clients than that")
                .get("limits.connections_max", &Positive(1 << 20), positive(1000)),
            streams_max: settings
                .what("Calls at once on one connection. A client waits silently when it has reached it")
                .change("Raise it if few clients send very many calls at once")
                .get("limits.streams_max", &Positive(1 << 20), positive(1024)),
            handshake_timeout: settings
                .what("Time in which a new connection must begin to speak HTTP/2; then it is closed")
                .change("Lower it if idle connections are used to attack you")
                .get("limits.handshake_timeout", &Time(100 * MILLISECOND..=60 * SECOND), 10 * SECOND),
            idle_timeout: settings
                .what("Time without a call after which a connection is told to go")
                .change("Raise it above the pauses of clients that should keep their connections")
                .get("limits.idle_timeout", &Time(SECOND..=24 * HOUR), 300 * SECOND),
            connection_age: settings
                .what(
                    "Age at which a connection is told to go, give or take a tenth: its calls finish, and its client \
                     connects anew",
                )
                .change("Lower it so that clients behind a load balancer spread sooner over new servers")
                .get("limits.connection_age", &Time(SECOND..=24 * HOUR), 30 * 60 * SECOND),
            receive_timeout: settings
                .what("Time without a byte of a request's message after which the request is ended")
                .change("Raise it for clients on networks that pause for longer")
                .get("limits.receive_timeout", &Time(100 * MILLISECOND..=HOUR), 10 * SECOND),
            send_timeout: settings
                .what("Time without progress after which an answer that its client does not read is reset")
                .change("Raise it for clients that pause between the parts of large answers")
                .get("limits.send_timeout", &Time(100 * MILLISECOND..=HOUR), 30 * SECOND),
            memory_bytes_max: Self::read_memory(settings),
            models_bytes_max: Self::read_models(settings),
        }
    }

    fn read_memory(settings: &mut Reader<'_>) -> Option<NonZeroUsize> {
        settings
            .what(
                "Memory that the server may use. When 92 % of it is resident, connections are told to go, and when \
                 95 % is, requests are refused",
            )
            .change("Set it where the server shares its container with others")
            .find(
                "limits.memory_bytes_max",
                &Size(MIB..=1024 * 1024 * GIB),
                "the cgroup's limit, or the machine's memory",
            )
    }

    fn read_models(settings: &mut Reader<'_>) -> Option<NonZeroUsize> {
        let words = "half of `limits.memory_bytes_max`";
        settings
            .what(
                "Memory that the weights of all models may take, in FP32, with the files that are read at the moment; a \
                 model that does not fit is not loaded",
            )
            .change("Raise it where models are most of what the server holds, and requests are small")
            .find("limits.models_bytes_max", &Size(MIB..=1024 * 1024 * GIB), words)
    }
}

impl Shutdown {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            delay: settings
                .what("Time after SIGTERM in which the server says that it is not ready but still accepts calls")
                .change("Set it to the time that your load balancer takes to notice; 0s where there is none")
                .get("shutdown.delay", &Time(Duration::ZERO..=600 * SECOND), 5 * SECOND),
            grace: settings
                .what("Time that accepted calls then have to finish; the rest are reset")
                .change(
                    "Keep `shutdown.delay` and this one together below what kills the process: 30 s in Kubernetes \
                     unless `terminationGracePeriodSeconds` says more",
                )
                .get("shutdown.grace", &Time(Duration::ZERO..=HOUR), 30 * SECOND),
        }
    }
}

impl Log {
    fn read(settings: &mut Reader<'_>) -> Self {
        let formats = [("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
        Self {
            level: settings
                .what("What is logged. Read again from the file on SIGHUP, unless a flag or the environment sets it")
                .change("`debug` to look into a problem, `warn` for a quiet log")
                .get("log.level", &Levels, "info".to_owned()),
            format: settings
                .what("How a line looks: `pretty` for people, `json` for machines, one object a line")
                .change("`json` where a machine collects the log")
                .get("log.format", &Choice(&formats), LogFormat::Pretty),
            access: settings
                .what("A line for each request: model, rows, times, result")
                .change("Set it to follow single requests; at thousands of requests a second it costs throughput")
                .get("log.access", &Switch, false),
        }
    }
}

impl Monitor {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            window: settings
                .what("Time that the served percentiles look back over")
                .change(
                    "Two to four times the interval of your scrapes; longer is smoother and slower to show a change",
                )
                .get("monitor.window", &Time(SECOND..=HOUR), 60 * SECOND),
        }
    }
}

impl Runtime {
    fn read(settings: &mut Reader<'_>) -> Self {
        Self {
            threads: settings
                .what("Threads that compute models")
                .change("Lower it where the server shares its machine; more than there are cores does not help")
                .find("runtime.threads", &Positive(1024), "one for each core"),
        }
    }
}
