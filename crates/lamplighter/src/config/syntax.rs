//! What is wrong with the text as TOML: one complaint for each slip, in words that say what to do.

use super::reader::Finding;
use lamplighter_core::config::Severity;
use std::ops::Range;
use toml::de::Error;

/// Adds the parser's errors to `findings`, and drops what only follows from them.
pub(super) fn merge(findings: &mut Vec<Finding>, errors: &[Error], text: &str) {
    let line = |offset: usize| line_start(text, offset);
    let swallowed_from = open_list(errors).unwrap_or(usize::MAX);
    let mut slips: Vec<Finding> = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // The first slip of a line mostly causes the others on it.
        if span.start <= swallowed_from && !slips.iter().any(|slip| line(slip.span.start) == line(span.start))
        {
            let message = if span.start == swallowed_from && starts_anew(text, span.start) {
                "the list above is not closed: `]` is missing".into()
            } else {
                explain(error.message(), text, span.start, text.get(span.clone()).unwrap_or_default())
            };
            slips.push(Finding { path: vec![], span, severity: Severity::Error, message, missing: false });
        }
    }
    // What could not be read makes other things look missing: only what stands there is worth a complaint.
    let unclosed = slips.iter().filter(|slip| slip.message.starts_with("unclosed"));
    let lost: Vec<Range<usize>> = unclosed.map(|slip| below_header(text, slip.span.start)).collect();
    findings.retain(|finding| {
        !finding.missing
            && finding.span.start < swallowed_from
            && !lost.iter().any(|lines| lines.contains(&finding.span.start))
            && !slips.iter().any(|slip| line(slip.span.start) == line(finding.span.start))
    });
    findings.append(&mut slips);
}

/// Where the parser noticed that a list is never closed: all that follows was read as a part of it.
fn open_list(errors: &[Error]) -> Option<usize> {
    let is_about_lists =
        |error: &&Error| ["array elements", "in array"].iter().any(|words| error.message().contains(words));
    let never_closed = |error: &Error| {
        error.message().starts_with("unclosed array, ") || error.message().contains("in array")
    };
    let first = errors.iter().find(is_about_lists)?;
    errors.iter().any(never_closed).then(|| first.span().map_or(0, |span| span.start))
}

/// Does the line around `offset` look like the start of something new: `[table]` or `field = …`?
fn starts_anew(text: &str, offset: usize) -> bool {
    let line = line_at(text, offset);
    line.starts_with('[') || line.contains('=')
}

/// The lines below a header that could not be read belong to nobody knows what: from its start to the next header.
fn below_header(text: &str, offset: usize) -> Range<usize> {
    let start = line_start(text, offset);
    if !line_at(text, offset).starts_with('[') {
        return start..start;
    }
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        if end > start && line.trim_start().starts_with('[') {
            break;
        }
        end += line.len();
    }
    start..end
}

/// The parser's words in ours, where those say more. Values are not repeated: they may be keys.
fn explain(message: &str, text: &str, offset: usize, found: &str) -> String {
    let line = line_at(text, offset);
    if text.trim_start().starts_with('{') && text[..offset.min(text.len())].trim().is_empty() {
        return "this looks like JSON: the configuration is TOML".into();
    }
    match message {
        "duplicate key" => format!("`{found}` stands here twice"),
        m if m.starts_with("string values must be quoted") && found.is_empty() => {
            "the value is missing".into()
        }
        m if m.starts_with("string values must be quoted") => "text stands in quotes: \"…\"".into(),
        // Every word that starts with n or i is taken for `nan` or `inf`.
        m if m.starts_with("invalid float, expected `nan`")
            || m.starts_with("invalid float, expected `inf`") =>
        {
            "text stands in quotes: \"…\"".into()
        }
        m if m.starts_with("invalid basic string") || m.starts_with("invalid literal string") => m
            .replacen("invalid basic string", "the text is not closed", 1)
            .replacen("invalid literal string", "the text is not closed", 1),
        m if m.starts_with("missing escaped value") || m.contains("unicode value") => {
            "a backslash is written \\\\ here, or put the whole text in single quotes: '…'".into()
        }
        m if m.starts_with("key with no value") && line.contains(':') && !line.contains('=') => {
            "a field and its value are joined by =, not by a colon".into()
        }
        other => other.to_owned(),
    }
}

/// The line around `offset`, without what it is indented by.
fn line_at(text: &str, offset: usize) -> &str {
    text[line_start(text, offset)..].lines().next().unwrap_or_default().trim_start()
}

fn line_start(text: &str, offset: usize) -> usize {
    memchr::memrchr(b'\n', &text.as_bytes()[..offset.min(text.len())]).map_or(0, |i| i + 1)
}
