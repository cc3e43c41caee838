//! Which modules and crates a file names, from `use` lines and from paths anywhere in its code.

use super::tokens::Token;

/// A path from the root of the crate, at most as long as it is written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The line, from 1.
    pub line: usize,
    /// The path's words, without `crate`.
    pub path: Vec<String>,
}

/// Every path that begins with `crate`, `super` or `self`, seen from the root. `module` is where the file stands.
pub(super) fn own(tokens: &[Token<'_>], module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    // Modules written out inside the file, each with the depth of its braces.
    let mut inside: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    for at in 0..tokens.len() {
        match tokens[at].text {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inside.push((tokens[at - 1].text.to_owned(), depth));
                }
            }
            "}" => {
                inside.retain(|(_, opened)| *opened < depth);
                depth = depth.saturating_sub(1);
            }
            "crate" | "super" | "self" if is_head(tokens, at) => {
                let here = module.iter().chain(inside.iter().map(|(name, _)| name));
                let mut base: Vec<String> = here.cloned().collect();
                let mut next = at;
                match tokens[at].text {
                    "crate" => base.clear(),
                    "self" => {}
                    _ => {
                        base.pop();
                        while text(tokens, next + 2) == "super" {
                            base.pop();
                            next += 2;
                        }
                    }
                }
                branches(tokens, next + 2, &base, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Every path below `crate_name`, without it.
pub(super) fn below(tokens: &[Token<'_>], crate_name: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|&at| tokens[at].text == crate_name && is_head(tokens, at)) {
        branches(tokens, at + 2, &[], &mut found);
    }
    found
}

/// Other crates named at the head of a path or of a `use`, with the line.
pub(super) fn heads<'a>(tokens: &[Token<'a>]) -> Vec<(usize, &'a str)> {
    let begins = |at: usize| is_head(tokens, at) || at > 0 && tokens[at - 1].text == "use";
    (0..tokens.len())
        .filter(|&at| is_word(tokens[at].text) && !KEYWORDS.contains(&tokens[at].text) && begins(at))
        .map(|at| (tokens[at].line, tokens[at].text))
        .collect()
}

/// Words after which `::x` begins a path.
const KEYWORDS: [&str; 9] = ["use", "as", "dyn", "impl", "in", "match", "mut", "return", "where"];

/// Does a path begin here? `pub(crate)` and `self.x` are none; `::x::y` is one that begins with `x`.
fn is_head(tokens: &[Token<'_>], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].text);
    let goes_on =
        before(1) == "::" && (before(2) == ">" || is_word(before(2)) && !KEYWORDS.contains(&before(2)));
    text(tokens, at + 1) == "::" && !goes_on
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Follows a path, and each of its branches in braces, to their ends. Answers where it ends.
fn branches(tokens: &[Token<'_>], mut at: usize, base: &[String], found: &mut Vec<Named>) -> usize {
    let mut path = base.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.line);
    loop {
        match text(tokens, at) {
            "{" => {
                at += 1;
                while !matches!(text(tokens, at), "}" | "") {
                    at = branches(tokens, at, &path, found);
                    while !matches!(text(tokens, at), "," | "}" | "") {
                        at += 1; // `as other`
                    }
                    at += usize::from(text(tokens, at) == ",");
                }
                return at + 1;
            }
            word => {
                if word != "self" {
                    path.push(word.to_owned());
                }
                // `f::<u8>()` ends here too.
                if text(tokens, at + 1) != "::" || text(tokens, at + 2) == "<" {
                    found.push(Named { line, path });
                    return at + 1;
                }
                at += 2;
            }
        }
    }
}

fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::tokens, *};

    fn paths(source: &str, module: &str) -> Vec<String> {
        let module: Vec<String> = module.split('/').map(str::to_owned).collect();
        own(&tokens(source), &module).into_iter().map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn paths_are_seen_from_the_root() {
        assert_eq!(
            paths("use crate::{a, b::{self, c, d as e}, f::*};", "x"),
            ["a", "b", "b::c", "b::d", "f::*"]
        );
        assert_eq!(paths("use super::{y, z::w}; super::super::v();", "m/x"), ["m::y", "m::z::w", "v"]);
        assert_eq!(
            paths("mod t { use super::*; mod u { super::super::k(); } } super::n()", "x"),
            ["x::*", "x::k", "n"]
        );
        assert_eq!(paths("pub(crate) fn f(self) { self.g(); crate::h::<u8>() }", "x"), ["h"]);
    }

    #[test]
    fn paths_of_another_crate() {
        let found = below(&tokens("use std::{fs, io::Read}; fn f() { std::env::var(); a::std::x }"), "std");
        let paths: Vec<_> = found.iter().map(|named| named.path.join("::")).collect();
        assert_eq!(paths, ["fs", "io::Read", "env::var"]);
    }

    #[test]
    fn crates_are_named_at_the_head_of_a_path() {
        let found = tokens(
            "use tokio; use ::tauri::App; use {hyper::body, a::axum::b}; fn f(http: u8) { ::reqwest::get() }",
        );
        let names: Vec<_> = heads(&found).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["tokio", "tauri", "hyper", "a", "reqwest"]);
    }
}
