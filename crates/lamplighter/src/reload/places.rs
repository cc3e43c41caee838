//! Where something may happen to a file: in its folder, and in that of every link on the way to its contents.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// Links that are followed on the way to one file, as the kernel does.
const LINKS_MAX: usize = 40;

/// The folders of some files, and the names in them that count: in a folder like the user's home much else happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// To be watched.
    pub(super) folders: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

impl Places {
    /// The places of these files as the links are now.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for file in files {
            places.add(file);
        }
        places
    }

    /// Walks along the path. A link among its folders counts as one at its end: secrets that are mounted into a container are
    /// changed by turning the link to their folder.
    fn add(&mut self, file: &Path) {
        let (mut rest, mut links) = (file.to_owned(), 0);
        'anew: loop {
            let mut walked = PathBuf::new();
            let mut parts = rest.components();
            while let Some(part) = parts.next() {
                let folder = walked.clone();
                walked.push(part);
                let is_last = parts.as_path().as_os_str().is_empty();
                let target = match part {
                    Component::Normal(_) => walked.read_link().ok().filter(|_| links < LINKS_MAX),
                    _ => None,
                };
                if is_last || target.is_some() {
                    let here =
                        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.clone() };
                    self.folders.insert(here);
                    self.names.extend(walked.file_name().map(OsString::from));
                }
                if let Some(target) = target {
                    links += 1;
                    rest = folder.join(target).join(parts.as_path());
                    continue 'anew;
                }
            }
            return;
        }
    }

    /// Is an event with these paths about one of the files, or about a folder itself? One without paths may be.
    pub(super) fn concern(&self, paths: &[PathBuf]) -> bool {
        let names = |path: &PathBuf| path.file_name().is_some_and(|name| self.names.contains(name));
        paths.is_empty() || paths.iter().any(|path| names(path) || self.folders.contains(path))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn every_link_on_the_way_is_a_place() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        fs::create_dir_all(at("mount/..1")).unwrap();
        fs::write(at("mount/..1/key"), "k").unwrap();
        symlink("..1", at("mount/..data")).unwrap();
        symlink("..data/key", at("mount/key")).unwrap();
        symlink(at("mount/key"), at("link")).unwrap();
        let places = Places::of(&[at("link"), at("gone/key")]);
        // The temporary folder may itself be behind a link.
        for folder in ["", "mount", "mount/..1", "gone"] {
            let folder = home.path().components().chain(Path::new(folder).components()).collect::<PathBuf>();
            assert!(places.folders.contains(&folder), "{folder:?} in {places:?}");
        }
        assert!(
            places.concern(&[at("mount/..data")]) && places.concern(&[at("link")]) && places.concern(&[])
        );
        assert!(places.concern(&[at("mount")]), "the folder itself");
        assert!(!places.concern(&[at("mount/other"), at("notes.txt")]));
    }

    #[test]
    fn links_in_a_circle_come_to_an_end() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        symlink(at("b"), at("a")).unwrap();
        symlink(at("a"), at("b")).unwrap();
        assert!(Places::of(&[at("a")]).concern(&[at("b")]));
        assert!(!Places::of(&[PathBuf::from("config.toml")]).folders.is_empty());
    }
}
