//! From a URI to addresses (RFC 3263): the questions, their order, and the candidates.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::time::Duration;

use base::{Instant, Rng};
use centralita_sip::resolve::{Answer, Candidate, Question, Record, Resolver, Step};
use centralita_sip::{Transport, Uri};

const TTL: Duration = Duration::from_secs(60);

fn naptr(order: u16, service: &str, replacement: &str) -> Record {
    let (flags, service, replacement) = ("S".into(), service.into(), replacement.into());
    Record::Naptr { order, preference: 10, flags, service, replacement }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::Srv { priority, weight, port, target: target.into() }
}

fn ip(text: &str) -> Record {
    Record::Address(text.parse().unwrap())
}

struct Zone {
    records: HashMap<Question, Vec<Record>>,
    asked: Vec<Question>,
    resolver: Resolver,
    now: Instant,
}

impl Zone {
    fn new(records: Vec<(Question, Vec<Record>)>) -> Zone {
        let transports = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
        let resolver = Resolver::new(transports, Rng::from_number(5));
        Zone {
            records: records.into_iter().collect(),
            asked: Vec::new(),
            resolver,
            now: Instant::from_micros(1),
        }
    }

    fn candidates(&mut self, uri: &str) -> Vec<String> {
        let uri = Uri::parse(uri.to_owned().into()).unwrap();
        let (id, mut step) = self.resolver.ask(self.now, &uri);
        loop {
            match step {
                Step::Ask(question) => {
                    let answer = match self.records.get(&question) {
                        Some(records) => Answer::Found { records: records.clone(), ttl: TTL },
                        None => Answer::Nothing { ttl: TTL },
                    };
                    self.asked.push(question);
                    step = self.resolver.answer(self.now, id, answer);
                }
                Step::Wait(until) => {
                    self.now = until;
                    step = self.resolver.resume(self.now, id);
                }
                Step::Done(found) => return found.iter().map(show).collect(),
            }
        }
    }
}

fn show(candidate: &Candidate) -> String {
    format!("{} {}", candidate.transport.as_param(), candidate.address)
}

fn q_srv(name: &str) -> Question {
    Question::Srv(name.into())
}

fn host(name: &str) -> Question {
    Question::Address(name.into())
}

#[test]
fn addresses_and_ports_need_few_questions() {
    let mut zone = Zone::new(vec![(host("pbx.example"), vec![ip("192.0.2.1"), ip("2001:db8::1")])]);
    assert_eq!(zone.candidates("sip:1@192.0.2.9"), ["udp 192.0.2.9:5060"]);
    assert_eq!(zone.candidates("sip:1@[2001:db8::9]:5070;transport=tcp"), ["tcp [2001:db8::9]:5070"]);
    assert_eq!(zone.candidates("sips:1@192.0.2.9"), ["tls 192.0.2.9:5061"]);
    assert_eq!(zone.candidates("sip:1@x.example;maddr=192.0.2.8"), ["udp 192.0.2.8:5060"]);
    assert!(zone.asked.is_empty());
    assert_eq!(zone.candidates("sip:1@PBX.example:5080"), ["udp 192.0.2.1:5080", "udp [2001:db8::1]:5080"]);
    assert_eq!(zone.asked, [host("pbx.example")]);
    assert_eq!(zone.candidates("tel:+123"), Vec::<String>::new());
    assert_eq!(zone.candidates("sip:1@192.0.2.9;transport=sctp"), Vec::<String>::new());
}

#[test]
fn naptr_leads_to_srv_and_srv_to_addresses_by_priority() {
    let mut zone = Zone::new(vec![
        (
            Question::Naptr("example.org".into()),
            vec![
                naptr(50, "SIP+D2T", "_sip._tcp.example.org"),
                naptr(10, "SIP+D2U", "_sip._udp.example.org."),
            ],
        ),
        (
            q_srv("_sip._udp.example.org"),
            vec![srv(20, 1, 5062, "b.example.org."), srv(10, 1, 5061, "A.example.org")],
        ),
        (q_srv("_sip._tcp.example.org"), vec![srv(1, 1, 5060, "a.example.org")]),
        (host("a.example.org"), vec![ip("192.0.2.1")]),
        (host("b.example.org"), vec![ip("192.0.2.2")]),
    ]);
    let found = zone.candidates("sip:1@example.org");
    assert_eq!(found, ["udp 192.0.2.1:5061", "udp 192.0.2.2:5062", "tcp 192.0.2.1:5060"]);
    let asked = zone.asked.len();
    assert_eq!(zone.candidates("sip:1@example.org"), found);
    assert_eq!(zone.asked.len(), asked, "answered from the cache");
    zone.now += TTL;
    zone.candidates("sip:1@example.org");
    assert_eq!(zone.asked.len(), 2 * asked, "asked again after the time to live");
}

#[test]
fn without_naptr_each_transport_is_asked_and_without_srv_the_host_itself() {
    let mut zone = Zone::new(vec![(host("plain.example"), vec![ip("192.0.2.3")])]);
    assert_eq!(zone.candidates("sip:1@plain.example"), ["udp 192.0.2.3:5060"]);
    let names = ["_sip._udp", "_sip._tcp", "_sips._tcp"].map(|name| q_srv(&format!("{name}.plain.example")));
    assert_eq!(zone.asked[0], Question::Naptr("plain.example".into()));
    assert_eq!(zone.asked[1..4], names);
    let mut zone = Zone::new(vec![
        (q_srv("_sips._tcp.plain.example"), vec![srv(0, 0, 5061, "t.plain.example")]),
        (host("t.plain.example"), vec![ip("192.0.2.4")]),
    ]);
    assert_eq!(zone.candidates("sips:1@plain.example"), ["tls 192.0.2.4:5061"]);
    assert_eq!(zone.candidates("sip:1@plain.example;transport=tls"), ["tls 192.0.2.4:5061"]);
}

