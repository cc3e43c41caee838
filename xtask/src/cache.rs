//! A folder of things built once: keyed by what they are made from, and never half-made.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `$LAMPLIGHTER_TOOLS`, else `lamplighter-tools` in the user's cache folder.
pub fn folder() -> Result<PathBuf, String> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("LAMPLIGHTER_TOOLS")
        .or_else(|| set("XDG_CACHE_HOME").map(|c| c.join("lamplighter-tools")))
        .or_else(|| set("HOME").map(|h| h.join(".cache/lamplighter-tools")))
        .ok_or_else(|| "neither LAMPLIGHTER_TOOLS nor HOME is set: no place for tools".to_owned())
}

/// FNV-1a, 64 bits: the same in every Rust version, unlike the standard hasher.
pub fn key(parts: &[&[u8]]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter().chain(std::iter::once(&0xff))) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

/// Waits for another build in the same cache, at most 40 minutes.
pub fn only_builder(cache: &Path) -> Result<File, String> {
    let path = cache.join("lock");
    let lock = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let until = Instant::now() + Duration::from_secs(40 * 60);
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(e)) => return Err(format!("{}: {e}", path.display())),
            Err(TryLockError::WouldBlock) if Instant::now() > until => {
                return Err(format!("another build held {} for 40 minutes", path.display()));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            eprintln!("another build of the tools is running; waiting for it");
            told = true;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// What an interrupted build left; called with the lock held, so nobody is using it.
pub fn remove_leftovers(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tmp-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A log of its own for each build; the last one stays for reading.
pub fn fresh_log(cache: &Path, name: &str) -> PathBuf {
    let log = cache.join(name);
    let _ = fs::remove_file(&log);
    log
}

/// A folder to build in; `remove_leftovers` finds it by its `tmp-` if we are interrupted.
pub fn new_folder(cache: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = cache.join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

/// Puts a finished folder into its place, in one move.
pub fn rename(from: &Path, to: &Path) -> Result<(), String> {
    fs::rename(from, to).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_with_any_part_and_with_where_parts_end() {
        assert_eq!(key(&[b"a", b"b"]), key(&[b"a", b"b"]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"ab"]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"a", b"c"]));
        assert_eq!(key(&[]), "cbf29ce484222325");
    }

    #[test]
    fn half_built_folders_go_and_whole_ones_stay() {
        let cache = std::env::temp_dir().join(format!("xtask-leftovers-{}", std::process::id()));
        for name in ["tmp-llama-server-1", "tmp-models-2", "models-abc"] {
            fs::create_dir_all(cache.join(name).join("inside")).unwrap();
        }
        remove_leftovers(&cache);
        let left: Vec<_> = fs::read_dir(&cache).unwrap().map(|e| e.unwrap().file_name()).collect();
        fs::remove_dir_all(&cache).unwrap();
        assert_eq!(left, ["models-abc"]);
    }
}
