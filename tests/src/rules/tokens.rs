//! Rust source as words and signs, without comments and without what stands in quotes.

/// A word or a sign of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// The line, from 1.
    pub line: usize,
    /// The word, `::`, or a single sign.
    pub text: &'a str,
}

/// Takes the source apart. Good enough for source that compiles.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < source.len() {
        let rest = &source[at..];
        let length = skipped(rest).unwrap_or_else(|| {
            let length = word(rest);
            if !rest.starts_with(char::is_whitespace) {
                found.push(Token { line, text: &rest[..length] });
            }
            length
        });
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

/// The length of a comment, a text or a character at the start, if one stands there.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let (letters, quoted) = rest.split_at(prefix.min(2));
    if letters.ends_with('r') {
        let hashes = quoted.len() - quoted.trim_start_matches('#').len();
        if quoted[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = letters.len() + hashes + 1;
            return Some(rest[open..].find(&end).map_or(rest.len(), |to| open + to + end.len()));
        }
    }
    let quoted = if matches!(letters, "" | "b" | "c") { quoted } else { "" };
    match quoted.chars().next()? {
        '"' => Some(letters.len() + until(quoted, '"')),
        // `'x'` and `'\n'` are characters, `'a` alone is a lifetime.
        '\'' if quoted.starts_with("'\\") || quoted.chars().nth(2) == Some('\'') => {
            Some(letters.len() + until(quoted, '\''))
        }
        '\'' => Some(letters.len() + 1 + word(&quoted[1..])),
        _ => None,
    }
}

/// The length of what stands between `quote`s, with them.
fn until(quoted: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in quoted.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    quoted.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a word, of `::`, or of one sign.
fn word(rest: &str) -> usize {
    let letters = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    match letters {
        0 if rest.starts_with("::") => 2,
        0 => rest.chars().next().map_or(1, char::len_utf8),
        _ => letters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_quotes_are_left_out() {
        assert_eq!(texts("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
        assert_eq!(texts(r##"x("a \" b", r"\", r#"c " d"#, b"e", br"f", c"g") y"##).join(""), "x(,,,,,)y");
        assert_eq!(texts("('a', '\\'', b'c', '\\u{1F}', 'é') z").join(""), "(,,,,)z");
        assert_eq!(
            texts("fn f<'a>(x: &'a str, crate_b: u8)").join(" "),
            "fn f < > ( x : & str , crate_b : u8 )"
        );
    }

    #[test]
    fn lines_are_counted_through_quotes_and_comments() {
        let found = tokens("a\n\"b\n\n\" /*\n*/ c::d");
        let lines: Vec<_> = found.iter().map(|token| (token.line, token.text)).collect();
        assert_eq!(lines, [(1, "a"), (5, "c"), (5, "::"), (5, "d")]);
    }
}