#[test]
fn a_service_that_is_not_offered_is_not_tried() {
    let mut zone = Zone::new(vec![
        (q_srv("_sip._udp.no.example"), vec![srv(0, 0, 0, ".")]),
        (host("no.example"), vec![ip("192.0.2.3")]),
    ]);
    assert_eq!(zone.candidates("sip:1@no.example;transport=udp"), Vec::<String>::new()); // RFC 2782
}

#[test]
fn weights_share_the_load() {
    let mut zone = Zone::new(vec![(
        q_srv("_sip._udp.w.example"),
        vec![srv(1, 90, 5060, "192.0.2.1"), srv(1, 10, 5060, "192.0.2.2"), srv(2, 100, 5060, "192.0.2.3")],
    )]);
    let firsts: Vec<String> =
        (0..1000).map(|_| zone.candidates("sip:w.example;transport=udp").remove(0)).collect();
    let first = firsts.iter().filter(|one| *one == "udp 192.0.2.1:5060").count();
    assert!((850..950).contains(&first), "{first}");
    assert!(!firsts.contains(&"udp 192.0.2.3:5060".to_owned()));
}

#[test]
fn a_failing_dns_is_asked_three_times_with_backoff_and_then_not_for_a_while() {
    let mut zone = Zone::new(vec![]);
    let uri = Uri::parse("sip:silent.example:5060".into()).unwrap();
    let (id, step) = zone.resolver.ask(zone.now, &uri);
    let question = Step::Ask(host("silent.example"));
    assert_eq!(step, question);
    for wait in [500, 1000] {
        let until = zone.now + Duration::from_millis(wait);
        assert_eq!(zone.resolver.answer(zone.now, id, Answer::Failed), Step::Wait(until));
        zone.now = until;
        assert_eq!(zone.resolver.resume(zone.now, id), question);
    }
    assert_eq!(zone.resolver.answer(zone.now, id, Answer::Failed), Step::Done(vec![]));
    assert_eq!(zone.candidates("sip:silent.example:5060"), Vec::<String>::new());
    assert!(zone.asked.is_empty(), "the failure is cached");
    zone.now += Duration::from_secs(11);
    zone.candidates("sip:silent.example:5060");
    assert_eq!(zone.asked.len(), 1);
    assert_eq!(zone.resolver.counts().0, 0);
}

#[test]
fn an_unreachable_address_comes_last_for_a_while() {
    let mut zone = Zone::new(vec![(host("two.example"), vec![ip("192.0.2.1"), ip("192.0.2.2")])]);
    let order = zone.candidates("sip:two.example:5060");
    let candidate = Candidate { transport: Transport::Udp, address: "192.0.2.1:5060".parse().unwrap() };
    zone.resolver.failed(zone.now, candidate);
    assert_eq!(zone.candidates("sip:two.example:5060"), [order[1].clone(), order[0].clone()]);
    zone.now += Duration::from_secs(30);
    assert_eq!(zone.candidates("sip:two.example:5060"), order);
}

#[test]
fn an_endless_zone_ends_after_a_bounded_number_of_questions() {
    let records = (0..1000).map(|n| srv(n, 1, 5060, &format!("h{n}.big.example"))).collect();
    let mut zone = Zone::new(vec![(q_srv("_sip._udp.big.example"), records)]);
    assert_eq!(zone.candidates("sip:big.example;transport=udp"), Vec::<String>::new());
    assert!(zone.asked.len() <= centralita_sip::limits::QUESTIONS);
}

// security.md §4, "DNS SRV failover"
#[test]
fn while_the_dns_fails_the_last_good_answer_is_used_at_once() {
    let mut resolver = Resolver::new(vec![Transport::Udp], Rng::from_number(1));
    let uri = Uri::parse("sip:carrier.test:5060".into()).unwrap();
    let question = Question::Address("carrier.test".into());
    let at = |seconds: u64| Instant::from_micros(seconds * 1_000_000);
    let found = |resolver: &mut Resolver, now: Instant, answer: Answer| {
        let (id, step) = resolver.ask(now, &uri);
        assert_eq!(step, Step::Ask(question.clone()), "its TTL has expired");
        resolver.answer(now, id, answer)
    };
    let one = Candidate { transport: Transport::Udp, address: "10.0.0.1:5060".parse().unwrap() };
    let answer = Answer::Found { records: vec![ip("10.0.0.1")], ttl: TTL };
    assert_eq!(found(&mut resolver, at(1), answer), Step::Done(vec![one]));
    assert_eq!(found(&mut resolver, at(100), Answer::Failed), Step::Done(vec![one]));
    assert_eq!(found(&mut resolver, at(200), Answer::Failed), Step::Done(vec![one]));
    // A negative answer of the DNS replaces the cached one.
    assert_eq!(found(&mut resolver, at(300), Answer::Nothing { ttl: TTL }), Step::Done(Vec::new()));
}
