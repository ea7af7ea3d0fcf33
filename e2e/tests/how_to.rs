//! Every how-to page is run as a reader would run it, from its code blocks (see `e2e::how_to`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::how_to::{self, HowTo};
use e2e::postgres::PASSWORD;
use e2e::raw::Raw;
use e2e::{Account, Extension, Phone, Postgres, Server, Settings, Smtp, soon, tone, until};

/// Number of blocks on all pages that no test runs, because they need root, systemd or minutes, or never end.
const NOT_RUN: usize = 7;
const LONG: Duration = Duration::from_secs(40);

/// The pages with a test below, and a declaration of each test.
macro_rules! pages {
    ($($name:ident: $page:literal, $run:expr;)*) => {
        const PAGES: &[&str] = &[$($page),*];
        $(#[test]
        fn $name() {
            $run(HowTo::read($page));
        })*
    };
}

pages! {
    the_first_page: "README", |page: HowTo| page.run(&mut Server::start());
    backing_up_and_restoring: "back-up", back_up;
    connecting_a_trunk: "connect-a-trunk", connect_a_trunk;
    emergency_numbers: "emergency-numbers", |page: HowTo| page.run(&mut Server::start());
    feature_codes: "feature-codes", |page: HowTo| page.run(&mut with_extensions().0);
    finding_out_why_a_call_failed: "find-out-why-a-call-failed", find_out;
    forwarding: "forward-calls", |page: HowTo| page.run(&mut with_extensions().0);
    importing: "import-extensions", |page: HowTo| page.run(&mut Server::start());
    limiting_what_calls_cost: "limit-what-calls-cost", |page: HowTo| page.run(&mut Server::start());
    opening_to_a_network: "open-to-a-network", |page: HowTo| page.run(&mut Server::start());
    putting_behind_a_proxy: "put-behind-a-proxy", |page: HowTo| page.run(&mut Server::start());
    planning_recurring_calls: "plan-recurring-calls", plan;
    recording: "record-calls", record;
    running_as_a_service: "run-as-a-service", run_as_a_service;
    seeing_what_the_server_does: "see-what-the-server-does", |page: HowTo| page.run(&mut Server::start());
    testing_the_api: "test-the-api", |page: HowTo| page.run(&mut Server::start());
    moving_to_postgresql: "use-postgresql", use_postgresql;
    using_voicemail: "voicemail", voicemail;
    receiving_events: "webhooks", webhooks;
}

#[test]
fn every_page_is_run() {
    let files = std::fs::read_dir(how_to::folder()).expect("the pages").flatten();
    let names = files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".md").map(str::to_owned));
    let tested: BTreeSet<String> = PAGES.iter().map(|page| (*page).to_owned()).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), tested);
}

#[test]
fn few_blocks_are_not_run() {
    let blocks = PAGES.iter().flat_map(|page| HowTo::read(page).blocks);
    let skipped: Vec<_> = blocks.filter(|block| block.no_test.is_some()).collect();
    assert!(skipped.len() <= NOT_RUN, "{skipped:#?}");
}

/// The extensions that the pages name.
fn with_extensions() -> (Server, [Extension; 3]) {
    let server = Server::start();
    let extensions = extensions(&server);
    (server, extensions)
}

fn extensions(server: &Server) -> [Extension; 3] {
    ["1001", "1002", "1003"].map(|number| server.extension(number))
}

fn registered(server: &Server, extension: &Extension) -> Raw {
    let mut phone = Raw::new(server, extension);
    phone.register();
    phone
}

fn back_up(page: HowTo) {
    // The page is about SQLite.
    let settings = Settings { store: Some("sqlite:centralita.db".into()), ..Settings::default() };
    let mut server = Server::with(settings);
    let [alice, ..] = extensions(&server);
    page.run_with(&mut server, |block, server| {
        if block.contains("store restore") {
            server.extension("1004");
        }
    });
    let listed = server.command(&["extension", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains(" 1001 ") && !listed.contains(" 1004 "), "{listed}");
    registered(&server, &alice);
}

/// A carrier that accepts every registration, answers OPTIONS, and answers every call.
fn carry(carrier: &Raw, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let Some(request) = carrier.receive(Duration::from_millis(50)) else { continue };
        match request.method() {
            Some("REGISTER") => {
                let contact = request.header("Contact").unwrap_or_default().to_owned();
                carrier.answer(&request, 200, &format!("Contact: {contact};expires=600\r\n"), "");
            }
            Some("INVITE") => {
                let contact =
                    format!("Contact: <sip:{}>\r\nContent-Type: application/sdp\r\n", carrier.local());
                carrier.answer(&request, 200, &contact, &carrier.sdp());
            }
            Some("OPTIONS" | "BYE") => carrier.answer(&request, 200, "", ""),
            Some(_) | None => {}
        }
    }
}

fn connect_a_trunk(page: HowTo) {
    let (mut server, _) = with_extensions();
    let carrier = Raw::at(IpAddr::V4(Ipv4Addr::LOCALHOST), server.sip(), "carrier", "");
    let page = page.replacing("sip.carrier.example", &carrier.local().to_string());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| carry(&carrier, &done));
        let _stop = Stop(&done);
        page.run_with(&mut server, |block, server| {
            if block.contains("trunk test") {
                until(LONG, "the trunk is registered", || {
                    let shown = server.command(&["trunk", "list"]);
                    String::from_utf8_lossy(&shown.stdout).contains(" registered").then_some(())
                });
            }
        });
    });
}

