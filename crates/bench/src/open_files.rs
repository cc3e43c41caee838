//! A thousand streams are a thousand sockets here: more than a session's usual limit leaves.

/// Raises this process's limit on open files as far as the system lets it; what does not fit then fails by itself.
#[cfg(unix)]
pub fn allow() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Elsewhere there is no such limit on sockets.
#[cfg(not(unix))]
pub fn allow() {}
