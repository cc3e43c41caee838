//! The reader of server-sent events under any cutting, against the standard's own cases and a slow reading of it.

use super::*;
use crate::dialects::judge::{Judge, Standing};
use lamplighter_core::operation::Dialect;

type Pair = (String, String);

fn events(chunks: &[&[u8]]) -> Vec<Pair> {
    let mut reader = Reader::default();
    let mut events = vec![];
    for chunk in chunks {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        reader.push(chunk, |event| events.push((text(event.name), text(event.data)))).unwrap();
    }
    events
}

fn pair(name: &str, data: &str) -> Pair {
    (name.into(), data.into())
}

/// Calls `check` with the text whole, cut once and cut twice, everywhere.
fn every_cut(text: &[u8], mut check: impl FnMut(&[&[u8]])) {
    check(&[text]);
    for first in 0..=text.len() {
        let (head, rest) = text.split_at(first);
        for second in 0..=rest.len() {
            check(&[head, &rest[..second], &rest[second..]]);
        }
    }
}

/// The slow reference: the whole text at once, straight from the standard.
fn reference(bytes: &[u8]) -> Vec<Pair> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some((finished, _)) = text.rsplit_once('\n') else { return vec![] };
    let (mut events, mut name, mut data) = (vec![], String::new(), Vec::<String>::new());
    for line in finished.split('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                events.push((name.clone(), data.join("\n")));
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.push(value.into()),
            "event" => name = value.into(),
            _ => {}
        }
    }
    events
}

/// R35: the cases of the web platform tests' `eventsource/format-*`, each under every single and double cut.
#[test]
fn r35_the_standards_cases() {
    let comment = "x".repeat(40);
    let comments =
        format!("data:1\r:\0\n:\r\ndata:2\n:{comment}\rdata:3\n:data:fail\r:{comment}\ndata:4\n\n");
    let parsing = "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n";
    let unknown = "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n";
    let cases: [(&str, &str, &[&str]); 19] = [
        ("bom", "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n", &["1", "3"]),
        ("bom-2", "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n", &["2", "3"]),
        ("comments", &comments, &["1\n2\n3\n4"]),
        ("data-before-final-empty-line", "retry:1000\ndata:test1\n\nid:test\ndata:test2", &["test1"]),
        ("data-before-final-empty-line-2", "data:test1\n\ndata:test2\n", &["test1"]),
        ("field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", &["", "\n", "test"]),
        ("field-event-empty", "event: \ndata:data\n\n", &["data"]),
        ("field-id", "id: 1\nid\ndata: a\n\nid:\0\ndata:b\n\n", &["a", "b"]),
        ("field-parsing", parsing, &["\0\n 2\n1\n3\n\n4"]),
        ("field-retry", "retry: 3000\nretry\nretry:x\ndata:x\n\n", &["x"]),
        ("field-unknown", unknown, &["test\n\ntest"]),
        ("leading-space", "data:\ttest\rdata: \ndata:test\n\n", &["\ttest\n\ntest"]),
        ("newlines", "data:test\r\ndata\ndata:test\r\n\r", &["test\n\ntest"]),
        ("newlines-cr", "data:a\r\rdata:b\r\rdata:c\r\r", &["a", "b", "c"]),
        ("newlines-crlf", "data:a\r\n\r\ndata:b\r\n\r\n", &["a", "b"]),
        ("null-character", "data:\0\n\n\n\n", &["\0"]),
        (
            "utf-8",
            "data:ok\u{2026} \u{1f44b}\u{1f3fd} \u{65e5}\n\n",
            &["ok\u{2026} \u{1f44b}\u{1f3fd} \u{65e5}"],
        ),
        ("no-space", "data:{\"a\":1}\n\ndata: {\"b\":2}\n\n", &["{\"a\":1}", "{\"b\":2}"]),
        ("blank lines alone", "\n\n\r\n\r\r\n", &[]),
    ];
    for (name, text, wanted) in cases {
        let wanted: Vec<Pair> = wanted.iter().map(|data| pair("", data)).collect();
        every_cut(text.as_bytes(), |chunks| assert_eq!(events(chunks), wanted, "{name}: {chunks:?}"));
    }
    let named = b"event:test\ndata:x\n\ndata:x\n\nevent:a\nevent:b\ndata:y\n\nevent:lost\n\ndata:z\n\n";
    let wanted = [pair("test", "x"), pair("", "x"), pair("b", "y"), pair("", "z")];
    every_cut(named, |chunks| assert_eq!(events(chunks), wanted));
}

