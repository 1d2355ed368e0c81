//! The words of `sconce bench` on the command line.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::arrivals::Spread;
use super::shape::RowShape;
use crate::config::duration;

const EXAMPLES: &str = "\
Examples:
  sconce bench localhost:8001 --model digits
  sconce bench localhost:8001 --model digits --concurrency 1,16,64 --connections 4
  sconce bench localhost:8001 --model digits --rate 500,5000 --deadline 50ms --plot a.svg
  sconce bench localhost:8001 --model digits --sweep --json > sweep.json
  sconce bench triton:8001 --model resnet --rows 8 --shape image:3,224,224

A step is one concurrency or one rate. Rates are of the answers that came within the measured time, latency is of all calls \
that were due in it. The exit code is 1 if no call was answered well. docs/load-testing.md explains each figure.";

const COUNT_MAX: usize = 1 << 20;
const RATE_MAX: f64 = 1e6;

/// What to send where, and how fast.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(in crate::cli) struct Flags {
    /// The server: HOST:PORT or http://HOST:PORT, any that speaks the Open Inference Protocol v2 over gRPC.
    #[arg(value_name = "ADDR")]
    pub(super) address: String,
    /// Model to ask.
    #[arg(long, value_name = "NAME")]
    pub(super) model: String,
    /// Version of the model [default: the server's choice].
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub(super) model_version: String,

    /// Closed loop: so many callers, each of which waits for its answer before it asks again; a step for each number.
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        value_parser = count,
        default_value = "1",
        help_heading = "Load"
    )]
    pub(super) concurrency: Vec<NonZeroUsize>,
    /// Open loop: so many requests a second, whether or not answers come; a step for each rate.
    #[arg(
        long,
        value_name = "R,…",
        value_delimiter = ',',
        value_parser = rate,
        conflicts_with = "concurrency",
        help_heading = "Load"
    )]
    pub(super) rate: Vec<f64>,
    /// Closed loop with 1, 2, 4, … callers until two doublings in a row bring less than 5 % more good answers a second.
    /// Tells the knee: the least concurrency with 95 % of the best.
    #[arg(long, conflicts_with_all = ["concurrency", "rate"], help_heading = "Load")]
    pub(super) sweep: bool,
    /// How the arrivals of an open loop are spread.
    #[arg(long, value_name = "HOW", default_value = "poisson", requires = "rate", help_heading = "Load")]
    pub(super) arrivals: Spread,
    /// Calls of an open loop that may be unanswered at once; more wait in the client, counted from when they were due.
    #[arg(
        long,
        value_name = "N",
        value_parser = count,
        default_value = "10000",
        requires = "rate",
        help_heading = "Load"
    )]
    pub(super) in_flight_max: NonZeroUsize,
    /// Closed loop: after a refusal, wait for as long as the server asks (`grpc-retry-pushback-ms`) before asking again.
    #[arg(long, conflicts_with = "rate", help_heading = "Load")]
    pub(super) heed_pushback: bool,
    /// Connections to spread the calls over.
    #[arg(long, value_name = "N", value_parser = count, default_value = "1", help_heading = "Load")]
    pub(super) connections: NonZeroUsize,
    /// Measured time of each step.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time, help_heading = "Load")]
    pub(super) duration: Duration,
    /// Time of the same load before each step, which is not measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, help_heading = "Load")]
    pub(super) warmup: Duration,
    /// Seed of the arrivals and of made inputs.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Load")]
    pub(super) seed: u64,

    /// Rows of each request, for inputs whose first dimension is free [default: 1].
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub(super) rows: Option<NonZeroUsize>,
    /// Dimensions of one row of an input, for those that the model leaves free (else 1), such as image:3,224,224.
    #[arg(long = "shape", value_name = "NAME:D,…", help_heading = "Requests")]
    pub(super) shapes: Vec<RowShape>,
    /// Requests to send in turn instead of made ones: JSON Lines, each
    /// {"inputs":[{"name":…,"datatype":…,"shape":[…],"data":[…]}]} as in the protocol over HTTP.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rows", "shapes"], help_heading = "Requests")]
    pub(super) input: Option<PathBuf>,
    /// Time for each answer, counted from when the request was due; sent as grpc-timeout and kept by the client too.
    /// What has not come by then is counted as expired.
    #[arg(long, value_name = "TIME", value_parser = some_time, help_heading = "Requests")]
    pub(super) deadline: Option<Duration>,
    /// Priority sent with each request; 1 is the most urgent.
    #[arg(long, value_name = "N", help_heading = "Requests")]
    pub(super) priority: Option<NonZeroU64>,
    /// Give each request an id of its own, and check that its answer carries it.
    #[arg(long, help_heading = "Requests")]
    pub(super) ids: bool,
    /// Compress requests with gzip, and accept compressed answers.
    #[arg(long, help_heading = "Requests")]
    pub(super) gzip: bool,

    /// Print one JSON object instead of a table.
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Draw latency against throughput into an SVG file as well.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) plot: Option<PathBuf>,
}

fn time(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "expected a time with its unit, such as 200ms, 10s or 2m".to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    time(text).and_then(|time| if time.is_zero() { Err("expected more than no time".to_owned()) } else { Ok(time) })
}

/// Each call at once takes a task, and each arrival of an open loop some nanoseconds to draw: bounds keep a slip of the
/// keyboard from taking the machine.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= COUNT_MAX);
    count.ok_or_else(|| format!("expected a whole number from 1 to {COUNT_MAX}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| *rate > 0.0 && *rate <= RATE_MAX);
    rate.ok_or_else(|| format!("expected requests a second, more than 0 and at most {RATE_MAX}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args as _, FromArgMatches as _};

    use super::Flags;

    fn parse(line: &str) -> Result<Flags, clap::Error> {
        let command = Flags::augment_args(clap::Command::new("bench"));
        let words = format!("bench host:1 --model m {line}");
        Flags::from_arg_matches(&command.try_get_matches_from(words.split_whitespace())?)
    }

    #[test]
    fn lists_and_times_are_read() {
        let flags = parse("--rate 100,2.5 --deadline 200ms --shape image:3,224,224").expect("good flags");
        assert_eq!(flags.rate, [100.0, 2.5]);
        assert_eq!(flags.deadline, Some(Duration::from_millis(200)));
        assert_eq!(flags.shapes.len(), 1);
        let flags = parse("--concurrency 1,16,64").expect("good flags");
        assert_eq!(flags.concurrency.iter().map(|number| number.get()).collect::<Vec<_>>(), [1, 16, 64]);
    }

    #[test]
    fn one_kind_of_load_at_a_time() {
        for line in ["--rate 5 --concurrency 2", "--sweep --rate 5", "--sweep --concurrency 2", "--arrivals constant"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, told) in [
            ("--rate 0", "expected requests a second, more than 0 and at most 1000000"),
            ("--rate inf", "at most 1000000"),
            ("--duration 10", "with its unit"),
            ("--duration 0s", "more than no time"),
            ("--concurrency 0", "from 1 to 1048576"),
            ("--shape image", "NAME:D,D"),
        ] {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
