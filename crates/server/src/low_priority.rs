//! Threads that give way: the database is fed in the time that packets leave. The journal holds what waits.
#![allow(unsafe_code)]

use std::io;

/// How much further back in the queue: with both wanting the processor, a quarter of the time instead of half.
const NICE: i32 = 5;

/// A runtime whose thread, and what that starts, gives way to the exchange and to voice.
pub fn runtime(name: &str) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .thread_name(name)
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

/// Put the calling thread behind others. An operator may run the server at real-time priority: that is meant for packets, not for this.
fn give_way() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter is on the stack; 0 names the calling thread in both. Nobody is refused a lower priority, and were it so, nothing is lost.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}
