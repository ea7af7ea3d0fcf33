//! CPU time of the server and of this process, from the kernel, and percentiles.

use std::collections::HashMap;
use std::fs;
use std::mem;

/// CPU seconds of the process tree under `root`; 0 if no process was given.
pub fn cpu_of(root: u32) -> f64 {
    if root == 0 {
        return 0.0;
    }
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut used: HashMap<u32, u64> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
        children.entry(fields[1] as u32).or_default().push(pid);
        used.insert(pid, fields[11..15].iter().sum());
    }
    let mut waiting = vec![root];
    let mut ticks = 0;
    while let Some(pid) = waiting.pop() {
        ticks += used.get(&pid).copied().unwrap_or(0);
        waiting.extend(children.remove(&pid).unwrap_or_default());
    }
    // USER_HZ is 100 on every Linux.
    ticks as f64 / 100.0
}

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    // SAFETY: all zeros is a valid rusage, which the kernel fills.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Percentiles of `samples` for the given parts (0.5, 0.99 and so on).
pub fn percentiles<const N: usize>(samples: &mut [u32], parts: [f64; N]) -> [u32; N] {
    samples.sort_unstable();
    parts.map(|part| {
        let last = samples.len().saturating_sub(1);
        samples.get((last as f64 * part) as usize).copied().unwrap_or(0)
    })
}
