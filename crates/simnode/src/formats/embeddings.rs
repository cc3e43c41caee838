//! Embeddings: vectors that depend on the text alone, as numbers or as base64.

use super::mix;
use crate::json::{Raw, text};

/// A vector of length one for this text.
pub(crate) fn vector(input: &str, dims: usize) -> Vec<f64> {
    let mut state = input.bytes().fold(17, |hash, byte| mix(hash ^ u64::from(byte)));
    let raw: Vec<f64> = (0..dims.max(1))
        .map(|_| {
            state = mix(state);
            // 32 of the bits, as a number in -1..1.
            (state >> 32) as f64 / f64::from(u32::MAX) * 2.0 - 1.0
        })
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    raw.into_iter().map(|value| f64::from((value / length) as f32)).collect()
}

/// A vector as JSON: a list, or in base64 its 32-bit floats, low byte first.
pub(crate) fn written(vector: &[f64], base64: bool) -> Raw {
    if !base64 {
        return text(&vector.to_vec());
    }
    let bytes: Vec<u8> = vector.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    text(&encode_base64(&bytes))
}

fn encode_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (index, byte)| bits | u32::from(*byte) << (16 - 8 * index));
        for place in 0..4 {
            if place > group.len() {
                out.push('=');
            } else {
                out.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{encode_base64, vector};

    #[test]
    fn base64_of_every_length() {
        assert_eq!(encode_base64(b""), "");
        assert_eq!(encode_base64(b"f"), "Zg==");
        assert_eq!(encode_base64(b"fo"), "Zm8=");
        assert_eq!(encode_base64(b"foobar"), "Zm9vYmFy");
    }

    #[test]
    fn vectors_are_stable_and_of_length_one() {
        let a = vector("a", 16);
        assert_eq!(a, vector("a", 16));
        assert_ne!(a, vector("b", 16));
        assert!((a.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-5);
    }
}
