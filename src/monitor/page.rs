//! Metric families under construction: samples by catalogue entry, in the data model of the `prometheus` crate.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, Quantile, Summary,
};

use super::bounds;
use super::catalogue::Metric;
use crate::stats::{BoundedCounts, Distribution};

/// Families by name, as they are exposed.
#[derive(Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, (&'static Metric, Vec<Sample>)>,
}

impl Page {
    pub(super) fn counter(&mut self, metric: &'static Metric, labels: &[&str], value: u64) {
        let mut counter = Counter::default();
        counter.set_value(float(value));
        self.add(metric, labels).set_counter(counter);
    }

    pub(super) fn gauge(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.add(metric, labels).set_gauge(gauge);
    }

    /// A histogram over its own bounds.
    pub(super) fn bounded(&mut self, metric: &'static Metric, labels: &[&str], counts: &BoundedCounts) {
        let mut below = 0;
        let mut buckets = Vec::with_capacity(counts.bounds.len());
        for (bound, count) in counts.bounds.iter().zip(&counts.counts) {
            below += count;
            buckets.push(bucket(*bound, below));
        }
        self.histogram(metric, labels, buckets, counts.count(), counts.sum);
    }

    /// A histogram of durations, exposed at some of its edges.
    pub(super) fn durations(&mut self, metric: &'static Metric, labels: &[&str], edges: &[usize], all: &Distribution) {
        let below = all.cumulative(edges);
        let buckets = edges.iter().zip(below).map(|(edge, below)| bucket(bounds::seconds(*edge), below)).collect();
        self.histogram(metric, labels, buckets, all.count(), all.sum().as_secs_f64());
    }

    /// Percentiles of `recent`; sum and count of `all`.
    pub(super) fn summary(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        shares: &[f64],
        recent: &Distribution,
        all: &Distribution,
    ) {
        let mut summary = Summary::default();
        summary.set_sample_count(all.count());
        summary.set_sample_sum(all.sum().as_secs_f64());
        let found = recent.quantiles(shares);
        summary.set_quantile(shares.iter().zip(found).map(|(share, found)| quantile(*share, found)).collect());
        self.add(metric, labels).set_summary(summary);
    }

    /// Every family that has a sample, by name.
    pub(super) fn into_families(self) -> Vec<MetricFamily> {
        let family = |(metric, samples): (&Metric, Vec<Sample>)| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(metric.kind);
            family.set_metric(samples);
            family
        };
        self.families.into_values().map(family).collect()
    }

    fn histogram(&mut self, metric: &'static Metric, labels: &[&str], buckets: Vec<Bucket>, count: u64, sum: f64) {
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        self.add(metric, labels).set_histogram(histogram);
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Sample {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        let pairs = metric.labels.iter().zip(labels).map(|(name, value)| pair(name, value)).collect();
        let samples = &mut self.families.entry(metric.name).or_insert_with(|| (metric, Vec::new())).1;
        samples.push(Sample::from_label(pairs));
        let last = samples.len() - 1;
        &mut samples[last]
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn bucket(bound: f64, below: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(bound);
    bucket.set_cumulative_count(below);
    bucket
}

fn quantile(share: f64, found: Option<Duration>) -> Quantile {
    let mut quantile = Quantile::default();
    quantile.set_quantile(share);
    quantile.set_value(found.map_or(f64::NAN, |found| found.as_secs_f64()));
    quantile
}

/// A count as Prometheus has it; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "all numbers of the format are floats")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
