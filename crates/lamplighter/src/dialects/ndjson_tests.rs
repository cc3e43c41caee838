//! The reader of newline-delimited JSON under any cutting, against a slow reading of the whole text.

use super::*;
use crate::dialects::sse::tests::Dice;

/// The lines that count, and what is left unfinished.
fn read(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut reader = Reader::default();
    let mut lines = vec![];
    for chunk in chunks {
        reader.push(chunk, |line| lines.push(line.to_vec())).unwrap();
    }
    (lines, reader.rest().to_vec())
}

/// F02: any bytes under any cutting, with CRLF, blank lines and bytes that are no UTF-8.
#[test]
fn f02_any_bytes_and_any_cuts_give_the_same_lines() {
    let words: [&[u8]; 10] = [
        b"{\"done\":true}",
        b"{}",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b" ",
        b"\t\n",
        "\u{fc}".as_bytes(),
        b"\xFF",
    ];
    for seed in 0..10_000 {
        let mut dice = Dice::new(seed);
        let bytes = dice.text(&words, 30);
        let chunks = dice.cut(&bytes);
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let wanted: Vec<Vec<u8>> = bytes[..end]
            .split(|&byte| byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            .filter(|line| !line.trim_ascii().is_empty())
            .collect();
        assert_eq!(read(&chunks), (wanted, bytes[end..].to_vec()), "seed {seed}: {chunks:?}");
    }
}

#[test]
fn an_endless_line_is_given_up() {
    let mut reader = Reader::default();
    let block = vec![b'x'; 1 << 20];
    assert!((0..10).any(|_| reader.push(&block, |_| ()).is_err()));
}

#[test]
fn an_unwanted_line_and_what_follows_are_not_read() {
    let mut reader = Reader::default();
    let mut lines = 0;
    let to = reader.push_while(b"{}\n\n{}\n{}\n{}\n", |_| {
        lines += 1;
        lines < 3
    });
    assert_eq!((to, lines), (Ok(Some(7)), 3));
}
