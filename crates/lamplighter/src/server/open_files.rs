//! Room for connections: a session's usual limit of 1,024 open files would end at 500 streams.

/// A stream takes two sockets, and [`super::Limits::connections`] of them may be open; the rest is for everything else.
const WANTED: u64 = 2 * 4096 + 512;

/// Raises this process's limit on open files, as far as the system lets us. A warning when that is not far enough.
#[cfg(unix)]
pub fn allow() -> Option<String> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let is_enough = |files: Option<u64>| files.is_none_or(|files| files >= WANTED);
    if is_enough(limit.current) {
        return None;
    }
    limit.current = if is_enough(limit.maximum) { Some(WANTED) } else { limit.maximum };
    let _ = setrlimit(Resource::Nofile, limit);
    let now = getrlimit(Resource::Nofile).current;
    (!is_enough(now)).then(|| {
        let streams = now.unwrap_or(WANTED) / 2;
        format!("this system allows {} open files: about {streams} requests at once", streams * 2)
    })
}

/// Elsewhere there is no such limit on sockets.
#[cfg(not(unix))]
pub fn allow() -> Option<String> {
    None
}