/// R34: one stream of each dialect, cut once and twice at every offset: the same events, tokens and verdict, and no byte
/// counted as whole that is not.
#[test]
fn r34_every_cut_gives_the_same_verdict() {
    let streams = [
        (
            Dialect::Openai,
            "data: {\"choices\":[{\"delta\":{\"content\":\"\u{fc}\"}}]}\n\n: c\r\n\r\ndata:{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3}}\r\n\r\ndata: [DONE]\n\n",
        ),
        (
            Dialect::Responses,
            "event: x\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"output_tokens\":3}}}\n\n",
        ),
        (
            Dialect::Anthropic,
            "event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\",\"usage\":{\"input_tokens\":3}}\n\n",
        ),
        (Dialect::Ollama, "{\"response\":\"\u{fc}\",\"done\":false}\r\n\n{\"done\":true,\"eval_count\":3}\n"),
    ];
    for (dialect, stream) in streams {
        let mut uncut = Judge::new(dialect);
        assert_eq!(uncut.push(stream.as_bytes()), Ok(Some(stream.len())), "{dialect:?}");
        assert_eq!(uncut.standing(), Standing::Complete);
        let ends: Vec<usize> = (1..=stream.len())
            .filter(|&end| stream.as_bytes()[end - 1] == b'\n' || stream.as_bytes()[end - 1] == b'\r')
            .collect();
        every_cut(stream.as_bytes(), |chunks| {
            let (mut judge, mut at, mut whole) = (Judge::new(dialect), 0, 0);
            for chunk in chunks {
                if let Some(to) = judge.push(chunk).unwrap() {
                    whole = at + to;
                    assert!(ends.contains(&whole), "{dialect:?}: {whole} is not behind an event: {chunks:?}");
                }
                at += chunk.len();
            }
            let seen = (judge.standing(), judge.events(), judge.tokens(), judge.is_over(), whole);
            let wanted = (Standing::Complete, uncut.events(), uncut.tokens(), false, stream.len());
            assert_eq!(seen, wanted, "{dialect:?}: {chunks:?}");
        });
    }
}

#[test]
fn tells_where_whole_events_end() {
    let mut reader = Reader::default();
    assert_eq!(reader.push(b"data: a\n\ndata: b", |_| ()), Ok(Some(9)));
    assert!(reader.is_open());
    assert_eq!(reader.push(b"c\n", |_| ()), Ok(None));
    assert_eq!(reader.push(b"\n", |_| ()), Ok(Some(1)));
    assert!(!reader.is_open());
    assert_eq!(reader.push(b"data: a\r\n\r", |_| ()), Ok(Some(10)));
    assert_eq!(reader.push(b"\n", |_| ()), Ok(Some(1)));
}

/// R35: an event larger than any buffer on its way is read; one without an end is given up.
#[test]
fn r35_large_events_are_read_and_an_endless_one_is_given_up() {
    let mut reader = Reader::default();
    let (block, mut length) = (vec![b'x'; 64 << 10], 0);
    reader.push(b"data: ", |_| ()).unwrap();
    for _ in 0..20 {
        reader.push(&block, |_| ()).unwrap();
    }
    reader.push(b"\n\n", |event| length = event.data.len()).unwrap();
    assert_eq!(length, 20 * block.len());
    let mut reader = Reader::default();
    let given_up = (0..MAX_EVENT_BYTES / block.len() + 2).any(|_| reader.push(&block, |_| ()).is_err());
    assert!(given_up);
}

/// Numbers that are the same in each run: a case that fails can be run again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Below `sides`, which is at least 1.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    /// Pieces of the grammar in any order, some of them bytes of no meaning.
    pub(crate) fn text(&mut self, words: &[&[u8]], most: usize) -> Vec<u8> {
        let mut bytes = vec![];
        for _ in 0..self.roll(most) {
            match self.roll(8) {
                0 => bytes.push(self.roll(256) as u8),
                _ => bytes.extend_from_slice(words[self.roll(words.len())]),
            }
        }
        bytes
    }

    /// The bytes in pieces, up to eight, some of them empty.
    pub(crate) fn cut<'b>(&mut self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut at: Vec<usize> = (0..self.roll(8)).map(|_| self.roll(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
    }
}

/// F01: any bytes under any cutting are read as the uncut ones are, and as the slow reference reads them.
#[test]
fn f01_any_bytes_and_any_cuts_give_the_same_events() {
    let words: [&[u8]; 16] = [
        b"data",
        b"event",
        b"id",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"x",
        b"{\"a\":1}",
        b"data: ",
        b"\xEF\xBB\xBF",
        "\u{fc}".as_bytes(),
        b"\xFF\x00",
    ];
    for seed in 0..10_000 {
        let mut dice = Dice::new(seed);
        let bytes = dice.text(&words, 40);
        let chunks = dice.cut(&bytes);
        let read = events(&chunks);
        assert_eq!(read, events(&[&bytes]), "seed {seed}: {chunks:?}");
        assert_eq!(read, reference(&bytes), "seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
        // What is called whole is whole: read alone, it gives the same events.
        let (mut reader, mut at, mut whole) = (Reader::default(), 0, 0);
        for chunk in &chunks {
            if let Some(to) = reader.push(chunk, |_| ()).unwrap() {
                whole = at + to;
            }
            at += chunk.len();
        }
        assert_eq!(events(&[&bytes[..whole]]), read, "seed {seed}: {whole}");
        assert!(reader.line.len() + reader.data.len() <= bytes.len(), "seed {seed}: no more held than came");
    }
}
