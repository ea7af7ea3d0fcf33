//! What the API shows of the process that it runs in: its threads and tasks, and figures that are counted elsewhere.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// How a thread or a task is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskState {
    /// It runs.
    Running,
    /// It ended by an error, and waits to begin anew.
    Restarting,
    /// It has nothing more to do.
    Ended,
}

impl TaskState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Running => "running",
            TaskState::Restarting => "restarting",
            TaskState::Ended => "ended",
        }
    }
}

/// One thread or task of the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskStatus {
    /// Its name.
    pub name: String,
    /// How it is doing.
    pub state: TaskState,
    /// How often it has begun anew after an error.
    pub restarts: u64,
    /// Its last error.
    pub last_fault: Option<String>,
}

/// The process, as the shell knows it.
pub trait Process: Send + Sync + 'static {
    /// Its threads and tasks.
    fn tasks(&self) -> Vec<TaskStatus>;

    /// Write what is counted outside the API.
    fn metrics(&self, page: &mut MetricsPage<'_>) -> fmt::Result;
}

/// A value of a metric.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number: seconds.
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

/// What becomes of a metric's value in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up; `_total` is added to its name.
    Counter,
}

/// The page that a scrape reads.
pub struct MetricsPage<'a>(pub(crate) DescriptorEncoder<'a>);

impl fmt::Debug for MetricsPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsPage").finish_non_exhaustive()
    }
}

impl MetricsPage<'_> {
    /// One value.
    pub fn value(&mut self, kind: Kind, name: &str, help: &str, value: impl Into<Value>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, kind.metric_type())?;
        put(&mut metric, kind, value.into())
    }

    /// A value for each of several things, told apart by one label.
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

    /// How often something was at most as large as each bound; the last bound is infinite.
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