/// Tells a thread to end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn find_out(page: HowTo) {
    let (mut server, [alice, ..]) = with_extensions();
    let mut phone = registered(&server, &alice);
    let sdp = phone.sdp();
    let dialling = phone.invite("1999", "", &sdp);
    phone.send(dialling.text.as_bytes());
    assert_eq!(phone.expect_final("INVITE").status(), Some(404));
    server.finished_call();
    page.run(&mut server);
}

fn plan(page: HowTo) {
    let (mut server, _) = with_extensions();
    let folder = server.data().join("../standup.wav");
    std::fs::write(folder, tone::wav(&tone::sine(440, 2))).expect("a sound");
    page.run(&mut server);
}

fn record(page: HowTo) {
    let (mut server, [alice, bob, _]) = with_extensions();
    let account = |extension| Account::of(extension, server.sip());
    let one = Phone::registered("one", 440, &account(&alice));
    let two = Phone::registered("two", 1000, &account(&bob));
    page.run_with(&mut server, |block, server| {
        if block.contains("recording/start") {
            soon("both have answered", || (server.calls().first()?["status"] == "in-progress").then_some(()));
        }
        if block.contains("api/v1/recordings\"") {
            until(LONG, "the recording is complete", || {
                let listed = server.admin().get("/api/v1/recordings").expect(200);
                (listed["recordings"][0]["state"] == "complete").then_some(())
            });
        }
    });
    let wav = std::fs::read(server.data().join("../call.wav")).expect("the audio was fetched");
    assert!(wav.starts_with(b"RIFF"), "{} bytes", wav.len());
    drop((one, two));
}

fn run_as_a_service(page: HowTo) {
    let packaged = std::fs::read_to_string(how_to::folder().join("../../packaging/centralita.service"));
    let shown = page.in_language("ini").next().expect("the unit").text.clone();
    assert_eq!(shown, packaged.expect("the unit's file"), "the page shows the unit as it is packaged");
    let mut server = Server::start();
    // The command line of the unit is one line; with another subcommand it prints how it understands its options.
    let command = shown.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let words: Vec<&str> = command.split(' ').collect();
    let [_, "serve", options @ ..] = words.as_slice() else { panic!("{command}") };
    let checked = Command::new(server.binary()).args(["config", "check"]).args(options).output();
    let checked = checked.expect("the binary runs");
    assert_ne!(checked.status.code(), Some(2), "{command}: {}", String::from_utf8_lossy(&checked.stderr));
    page.run(&mut server);
}

fn use_postgresql(page: HowTo) {
    let cluster = Postgres::start_with_tls();
    let (folder, port) = cluster.place();
    let settings = Settings { store: Some("sqlite:centralita.db".into()), ..Settings::default() };
    let mut server = Server::with(settings);
    let [alice, ..] = extensions(&server);
    let place = format!("127.0.0.1:{port}");
    let page = page
        .replacing("127.0.0.1:5432", &place)
        .with_environment("PGHOST", &folder.display().to_string())
        .with_environment("PGPORT", &port.to_string())
        .with_environment("PGUSER", "centralita")
        .with_environment("PGDATABASE", "postgres")
        .with_environment("PGPASSWORD", PASSWORD);
    page.run_with(&mut server, |block, server| {
        if block.contains("systemctl start centralita") {
            server.restart_on(&format!("postgres://pbx:PASSWORD@{place}/pbx"));
        }
    });
    registered(&server, &alice);
}

fn voicemail(page: HowTo) {
    let smtp = Smtp::start(0);
    let mut server = Server::with(smtp.settings());
    let [alice, bob, _] = extensions(&server);
    server.with_voicemail(&alice);
    std::fs::write(server.data().join("../hello.wav"), tone::wav(&tone::sine(440, 2))).expect("a greeting");
    let mut caller = Phone::registered("caller", 440, &Account::of(&bob, server.sip()));
    caller.dial("sip:1001@localhost");
    let folder = server.data().join("voicemail").join(&alice.id);
    until(LONG, "some seconds of a message lie in a file", || {
        let files = std::fs::read_dir(&folder).ok()?;
        let bytes: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
        (bytes > 8_000).then_some(())
    });
    caller.hang_up();
    let path = format!("/api/v1/voip/extensions/{}/voicemail", alice.id);
    soon("the message is listed", || (server.admin().get(&path).expect(200)["unread"] == 1).then_some(()));
    page.run(&mut server);
    assert!(smtp.mail(1).contains("To: ana@example.com"));
    let message = std::fs::read(server.data().join("../message.wav")).expect("the message was fetched");
    assert!(message.starts_with(b"RIFF") && message.len() > 8_000, "{} bytes", message.len());
}

fn webhooks(page: HowTo) {
    let more = "[webhooks]\nallow_insecure_loopback = true\n".to_owned();
    let mut server = Server::with(Settings { more, ..Settings::default() });
    extensions(&server);
    let function = page.in_language("python").next().expect("the function").text.clone();
    std::fs::write(server.data().join("../genuine.py"), function).expect("the function's file");
    let port = server.spare_port(0).to_string();
    page.replacing("8090", &port).run(&mut server);
}
