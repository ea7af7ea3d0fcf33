//! Fill a database with sample data for measurements: `fill URL DATA-DIR CALLS EXTENSIONS`. The same arguments give the same data.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::Timestamp;
use centralita_store::{Audit, Store, StoreError};
use model::journal::Record;
use model::{
    CallDirection, CallRecord, CallStatus, Cause, Change, Credential, Extension, ExtensionNumber, Ha1,
    LegRecord, LegRole, Quality, TraceStep, User, UserId,
};

/// Owners of the extensions; calls are spread evenly over them.
const USERS: u64 = 500;
/// Number of distinct outside numbers.
const OUTSIDE: u64 = 50_000;
/// Calls per transaction.
const BATCH: u64 = 2_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, data, calls, extensions] = words.as_slice() else {
        eprintln!("fill URL DATA-DIR CALLS EXTENSIONS");
        return ExitCode::from(2);
    };
    let (Ok(calls), Ok(extensions)) = (calls.parse(), extensions.parse()) else {
        eprintln!("CALLS and EXTENSIONS are numbers");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(fill(url, Path::new(data), calls, extensions))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn fill(url: &str, data: &Path, calls: u64, extensions: u64) -> Result<(), StoreError> {
    let begun = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let store = Store::open(url, data).await?;
    let mut changes: Vec<Change> = (0..USERS).map(|n| Change::User(user(n, now))).collect();
    for n in 0..extensions {
        extension(n, now, &mut changes);
    }
    let audit = Audit {
        at: Timestamp::from_micros(now),
        kind: "voip_extensions_imported",
        user: None,
        subject: String::new(),
        key: None,
        ip: None,
        request: String::new(),
        detail: serde_json::Value::Null,
    };
    store.write(&changes, audit).await?;
    println!("{extensions} extensions after {:.1} s", begun.elapsed().as_secs_f64());
    let mut seed = 1;
    let mut n = 0;
    while n < calls {
        let some: Vec<Record> = (n..calls.min(n + BATCH))
            .map(|n| {
                Record::CallClosed(Box::new(call(
                    n,
                    now - (calls - n) as i64 * 7_500_000,
                    extensions,
                    &mut seed,
                )))
            })
            .collect();
        n += some.len() as u64;
        store.feed(&some).await?;
    }
    println!("{calls} calls after {:.1} s", begun.elapsed().as_secs_f64());
    store.close().await;
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood 2014): sufficient to scatter numbers.
fn random_below(seed: &mut u64, sides: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % sides.max(1)
}

fn id<T>(text: &str) -> base::Id<T> {
    base::Id::parse(text).unwrap_or_else(|_| unreachable!("{text} is an id"))
}

fn user_id(n: u64) -> UserId {
    id(&format!("user_{}", n % USERS))
}

fn user(n: u64, now: i64) -> User {
    User { id: user_id(n), created_at: Timestamp::from_micros(now) }
}

fn number(n: u64) -> String {
    format!("{}", 100_000 + n)
}

/// An extension with its credential.
fn extension(n: u64, now: i64, changes: &mut Vec<Change>) {
    let (name, at) = (format!("phone_{n}"), Timestamp::from_micros(now));
    let credential = Credential {
        ha1: Ha1::new(&name, "localhost", "measured"),
        username: Arc::from(name.as_str()),
        user: user_id(n),
        extension: Some(id(&format!("ext_{n}"))),
        ha1_by_number: None,
        created_at: at,
    };
    let dialled = ExtensionNumber::parse(&number(n)).unwrap_or_else(|_| unreachable!("six digits"));
    let extension = Extension {
        display_name: format!("Phone {n}"),
        voicemail_enabled: false,
        ..Extension::new(id(&format!("ext_{n}")), user_id(n), dialled, credential.username.clone(), at)
    };
    changes.extend([Change::Credential(credential), Change::Extension(extension)]);
}

fn call(n: u64, began: i64, extensions: u64, seed: &mut u64) -> CallRecord {
    let from = random_below(seed, extensions);
    let (to, other) = if random_below(seed, 2) == 0 {
        let to = random_below(seed, extensions);
        (number(to), Some(user_id(to)))
    } else {
        let outside = random_below(seed, OUTSIDE).wrapping_mul(2_654_435_761) % 100_000_000;
        (format!("+346{outside:08}"), None)
    };
    let at = |seconds: i64| Timestamp::from_micros(began + seconds * 1_000_000);
    let leg = |role, party: &str| LegRecord {
        sip_call_id: format!("{n:x}@fill"),
        answered_at: Some(at(4)),
        ended_at: Some(at(95)),
        cause: Some(Cause::Completed),
        sip_status: Some(200),
        codec: Some("PCMU".into()),
        quality: Some(Quality { packets_received: 4550, jitter_ms: 1.5, mos: 4.4, ..Quality::default() }),
        ..LegRecord::new(role, party, at(0))
    };
    let id = id(&format!("session_{}_{n:x}", began / 1_000_000));
    let direction = if other.is_some() { CallDirection::Internal } else { CallDirection::Outbound };
    CallRecord {
        other_user: other,
        status: CallStatus::Completed,
        device: Some(format!("phone_{from}")),
        answered_at: Some(at(4)),
        ended_at: Some(at(95)),
        cause: Some(Cause::Completed),
        trace: vec![TraceStep { rule: "extension".into(), outcome: format!("{to} is known") }],
        legs: vec![leg(LegRole::Caller, &number(from)), leg(LegRole::Callee, &to)],
        ..CallRecord::new(id, user_id(from), direction, number(from), to, at(0))
    }
}
