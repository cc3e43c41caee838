//! Reads over JSON without building anything, exactly as strictly as RFC 8259: what passes here means the same to every parser.
//!
//! A lenient reader would let pass what a lenient parser behind us reads differently (comments, single quotes, `NaN`).

use memchr::memchr2;
use std::ops::Range;

/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 128;

/// A place in a text, moving on.
#[derive(Debug)]
pub struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Is everything read?
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.body.len()
    }

    /// The next byte.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// Takes the next byte.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// What is wrong here, in words for a person.
    #[must_use]
    pub fn wrong(&self, what: &str) -> String {
        format!("it is not valid JSON: {what}, near byte {}", self.at)
    }

    /// Takes exactly `byte`.
    ///
    /// # Errors
    /// When something else is there.
    pub fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.take() == Some(byte) {
            Ok(())
        } else {
            Err(self.wrong(&format!("{:?} expected", byte as char)))
        }
    }

    /// Skips white space.
    pub fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips a string; its range with the quotes.
    ///
    /// # Errors
    /// When it is none, or has no end, or holds what no string may.
    pub fn string(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        if self.take() != Some(b'"') {
            return Err(self.wrong("a quoted text expected"));
        }
        loop {
            let Some(found) = memchr2(b'"', b'\\', &self.body[self.at..]) else {
                return Err("it is not valid JSON: it ends inside a text".into());
            };
            let plain = &self.body[self.at..self.at + found];
            // Without a branch in it, this loop takes many bytes at once.
            if plain.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
                return Err(self.wrong("a control character stands inside a text"));
            }
            self.at += found;
            if self.body[self.at] == b'"' {
                self.at += 1;
                return Ok(start..self.at);
            }
            while self.peek() == Some(b'\\') {
                self.escape()?;
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let length = match self.body.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match self.body.get(self.at + 2..self.at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return Err(self.wrong("\\u wants four hexadecimal digits")),
            },
            Some(_) => return Err(self.wrong("an unknown escape")),
            None => return Err("it is not valid JSON: it ends inside a text".into()),
        };
        self.at += length;
        Ok(())
    }

    /// Skips a value of any kind; its range.
    ///
    /// # Errors
    /// When it is not valid, or nested deeper than [`MAX_DEPTH`].
    pub fn value(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        // One byte per level: which bracket closes it.
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(opener @ (b'{' | b'[')) => {
                    if open.len() == MAX_DEPTH {
                        return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
                    }
                    let closer = opener + 2; // `}` and `]` stand two after their openers in ASCII
                    self.at += 1;
                    self.skip_space();
                    if self.peek() == Some(closer) {
                        self.at += 1;
                    } else {
                        open.push(closer);
                        if opener == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                let Some(closer) = open.last().copied() else { return Ok(start..self.at) };
                self.skip_space();
                match self.take() {
                    Some(b',') => {
                        self.skip_space();
                        if closer == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == closer => {
                        open.pop();
                    }
                    Some(b'}' | b']') => return Err(self.wrong("brackets do not match")),
                    Some(_) => return Err(self.wrong("a comma or a bracket is missing")),
                    None => return Err("it is not valid JSON: it ends inside an array or object".into()),
                }
            }
        }
    }

    /// Skips an object's key, its colon, and the space around.
    fn key(&mut self) -> Result<(), String> {
        self.string()?;
        self.skip_space();
        self.expect(b':')?;
        self.skip_space();
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), String> {
        let word: &[u8] = match self.peek() {
            Some(b'"') => return self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b't') => b"true",
            Some(b'f') => b"false",
            Some(b'n') => b"null",
            None => return Err("it is not valid JSON: it ends where a value is expected".into()),
            Some(_) => return Err(self.wrong("a value expected")),
        };
        if !self.body[self.at..].starts_with(word) {
            return Err(self.wrong("a value expected"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit expected")) } else { Ok(()) }
    }
}

/// The values of these keys of an object, at its top and nowhere deeper; of equal keys the last, as parsers mostly take it. `None`
/// when it is no JSON object, or not all of one.
#[must_use]
pub fn members<'a, const N: usize>(object: &'a [u8], names: [&str; N]) -> Option<[Option<&'a [u8]>; N]> {
    let object = object.trim_ascii();
    let (mut at, mut found) = (Cursor::new(object), [None; N]);
    at.expect(b'{').ok()?;
    at.skip_space();
    while at.peek() != Some(b'}') {
        let key = at.string().ok()?;
        at.skip_space();
        at.expect(b':').ok()?;
        at.skip_space();
        let value = at.value().ok()?;
        let key = &object[key.start + 1..key.end - 1];
        if let Some(which) = names.iter().position(|name| name.as_bytes() == key) {
            found[which] = Some(&object[value]);
        }
        at.skip_space();
        match at.peek() {
            Some(b',') => at.take(),
            Some(b'}') => break,
            _ => return None,
        };
        at.skip_space();
    }
    at.take();
    at.is_at_end().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    fn accepts(text: &[u8]) -> bool {
        let mut cursor = Cursor::new(text);
        cursor.skip_space();
        cursor.value().is_ok() && {
            cursor.skip_space();
            cursor.is_at_end()
        }
    }

    /// What every parser must take, and what none may: cases in the manner of JSONTestSuite.
    #[test]
    fn t57_what_is_json_and_what_is_not() {
        let good: &[&str] = &[
            "[]",
            "{}",
            "[ ]",
            "0",
            "-0",
            "1e3",
            "1E+3",
            "-1.5e-30",
            "123456789012345678901234567890",
            "1e9999",
            "\"\"",
            "true",
            "[null, 1, \"1\", {}]",
            "[1 ]",
            " [1] ",
            "{\"\":0}",
            "{\"a\":1,\"a\":2}",
            "[\"\\u0060\\u012a\\u12AB\"]",
            "[\"\\uD801\\udc37\"]",
            "[\"\\ud800\"]",
            "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
            "[\"\\\\u0000\"]",
            "\"\u{7f}\"",
            "[\"\u{2028}\"]",
            "{\"a\":{\"b\":[{}]}}",
            "\t\r\n 1",
            "[-123.0]",
            "[0.1e1]",
            "\"\\uDBFF\\uDFFE\"",
        ];
        for text in good {
            assert!(accepts(text.as_bytes()), "{text}");
        }
        let bad: &[&str] = &[
            "",
            " ",
            "[",
            "]",
            "{",
            "}",
            "[}",
            "{]",
            "[1,]",
            "[,1]",
            "[,]",
            "[1,,2]",
            "[1 2]",
            "[1:2]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{:1}",
            "{1:1}",
            "{a:1}",
            "{'a':1}",
            "['a']",
            "{\"a\":1 \"b\":2}",
            "{\"a\":\"b\"]",
            "[1]]",
            "{}{}",
            "1 2",
            "01",
            "-",
            "+1",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1.e1",
            "0x1",
            "1_000",
            "--1",
            "1a",
            "NaN",
            "-NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "True",
            "truefalse",
            "undefined",
            "\"",
            "\"a",
            "\"\\",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u\"",
            "\"\\u12\"",
            "\"\\u123g\"",
            "\"\\U0000\"",
            "\"a\nb\"",
            "\"\t\"",
            "\"\0\"",
            "[\"a\0b\"]",
            "\u{feff}[]",
            "[\u{a0}1]",
            "\u{b}1",
            "\u{c}1",
            "/**/1",
            "1//x",
            "[1,#\n2]",
            "`a`",
            "<x>",
            "[1;2]",
            "{\"a\":/**/1}",
            "{\"a\" \"b\"}",
            "[\"a\",\n4\n,1,]",
            "[*]",
            "[\\n]",
            "\"\\ud800\\\"",
            "*",
            "🌀",
            "[1\u{85}]",
            "[- 1]",
            "1 000",
            "0.3.1",
            "1e1e1",
        ];
        for text in bad {
            assert!(!accepts(text.as_bytes()), "{text:?}");
        }
        for deep in ["[", "{\"a\":", "[{\"a\":"] {
            let depth = 100_000;
            assert!(!accepts(deep.repeat(depth).as_bytes()));
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(accepts(nested(MAX_DEPTH).as_bytes()) && !accepts(nested(MAX_DEPTH + 1).as_bytes()));
    }

    #[test]
    fn members_stand_at_the_top() {
        let at = |text: &'static str| members(text.as_bytes(), ["a", "b"]);
        let is =
            |a: Option<&'static str>, b: Option<&'static str>| Some([a, b].map(|v| v.map(str::as_bytes)));
        assert_eq!(
            at(r#" {"x":{"a":1},"b" : [1, {"a":2}] , "y":"\"a\":3"} "#),
            is(None, Some(r#"[1, {"a":2}]"#))
        );
        assert_eq!(at(r#"{"a":1,"a":null}"#), is(Some("null"), None));
        assert_eq!(at("{}"), is(None, None));
        for none in ["", "[]", r#"{"a":1"#, r#"{"a":1}}"#, r#"{"a":{"b":1}"#, r#"{"a":1 "b":2}"#, "data: {}"]
        {
            assert_eq!(at(none), None, "{none}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]
        /// F11: the same verdict as a parser that is known to be strict, on texts that are nearly JSON.
        #[test]
        fn f11_agrees_with_a_strict_parser(
            text in r#"([\[\]{},:" \n]|"[a\\"u/]{0,3}"|\\u[0-9a-f]{3,4}|-|0|1|\.|e|\+|true|null|fals|e|\[\]|"a":|\x01|é){0,14}"#,
        ) {
            let strict = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(accepts(text.as_bytes()), strict, "{:?}", text);
        }

        /// The same on JSON with one byte changed, left out or put in.
        #[test]
        fn f11_agrees_after_one_slip(
            at in any::<prop::sample::Index>(), byte: u8, how in 0..3u8,
            text in r#"\{"a": ?(\[1,-2\.5e3,"x\\n"\]|\{"b":null\}|"\\ud83d\\ude00 é"|true), ?"c":\[\{\},\[\]\]\}"#,
        ) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.insert(at, byte),
            }
            let strict = serde_json::from_slice::<IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(accepts(&bytes), strict, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
