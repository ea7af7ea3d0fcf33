//! State of the surrounding process as the API reports it: threads, tasks and metrics counted outside the API.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// State of a thread or task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// Running.
    Running,
    /// Ended by an error; waiting to be restarted.
    Restarting,
    /// Finished its work.
    Ended,
}

impl TaskState {
    /// Name of the state in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Restarting => "restarting",
            TaskState::Ended => "ended",
        }
    }
}

/// Status of one thread or task of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskStatus {
    /// Name of the task.
    pub name: String,
    /// State of the task.
    pub state: TaskState,
    /// Number of restarts after an error.
    pub restarts: u64,
    /// Text of the last error.
    pub last_fault: Option<String>,
}

/// Source of process state, implemented by the server.
pub trait Process: Send + Sync + 'static {
    /// The threads and tasks of the process.
    fn tasks(&self) -> Vec<TaskStatus>;

    /// Write the metrics that are counted outside the API.
    fn metrics(&self, page: &mut MetricsPage<'_>) -> fmt::Result;
}

/// Value of a metric.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// An integer.
    Whole(u64),
    /// A real number, such as seconds.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Value {
        Value::Whole(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

/// Type of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only increases; `_total` is appended to its name.
    Counter,
}

/// The metrics page that a scrape reads.
pub struct MetricsPage<'a>(pub(crate) DescriptorEncoder<'a>);

impl fmt::Debug for MetricsPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsPage").finish_non_exhaustive()
    }
}

impl MetricsPage<'_> {
    /// Write a metric with one value.
    pub fn value(&mut self, kind: Kind, name: &str, help: &str, value: impl Into<Value>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind.metric_type())?;
        put(&mut metric, kind, value.into())
    }

    /// Write a metric with one value per label value.
    pub fn values<T: Into<Value>>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (impl AsRef<str>, T)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind.metric_type())?;
        for (of, value) in values {
            let labels = [(label, of.as_ref())];
            put(&mut metric.encode_family(&labels)?, kind, value.into())?;
        }
        Ok(())
    }

    /// Write a histogram. Each bucket is its upper bound and its own (not cumulative) count; the last bound is infinite.
    pub fn histogram(&mut self, name: &str, help: &str, sum: f64, buckets: &[(f64, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Kind::Gauge => MetricType::Gauge,
            Kind::Counter => MetricType::Counter,
        }
    }
}

fn put(metric: &mut MetricEncoder<'_>, kind: Kind, value: Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Gauge, Value::Whole(value)) => metric.encode_gauge(&value),
        (Kind::Gauge, Value::Real(value)) => metric.encode_gauge(&value),
        (Kind::Counter, Value::Whole(value)) => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
        (Kind::Counter, Value::Real(value)) => metric.encode_counter::<NoLabelSet, _, f64>(&value, None),
    }
}
