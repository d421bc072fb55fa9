//! How many records fit the memory that this process may take: sled keeps about a fifth of what it stores there, so a
//! queue that has grown for weeks would end with the service killed, and killed again at each start.
//!
//! What it may take is the least of what the control group and those above it allow (systemd's `MemoryHigh=` and `MemoryMax=`,
//! of either version) and three quarters of the machine's memory.

use std::fs;
use std::path::{Path, PathBuf};

/// What the rest takes: models, their tables, the page.
const BESIDE: u64 = 128 << 20;
/// Bytes of records to a byte of memory.
const RECORDS: u64 = 4;
/// However little memory there is, so much may be kept.
const LEAST: u64 = 64 << 20;

/// Bytes that records may take, as far as their memory goes. Nothing where it cannot be seen what there is.
pub(super) fn bound() -> Option<u64> {
    limit(Path::new("/")).map(records)
}

fn records(memory: u64) -> u64 {
    memory.saturating_sub(BESIDE).saturating_mul(RECORDS).max(LEAST)
}

/// Below `root`, which is no other than `/` outside of tests.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let allowed = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        match controllers {
            "" => of_group(&root.join("sys/fs/cgroup"), group, &["memory.high", "memory.max"]),
            "memory" => of_group(&root.join("sys/fs/cgroup/memory"), group, &["memory.limit_in_bytes"]),
            _ => Vec::new(),
        }
    });
    allowed.chain(machine(root)).min()
}

/// What a group and all above it allow.
fn of_group(mount: &Path, group: &str, files: &[&str]) -> Vec<u64> {
    let group = PathBuf::from(group.trim_start_matches('/'));
    let folders = group.ancestors().map(|folder| mount.join(folder));
    let all = folders.flat_map(|folder| files.iter().map(move |file| folder.join(file)));
    // "max", and a file that is not there, are no limit.
    all.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).collect()
}

fn machine(root: &Path) -> Option<u64> {
    let figures = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let total = figures.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024) / 4 * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn the_least_that_is_allowed_anywhere_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(limit(root), None);
        write(root, "proc/meminfo", "MemTotal:        1048576 kB\nMemFree: 7 kB\n");
        assert_eq!(limit(root), Some(768 << 20));
        write(root, "proc/self/cgroup", "0::/system.slice/explaind.service\n");
        assert_eq!(limit(root), Some(768 << 20));
        write(root, "sys/fs/cgroup/system.slice/explaind.service/memory.max", "536870912\n");
        write(root, "sys/fs/cgroup/system.slice/explaind.service/memory.high", "402653184\n");
        assert_eq!(limit(root), Some(384 << 20));
        assert_eq!(records(384 << 20), 1 << 30);
        write(root, "sys/fs/cgroup/system.slice/memory.max", "268435456\n");
        write(root, "sys/fs/cgroup/system.slice/memory.high", "max\n");
        assert_eq!(limit(root), Some(256 << 20));
        write(root, "proc/self/cgroup", "4:memory:/box\n0::/\n");
        write(root, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "209715200\n");
        assert_eq!(limit(root), Some(200 << 20));
        assert_eq!((records(0), records(u64::MAX)), (LEAST, u64::MAX));
    }
}
