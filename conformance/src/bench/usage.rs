//! Processor time, memory, and what the machine is, from `/proc`.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// User and system time of a process with all its threads, to a clock tick (mostly 10 ms).
///
/// # Errors
/// If there is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks and parentheses; numbers follow its last one. `utime` is field 14.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(from_ticks(ticks))
}

/// User and system time of this process with all its threads, exactly.
#[must_use]
pub fn own_cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Processor time that the whole machine has spent on anything.
///
/// # Errors
/// Without a `/proc`.
pub fn machine_cpu_time() -> io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; the others are contained in these.
    let fields = line.split_whitespace().skip(1).take(8).enumerate();
    let busy = fields.filter(|(index, _)| !matches!(index, 3 | 4));
    Ok(from_ticks(busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum()))
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks)
        .checked_div(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100))
        .unwrap_or_default()
}

/// Memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident now, in KiB.
    pub resident_kib: u64,
    /// The most that was ever resident, in KiB.
    pub peak_kib: u64,
}

/// Memory of a process.
///
/// # Errors
/// If there is no such process.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    Ok(Memory { resident_kib: field("VmRSS:"), peak_kib: field("VmHWM:") })
}

/// How many descriptors a process has open.
///
/// # Errors
/// If there is no such process.
pub fn descriptor_count(pid: u32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Lets this process, and the servers that it starts, have as many descriptors as the system allows: a thousand connections
/// are more than many systems allow at first.
///
/// # Errors
/// What the system says.
pub fn allow_descriptors() -> io::Result<()> {
    let limits = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum })?)
}

/// What the run took place on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Model of the processor, as it calls itself.
    pub cpu: String,
    /// Processors that this process may use.
    pub core_count: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Version of the kernel, without what its builder appended.
    pub kernel: String,
    /// Type of the file system that holds the data.
    pub file_system: String,
}

impl Machine {
    /// This machine; `dir` is where the data goes.
    #[must_use]
    pub fn describe(dir: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo");
        let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = read("/proc/meminfo");
        let memory_kib: u64 =
            memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            core_count: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_kib / 1024,
            kernel: release.trim().split('-').next().unwrap_or_default().to_owned(),
            file_system: file_system(&read("/proc/self/mountinfo"), dir).unwrap_or("unknown").to_owned(),
        }
    }
}

/// The type of the file system that `dir` lies on: of the mounts above it, the deepest.
fn file_system<'m>(mount_info: &'m str, dir: &Path) -> Option<&'m str> {
    let mounts = mount_info.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        Some((Path::new(mount.split(' ').nth(4)?), kind.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| dir.starts_with(point));
    above.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(60) {}
        let used = cpu_time(std::process::id()).unwrap();
        assert!(used >= Duration::from_millis(10), "{used:?}");
        assert!(machine_cpu_time().unwrap() >= used);
        let memory = memory(std::process::id()).unwrap();
        assert!(0 < memory.resident_kib && memory.resident_kib <= memory.peak_kib);
        let files = [std::fs::File::open("/dev/null").unwrap(), std::fs::File::open("/dev/null").unwrap()];
        assert!(descriptor_count(std::process::id()).unwrap() >= files.len());
    }

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/x rw\n2 1 0:5 / /a rw - tmpfs none rw\n\
                      3 1 0:6 / /ab rw shared:1 - xfs /dev/y rw\n";
        assert_eq!(file_system(mounts, Path::new("/a/b")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/ab/c")), Some("xfs"));
        assert_eq!(file_system(mounts, Path::new("/c")), Some("ext4"));
    }
}
