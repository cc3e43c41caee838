//! Reads the configuration: every complaint at once, each with its line and column; a broken file falls back to the
//! last good copy. The user's file is only ever read here.
//!
//! - No file, or nothing but comments and blank lines: no nodes, which is fine.
//! - Zero bytes, NUL bytes, text that is not UTF-8, more than 1 MiB: damaged.
//! - A UTF-8 byte order mark, as Windows editors write it, is skipped.

mod atomic;
pub mod edit;
mod fields;
mod folders;
mod located;
mod reader;
mod source;
mod syntax;
#[cfg(test)]
mod tests;
mod wake;

pub use atomic::{create_private_folder, mode_of, write_atomically};
pub use folders::{default_path, fingerprint, runtime_dir, same_file, state_dir};
pub use located::{Excerpt, Located};

use lamplighter_core::config::{self as core_config, Config, Severity};
use located::Text;
use reader::Finding;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// What was read, and from where.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings in force. They have no errors.
    pub config: Config,
    /// The user's file, also when it was not used. Paths in the configuration are relative to its folder.
    pub path: PathBuf,
    /// What somebody should look at although it works.
    pub complaints: Vec<Located>,
    /// Where the settings come from.
    pub origin: Origin,
}

/// Where the settings in force come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The user's file.
    File,
    /// There is no file: no nodes.
    NoFile,
    /// The user's file says nothing: no nodes.
    OnlyComments,
    /// The user's file is broken: a copy of what it was when it last worked.
    LastGood {
        /// Where that copy is.
        copy: PathBuf,
        /// What is wrong with the user's file.
        broken: Vec<Located>,
    },
}

/// The file is broken and there is no last good copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The user's file.
    pub path: PathBuf,
    /// What is wrong with it; never empty.
    pub complaints: Vec<Located>,
}

/// Reads the file at `path`, or the last good copy from the folder `state` when the file is broken. Keeps a copy of
/// what it read in `state` when it is good; should that fail, it is one more warning.
///
/// # Errors
/// [`Broken`] when the file is broken and no good copy of it exists.
pub fn load(path: &Path, state: &Path) -> Result<Loaded, Broken> {
    let loaded = |config, complaints, origin| Loaded { config, path: path.to_owned(), complaints, origin };
    let copy = copy_of(path, state);
    let parsed = match source::read(path) {
        Ok(None) => return Ok(loaded(Config::default(), vec![], Origin::NoFile)),
        Ok(Some(bytes)) => parse(&bytes, path).map(|parsed| (parsed, bytes)),
        Err(complaint) => Err(vec![complaint]),
    };
    match parsed {
        Ok((mut parsed, bytes)) => {
            if let Err(error) = keep(&copy, &bytes) {
                let message = format!("could not keep a copy of the configuration here: {error}");
                parsed.warnings.push(Located::whole(&copy, Severity::Warning, message));
            }
            let origin = if parsed.says_nothing { Origin::OnlyComments } else { Origin::File };
            Ok(loaded(parsed.config, parsed.warnings, origin))
        }
        Err(broken) => match last_good(&copy) {
            Some(parsed) => Ok(loaded(parsed.config, parsed.warnings, Origin::LastGood { copy, broken })),
            None => Err(Broken { path: path.to_owned(), complaints: broken }),
        },
    }
}

/// Reads the file's bytes; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or is no file of that kind.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Located> {
    source::read(path)
}

/// Keeps a copy of a file that is good, for a start at which it is not.
///
/// # Errors
/// When the copy cannot be written.
pub fn keep_last_good(path: &Path, state: &Path, bytes: &[u8]) -> std::io::Result<()> {
    keep(&copy_of(path, state), bytes)
}

fn copy_of(path: &Path, state: &Path) -> PathBuf {
    state.join(format!("last-good-{}.toml", fingerprint(path)))
}

/// What [`parse`] found in a file without errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The settings.
    pub config: Config,
    /// What somebody should look at although it works.
    pub warnings: Vec<Located>,
    /// Nothing but comments and blank lines.
    pub says_nothing: bool,
}

/// Most complaints that are told about one file; more help nobody.
const COMPLAINTS_MAX: usize = 50;

/// Reads the bytes of a configuration file. `path` is only named in complaints.
///
/// # Errors
/// Every complaint, warnings included, in the order of the file; at least one is an error.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Parsed, Vec<Located>> {
    let text = Text::new(path, source::text(bytes, path).map_err(|complaint| vec![complaint])?);
    let (root, syntax) = toml::de::DeTable::parse_recoverable(text.as_str());
    let (config, mut findings) = reader::read(root.get_ref());
    if syntax.is_empty() {
        let news =
            core_config::check(&config).into_iter().filter(|c| !findings.iter().any(|f| f.touches(&c.path)));
        let news: Vec<Finding> = news.map(|c| Finding::from_check(c, root.get_ref())).collect();
        findings.extend(news);
    } else {
        syntax::merge(&mut findings, &syntax, text.as_str());
    }
    findings.sort_by_key(|finding| finding.span.start);
    let is_broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    let rest = findings.len().saturating_sub(COMPLAINTS_MAX);
    let mut complaints: Vec<Located> = findings
        .into_iter()
        .take(COMPLAINTS_MAX)
        .map(|f| text.locate(f.span, f.severity, f.message))
        .collect();
    if rest > 0 {
        let severity = if is_broken { Severity::Error } else { Severity::Warning };
        complaints.push(Located::whole(path, severity, format!("… and {rest} more complaints")));
    }
    if is_broken {
        return Err(complaints);
    }
    Ok(Parsed { config, warnings: complaints, says_nothing: root.get_ref().is_empty() })
}

fn last_good(copy: &Path) -> Option<Parsed> {
    let bytes = source::read(copy).ok()??;
    parse(&bytes, copy).ok()
}

/// Keeps `bytes` as the last good copy. Nothing is written when it is there already.
fn keep(copy: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(copy).is_ok_and(|kept| kept == bytes) {
        return Ok(());
    }
    write_atomically(copy, bytes, 0o600)
}

impl Loaded {
    /// The folder that relative paths in the configuration start from.
    #[must_use]
    pub fn base_dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// All there is to say about it, with source lines; empty when all is well.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = String::new();
        if let Origin::LastGood { copy, broken } = &self.origin {
            report += &reports(broken);
            report += &format!(
                "{} is not used; the last good copy of it is: {}\n",
                self.path.display(),
                copy.display()
            );
        }
        report + &reports(&self.complaints)
    }
}

impl Broken {
    /// Every complaint with its source line.
    #[must_use]
    pub fn report(&self) -> String {
        reports(&self.complaints)
    }
}

fn reports(complaints: &[Located]) -> String {
    complaints.iter().map(Located::report).collect()
}

impl fmt::Display for Broken {
    /// One line per complaint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.complaints.iter().enumerate() {
            write!(f, "{}{complaint}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Broken {}
