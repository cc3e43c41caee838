//! A complaint with its place, told as compilers do: file, line, column, and the line itself with a caret.

use lamplighter_core::config::Severity;
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

/// One complaint about a file. Its Display is one line: `config.toml:7:1: error: unknown field …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub path: PathBuf,
    /// From 1; none when it is about the file as a whole.
    pub line: Option<u32>,
    /// In characters, from 1.
    pub column: Option<u32>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong and what was meant.
    pub message: String,
    /// The line it is about, where it may be shown.
    pub excerpt: Option<Excerpt>,
}

/// A part of a line of the file, without anything that may be a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// What is shown of the line.
    pub text: String,
    /// Characters before the place that is meant.
    pub indent: usize,
    /// Characters that are meant; at least 1.
    pub width: usize,
}

impl Located {
    /// A complaint about a whole file.
    #[must_use]
    pub fn whole(path: &Path, severity: Severity, message: String) -> Self {
        Self { path: path.to_owned(), line: None, column: None, severity, message, excerpt: None }
    }

    /// Several lines: the complaint, and below it the line of the file with a caret. Ends with a line break.
    #[must_use]
    pub fn report(&self) -> String {
        let (Some(line), Some(excerpt)) = (self.line, &self.excerpt) else { return format!("{self}\n") };
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = excerpt.text.chars().take(excerpt.indent).map(blank).collect();
        let carets = "^".repeat(excerpt.width);
        format!("{self}\n{gutter} |\n{number} | {}\n{gutter} | {indent}{carets}\n", excerpt.text)
    }

    pub(super) fn without_excerpt(self) -> Self {
        Self { excerpt: None, ..self }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {severity}: {}", self.message)
    }
}

/// A file's text, with the starts of its lines.
pub(super) struct Text<'t> {
    path: &'t Path,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Text<'t> {
    pub(super) fn new(path: &'t Path, text: &'t str) -> Self {
        let line_starts =
            std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i + 1)).collect();
        Self { path, text, line_starts }
    }

    pub(super) fn as_str(&self) -> &'t str {
        self.text
    }

    /// A complaint about the bytes in `span`; it may reach beyond the text.
    pub(super) fn locate(&self, span: Range<usize>, severity: Severity, message: String) -> Located {
        let start = floor(self.text, span.start);
        let line = self.line_starts.partition_point(|&line_start| line_start <= start) - 1;
        let (line_start, whole) = (self.line_starts[line], self.line(line));
        let before = self.text[line_start..start].chars().count();
        let end = floor(self.text, span.end).clamp(start, (line_start + whole.len()).max(start));
        let width = self.text[start..end].chars().count().max(1);
        let number = |n: usize| u32::try_from(n + 1).ok();
        Located {
            path: self.path.to_owned(),
            line: number(line),
            column: number(before),
            severity,
            message,
            excerpt: self.may_show(line_start).then(|| excerpt(whole, before, width)),
        }
    }

    fn line(&self, index: usize) -> &'t str {
        let end = self.line_starts.get(index + 1).map_or(self.text.len(), |next| next - 1);
        self.text[self.line_starts[index]..end].trim_end_matches('\r')
    }

    /// Inside a text over several lines nothing tells what it is for: it may be a key.
    fn may_show(&self, line_start: usize) -> bool {
        let before = &self.text.as_bytes()[..line_start];
        ["\"\"\"", "'''"].iter().all(|quotes| memchr::memmem::find_iter(before, quotes).count() % 2 == 0)
    }
}

fn floor(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// Most characters of a line that are shown.
const SHOWN_MAX: usize = 100;

fn excerpt(line: &str, before: usize, width: usize) -> Excerpt {
    let shown = mask(line);
    let masked = shown != line;
    let length = shown.chars().count();
    let before = if masked { before.min(length - 1) } else { before };
    // A long line is shown from a little before the place.
    let from = if length > SHOWN_MAX { before.saturating_sub(SHOWN_MAX / 2) } else { 0 };
    let printable = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    let text: String = shown.chars().skip(from).take(SHOWN_MAX).map(printable).collect();
    let indent = before - from;
    let room = text.chars().count().saturating_sub(indent);
    Excerpt { indent, width: width.min(room).max(1), text }
}

/// The line without what may be a key: after `api_key =` and the like, and in an address with a password.
fn mask(line: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let names_secret = |equals: usize| {
        let field = line[..equals].trim_end().trim_end_matches(['"', '\'']);
        let name = &field[field.trim_end_matches(is_name).len()..].to_ascii_lowercase();
        ["key", "token", "secret", "secure_on", "passw", "auth", "bearer", "cookie"]
            .iter()
            .any(|word| name.contains(word))
    };
    let secret = line.match_indices('=').map(|(i, _)| i).find(|&i| names_secret(i)).map(|i| i + 1);
    let address = line.find("://").filter(|&i| line[i..].contains('@')).map(|i| i + 3);
    match secret.into_iter().chain(address).min() {
        Some(from) => format!("{} …", line[..from].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, span: Range<usize>) -> String {
        Text::new(Path::new("c.toml"), text).locate(span, Severity::Error, "m".into()).report()
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(
            report("a = 1\n\tbé = 2\r\n", 7..10),
            "c.toml:2:2: error: m\n  |\n2 | \tbé = 2\n  | \t^^\n"
        );
        assert_eq!(report("a", 1..9), "c.toml:1:2: error: m\n  |\n1 | a\n  |  ^\n");
        assert_eq!(report("", 0..0), "c.toml:1:1: error: m\n  |\n1 | \n  | ^\n");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place_and_control_characters_do_not_reach_the_terminal() {
        let text = format!("{}X\u{1b}[2J{}", "a".repeat(500), "b".repeat(500));
        let shown = report(&text, 500..501);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "c.toml:1:501: error: m");
        assert!(lines[2].len() < 120 && !shown.contains('\u{1b}'), "{shown}");
        assert_eq!(lines[2].find('X'), lines[3].find('^'), "{shown}");
    }

    #[test]
    fn what_may_be_a_key_is_never_shown() {
        for text in [
            "api_key = \"sk-123\"",
            "  \"api-key\"=\"sk-123\"",
            "node = [{ name = \"a\", api_key = \"sk-123\" }]",
            "openai_token = sk-123",
            "url = \"http://me:sk-123@nas\"",
        ] {
            for at in 0..text.len() {
                let shown = report(text, at..text.len());
                assert!(!shown.contains("123") && shown.contains('…'), "{shown}");
            }
        }
        let text = "api_key = \"\"\"\nsk-123==\n\"\"\"\nname = \"a\"\n";
        assert!(!report(text, text.find("sk").unwrap()..20).contains("123"));
        assert!(report(text, text.find("name").unwrap()..30).contains("name = \"a\""));
        assert!(report("models = [\"a@nas\"]", 0..1).contains("a@nas"));
    }
}
