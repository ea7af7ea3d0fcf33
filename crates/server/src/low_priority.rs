//! Threads of lower scheduling priority: the database is fed in CPU time that packets leave over. The journal holds what waits.
#![allow(unsafe_code)]

use std::io;

/// Nice value: when both want the CPU, such a thread gets about a quarter of it instead of half.
const NICE: i32 = 5;

/// A runtime whose threads yield to the switch thread and the media workers.
pub fn runtime(name: &str) -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .thread_name(name)
        .on_thread_start(lower_priority)
        .enable_all()
        .build()
}

/// Lower the priority of the calling thread. The server may run at real-time priority: that is meant for packets, not for this.
fn lower_priority() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter is on the stack; 0 names the calling thread in both calls. Lowering one's priority is always allowed, and an error would do no harm.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary);
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}
