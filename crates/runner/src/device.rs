//! What a run records about the machine and the program.

/// Model name of the processor, or the architecture where the system does not tell.
pub fn cpu_name() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Largest memory that this process has had, in millions of bytes, where the system tells.
pub fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Name of this machine in its network.
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// The commit that this program was built from, with `+` where its sources differed from it;
/// nothing where it was built outside of a git repository. See `build.rs`.
pub const fn program_commit() -> Option<&'static str> {
    option_env!("RESCORE_COMMIT")
}
