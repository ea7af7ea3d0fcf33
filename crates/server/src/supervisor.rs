//! Supervises the threads and tasks of the process, by name. A task that panics is counted and restarted after a back-off; a panic in one that
//! owns state which only the journal can restore ends the process with [`EXIT_CODE`], and the next start restores that state.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use api::{TaskState, TaskStatus};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::fault;

/// Exit code after an internal error: `EX_SOFTWARE` of sysexits.h. The service manager restarts the process.
pub const EXIT_CODE: i32 = 70;
/// A task is restarted at once after its first panic, after this pause after the second; each further panic doubles the pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Upper limit of the pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A task that ran this long is healthy again: its pause is reset.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

thread_local! {
    /// Description of this thread's last panic, set by the hook.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Log every panic of the process, with personal data redacted.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = describe(info);
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{text}");
        LAST_PANIC.with_borrow_mut(|last| *last = Some(text));
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!("panicked at {place}: {}", redacted(message(info.payload())))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

/// A panic's message up to the first quoted value: the standard library quotes the text that it failed on, which may be received or personal
/// data. Long numbers are masked.
fn redacted(message: &str) -> String {
    let plain = message.split(['`', '\'', '"', '{', '\n']).next().unwrap_or_default();
    let mut text = String::with_capacity(plain.len());
    let mut rest = plain;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        text.push_str(before);
        text.push_str(if end > 4 { "#" } else { digits.get(..end).unwrap_or_default() });
        rest = digits.get(end..).unwrap_or_default();
    }
    text.push_str(rest);
    text.trim_end().to_owned()
}

/// A caught panic: its location, and the redacted message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Panic(pub String);

impl Panic {
    fn last() -> Panic {
        Panic(LAST_PANIC.with_borrow_mut(Option::take).unwrap_or_else(|| "panicked".to_owned()))
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Run `work` and catch a panic. State that it was changing must be considered inconsistent afterwards.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panic::last())
}

/// [`catch`] for a future.
pub async fn catch_async<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| match catch(|| future.as_mut().poll(context)) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The supervisor. Clones share its state.
#[derive(Clone, Default)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: Mutex<BTreeMap<String, Task>>,
    /// Flushes the log within a bounded time.
    flush: Option<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Clone, Debug)]
struct Task {
    state: TaskState,
    restarts: u64,
    last_fault: Option<String>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor that calls `flush` before it ends the process.
    pub fn new(flush: impl Fn() + Send + Sync + 'static) -> Supervisor {
        Supervisor { inner: Arc::new(Inner { tasks: Mutex::default(), flush: Some(Box::new(flush)) }) }
    }

    /// Names and states of all supervised tasks.
    pub fn tasks(&self) -> Vec<TaskStatus> {
        let tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(name, task): (&String, &Task)| TaskStatus {
            name: name.clone(),
            state: task.state,
            restarts: task.restarts,
            last_fault: task.last_fault.clone(),
        };
        tasks.iter().map(status).collect()
    }

    /// Register a thread or task that restarts itself.
    pub fn watch(&self, name: impl Into<String>) -> TaskMonitor {
        let watch = TaskMonitor {
            supervisor: self.clone(),
            name: name.into(),
            pause: Duration::ZERO,
            longest: LONGEST_PAUSE,
            began: Instant::now(),
        };
        watch.set(|task| task.state = TaskState::Running);
        watch
    }

    /// Spawn a task that is restarted after a panic. A normal return is an intended end.
    pub fn task<F: Future<Output = ()> + Send>(
        &self,
        runtime: &Handle,
        name: &'static str,
        mut begin: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()> {
        let mut watch = self.watch(name);
        runtime.spawn(async move {
            loop {
                let run = async {
                    tokio::select! {
                        () = begin() => {}
                        () = fault::in_task(name) => {}
                    }
                };
                match catch_async(run).await {
                    Ok(()) => return watch.ended(),
                    Err(panic) => tokio::time::sleep(watch.failed(&panic.0)).await,
                }
                watch.restarted();
            }
        })
    }

    /// Spawn a task that owns state which only the journal can restore: a panic in it ends the process.
    pub fn essential<T: Send + 'static>(
        &self,
        runtime: &Handle,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let watch = self.watch(name);
        runtime.spawn(async move {
            let run = async {
                tokio::select! {
                    done = future => done,
                    () = fault::in_task(name) => std::future::pending().await,
                }
            };
            match catch_async(run).await {
                Ok(done) => {
                    watch.ended();
                    done
                }
                Err(panic) => watch.supervisor.fatal(name, &panic.0, None),
            }
        })
    }

