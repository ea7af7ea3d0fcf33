//! Many simultaneous calls at an idle server.

use std::process::Command;
use std::time::Duration;

use e2e::sipp::scenario;
use e2e::wire::register_port;
use e2e::{Server, Settings, until};

const CALLS: u32 = 500;
/// Above the ephemeral ports and those of other tests: a test's usual block has too few ports for so many calls.
const RTP: &str = "61000-65535";

/// All threads of the server on one CPU, where those of the media workers are scheduled last: the ports that are ready must suffice.
fn starve_the_media_workers(server: &Server) {
    let run = |program: &str, words: &[&str]| {
        let done =
            Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("taskset", &["--all-tasks", "--cpu-list", "--pid", "0", &server.pid().to_string()]);
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server's threads");
    let named = threads.filter_map(|thread| {
        let thread = thread.expect("a thread");
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        name.starts_with("media-").then(|| thread.file_name().into_string().expect("a number"))
    });
    let workers: Vec<String> = named.collect();
    assert!(!workers.is_empty(), "no thread is called a media worker's");
    for worker in workers {
        run("chrt", &["--idle", "--pid", "0", &worker]);
    }
}

/// SIPp counts a call with any other final response than 200 as failed, and then fails itself.
#[test]
fn five_hundred_calls_in_one_second_find_ports_at_an_idle_server() {
    let limits = "[limits]\nrequests_per_minute = 100000\ncalls_per_user = 1000\n";
    let environment = vec![("CENTRALITA__MEDIA__PORTS".to_owned(), RTP.to_owned())];
    let server = Server::with(Settings { more: limits.into(), environment, ..Settings::default() });
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (caller, callee) = (server.spare_port(0), server.spare_port(8));
    register_port(&server, &bob, callee);
    let files = format!("/proc/{}/fd", server.pid());
    until(Duration::from_secs(20), "two ports of two legs each lie ready", || {
        (std::fs::read_dir(&files).expect("the server's files").count() > 4 * CALLS as usize).then_some(())
    });
    starve_the_media_workers(&server);
    let patience = Duration::from_secs(120);
    let answering = scenario("callee", server.sip(), callee).from(&bob).calls(CALLS, CALLS);
    let answering = answering.time_limit(patience).start();
    let calling = scenario("caller", server.sip(), caller).from(&alice).to("1002");
    let said = calling.calls(CALLS, CALLS).time_limit(patience).passes();
    let ended = said.matches("\nBYE sip:").count();
    assert!(
        ended >= CALLS as usize,
        "each call was up, and was ended by us, now and then with a BYE sent again: {ended}"
    );
    answering.passes();
}
