//! How much memory there is to be had. Linux gives out more than it has, and then ends whoever uses
//! it: so a buffer that cannot be filled has to be refused before it is. Windows refuses by itself;
//! macOS begins to swap.

use std::path::{Component, Path, PathBuf};

/// A file's text, or nothing.
type Read<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// Bytes that can still be used, where the system says so: the machine's, and what limits of
/// control groups leave.
pub fn available() -> Option<u64> {
    if cfg!(target_os = "linux") { least(&|path| std::fs::read_to_string(path).ok()) } else { None }
}

fn least(read: Read<'_>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| field(&text, "MemAvailable:"));
    let machine = machine.map(|kilobytes| kilobytes.saturating_mul(1024));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    machine.into_iter().chain(groups.lines().flat_map(|line| of_group(line, read))).min()
}

/// What the limits of a line of `/proc/self/cgroup` leave: `0::/a/b`, or with the first version
/// `4:memory:/a/b`. Each folder above has a limit of its own; in a container the path may be the
/// host's, and the limit stands at the top.
fn of_group(line: &str, read: Read<'_>) -> Vec<u64> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (root, [limit, used], idle) = match controllers {
        "" => ("/sys/fs/cgroup", ["memory.max", "memory.current"], "inactive_file"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"], "total_inactive_file")
        }
        _ => return Vec::new(),
    };
    let inside: PathBuf = Path::new(group).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let left = |folder: &Path| {
        let folder = Path::new(root).join(folder);
        let number = |name| read(&folder.join(name))?.trim().parse::<u64>().ok();
        let (limit, used) = (number(limit)?, number(used)?);
        // Pages of files go when they are in the way.
        let idle = read(&folder.join("memory.stat")).and_then(|text| field(&text, idle)).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(idle)))
    };
    inside.ancestors().filter_map(left).collect()
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words =
        text.lines().map(str::split_whitespace).find_map(|mut words| (words.next() == Some(name)).then_some(words))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Option<u64> {
        least(&|path| files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_string()))
    }

    const MACHINE: (&str, &str) = ("/proc/meminfo", "MemTotal: 9000 kB\nMemFree:  10 kB\nMemAvailable:    2000 kB\n");

    #[test]
    fn the_machines_memory() {
        assert_eq!(of(&[MACHINE]), Some(2000 * 1024));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("/proc/meminfo", "MemAvailable: many kB")]), None);
    }

    #[test]
    fn every_group_above_limits() {
        let group = ("/proc/self/cgroup", "0::/a/b\n");
        let files = [
            MACHINE,
            group,
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/b/memory.current", "700\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/a/memory.current", "700\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 50\n"),
        ];
        assert_eq!(of(&files), Some(350));
        // In a container: the path is another's, and the limit stands at the top.
        let files = [MACHINE, group, ("/sys/fs/cgroup/memory.max", "5"), ("/sys/fs/cgroup/memory.current", "9")];
        assert_eq!(of(&files), Some(0));
    }

    #[test]
    fn the_first_version_limits() {
        let group = ("/proc/self/cgroup", "5:cpu:/x\n4:cpuacct,memory:/../a\nnonsense\n");
        let files = [
            MACHINE,
            group,
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "800"),
            ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "300"),
            ("/sys/fs/cgroup/memory/a/memory.stat", "inactive_file 9\ntotal_inactive_file 100"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "300"),
        ];
        assert_eq!(of(&files), Some(600));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_says_it() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