    /// Run a future once; a panic in it is counted under `name` and gives `None`.
    pub async fn run_once<T>(&self, name: &'static str, future: impl Future<Output = T>) -> Option<T> {
        match catch_async(future).await {
            Ok(done) => Some(done),
            Err(panic) => {
                let mut watch = self.watch(name);
                watch.failed(&panic.0);
                watch.restarted();
                None
            }
        }
    }

    /// End the process because `name` cannot continue. `input` is the path of a crash report, if there is one.
    pub fn fatal(&self, name: &str, what: &str, input: Option<&Path>) -> ! {
        static ENDING: AtomicBool = AtomicBool::new(false);
        while ENDING.swap(true, Ordering::AcqRel) {
            std::thread::park(); // another thread is ending the process
        }
        let input = input.map_or_else(String::new, |path| {
            format!("; the input that it was handling is described in {}", path.display())
        });
        let sentence = format!(
            "the {name} {what}{input}; the process ends with exit code {EXIT_CODE}, and its next start restores registrations and calls from the journal"
        );
        if tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!("{sentence}");
        } else {
            eprintln!("centralita: {sentence}"); // the log is switched off; this must be visible at any level
        }
        if let Some(flush) = &self.inner.flush {
            flush();
        }
        std::process::exit(EXIT_CODE)
    }
}

/// State of one supervised thread or task.
#[derive(Debug)]
pub struct TaskMonitor {
    supervisor: Supervisor,
    name: String,
    pause: Duration,
    longest: Duration,
    began: Instant,
}

impl TaskMonitor {
    /// Limit the pauses to `longest`, which is at least the first pause.
    #[must_use]
    pub fn pausing_at_most(self, longest: Duration) -> TaskMonitor {
        let mut watch = self;
        watch.longest = longest.max(FIRST_PAUSE);
        watch
    }

    fn set(&self, change: impl FnOnce(&mut Task)) {
        let mut tasks = self.supervisor.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Task { state: TaskState::Running, restarts: 0, last_fault: None };
        change(tasks.entry(self.name.clone()).or_insert_with(new));
    }

    /// Record a failure. Returns the pause before the restart.
    pub fn failed(&mut self, what: &str) -> Duration {
        self.set(|task| {
            task.state = TaskState::Restarting;
            task.last_fault = Some(what.to_owned());
        });
        let ran = self.began.elapsed();
        let pause = if ran >= HEALTHY_AFTER { Duration::ZERO } else { self.pause };
        self.pause = (pause * 2).clamp(FIRST_PAUSE, self.longest);
        tracing::error!(task = self.name, pause_ms = pause.as_millis() as u64, "{what}; it is restarted");
        pause
    }

    /// Record a restart.
    pub fn restarted(&mut self) {
        self.began = Instant::now();
        self.set(|task| {
            task.state = TaskState::Running;
            task.restarts += 1;
        });
    }

    /// Record an intended end.
    pub fn ended(&self) {
        self.set(|task| task.state = TaskState::Ended);
    }

    /// The supervisor.
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }
}

/// A task that was aborted, or returned, has ended.
impl Drop for TaskMonitor {
    fn drop(&mut self) {
        self.set(|task| {
            if task.state == TaskState::Running {
                task.state = TaskState::Ended;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_panic_shows_no_value() {
        let text = "byte index 3 is not a char boundary; it is inside 'é' (bytes 2..4) of `José 5551234`";
        assert_eq!(redacted(text), "byte index 3 is not a char boundary; it is inside");
        assert_eq!(
            redacted("index out of bounds: the len is 3 but the index is 56912345678"),
            "index out of bounds: the len is 3 but the index is #"
        );
    }

    #[tokio::test]
    async fn a_task_that_panics_is_restarted_and_one_that_returns_has_ended() {
        let supervisor = Supervisor::default();
        let mut runs = 0;
        let task = supervisor.task(&Handle::current(), "test", move || {
            runs += 1;
            async move { assert!(runs > 2, "not yet") }
        });
        task.await.unwrap();
        let all = supervisor.tasks();
        let [task] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((task.name.as_str(), task.state, task.restarts), ("test", TaskState::Ended, 2));
        assert_eq!(
            supervisor.run_once("one shot", async { assert_eq!(all.len(), 2, "at once") }).await,
            None
        );
    }
}
