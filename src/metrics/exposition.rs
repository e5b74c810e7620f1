//! All metrics of the process as OpenMetrics text.
//!
//! Whoever owns counters registers them once, at start, under `steerd_<noun>_<unit>`; a scrape reads
//! them where they are. Gauges are closures, read at the scrape.

use super::{Counters, Histogram, Label, Tallies, Unlabelled};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// Writes the samples of one metric.
type Write = Box<dyn Fn(&mut MetricEncoder<'_>) -> fmt::Result + Send + Sync>;

/// One metric, read at the scrape.
struct Metric {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    write: Write,
}

impl fmt::Debug for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

impl Collector for Metric {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let unit = self.unit.as_ref();
        (self.write)(&mut encoder.encode_descriptor(self.name, self.help, unit, self.kind)?)
    }
}

/// Writes one sample of a counter.
fn counter(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

/// Everything that `/metrics` shows.
#[derive(Debug, Default)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows `counters` as `{name}_total`, by `key`.
    pub fn counters<L: Label>(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        counters: Arc<Counters<L>>,
    ) {
        self.add(name, help, MetricType::Counter, move |encoder| {
            L::ALL.iter().try_for_each(|label| {
                counter(&mut encoder.encode_family(&[(key, label.name())])?, counters.get(*label))
            })
        });
    }

    /// Shows the only counter of `counters` as `{name}_total`.
    pub fn unlabelled(
        &mut self,
        name: &'static str,
        help: &'static str,
        counters: Arc<Counters<Unlabelled>>,
    ) {
        self.counter(name, help, move || counters.total());
    }

    /// Shows a counter that somebody else keeps, as `{name}_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Counter, move |encoder| counter(encoder, read()));
    }

    /// Shows `tallies` as `{name}_total`, by `key`.
    pub fn tallies(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        tallies: Arc<Tallies>,
    ) {
        self.add(name, help, MetricType::Counter, move |encoder| {
            tallies.read().iter().try_for_each(|(label, count)| {
                counter(&mut encoder.encode_family(&[(key, &**label)])?, *count)
            })
        });
    }

    /// Shows counts that `read` gives by label at the scrape, 0 left out.
    pub fn counted(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        read: impl Fn() -> Vec<(String, u64)> + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Counter, move |encoder| {
            read().iter().filter(|(_, count)| *count > 0).try_for_each(|(label, count)| {
                counter(&mut encoder.encode_family(&[(key, &**label)])?, *count)
            })
        });
    }

    /// Shows what `read` says at the scrape.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Gauge, move |encoder| encoder.encode_gauge(&read()));
    }

    /// Shows what `read` says at the scrape, by `key`.
    pub fn gauges(
        &mut self,
        name: &'static str,
        help: &'static str,
        key: &'static str,
        read: impl Fn() -> Vec<(String, f64)> + Send + Sync + 'static,
    ) {
        self.add(name, help, MetricType::Gauge, move |encoder| {
            read().iter().try_for_each(|(label, value)| {
                encoder.encode_family(&[(key, label.as_str())])?.encode_gauge(value)
            })
        });
    }

    /// Shows `histogram` as `{name}_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &'static str, histogram: Arc<Histogram>) {
        let write: Write = Box::new(move |encoder| {
            let reading = histogram.read();
            encoder.encode_histogram::<NoLabelSet>(reading.sum_s, reading.count, &reading.buckets, None)
        });
        let (unit, kind) = (Some(Unit::Seconds), MetricType::Histogram);
        self.registry.register_collector(Box::new(Metric { name, help, unit, kind, write }));
    }

    /// The text, in the content type `application/openmetrics-text; version=1.0.0`.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // A `String` takes everything that is written to it.
        let written = text::encode(&mut out, &self.registry);
        debug_assert!(written.is_ok());
        out
    }

    /// Registers a metric without a unit, whose samples `write` writes.
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        write: impl Fn(&mut MetricEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
    ) {
        let metric = Metric { name, help, unit: None, kind, write: Box::new(write) };
        self.registry.register_collector(Box::new(metric));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Colour;
    use super::*;

    #[test]
    fn every_kind_is_written_as_openmetrics() {
        let mut exposition = Exposition::new();
        let counters = Arc::new(Counters::<Colour>::new());
        counters.writer().add(Colour::Green, 5);
        exposition.counters("steerd_paint_cans", "Cans of paint.", "colour", counters);
        let tallies = Arc::new(Tallies::new(1));
        tallies.open(["video.cdn.example".into()].into_iter()).count(0, 0);
        exposition.tallies("steerd_service_answers", "Answers.", "service", tallies);
        exposition.gauge("steerd_table_epoch", "Epoch.", || 42.0);
        exposition.gauges("steerd_table_objects", "Objects.", "kind", || vec![("site".to_owned(), 3.0)]);
        exposition.counter("steerd_pushes", "Pushes.", || 7);
        let histogram = Arc::new(Histogram::new());
        histogram.writer().note(200, 2);
        exposition.histogram("steerd_answer", "Time to answer.", histogram);
        let text = exposition.text();
        for line in [
            "# TYPE steerd_paint_cans counter",
            "steerd_paint_cans_total{colour=\"red\"} 0",
            "steerd_paint_cans_total{colour=\"green\"} 5",
            "steerd_service_answers_total{service=\"video.cdn.example\"} 1",
            "steerd_table_epoch 42.0",
            "steerd_table_objects{kind=\"site\"} 3.0",
            "steerd_pushes_total 7",
            "# UNIT steerd_answer_seconds seconds",
            "steerd_answer_seconds_count 2",
            "steerd_answer_seconds_bucket{le=\"1.28e-7\"} 0",
            "steerd_answer_seconds_bucket{le=\"2.56e-7\"} 2",
            "steerd_answer_seconds_bucket{le=\"+Inf\"} 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
