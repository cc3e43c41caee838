//! How a browser gets the token: a code that is good once, for a minute. The token itself never stands in an address.

use crate::clock;
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};

/// A code is good for this long.
const CODE_MS: u64 = 60_000;
/// Codes that wait to be used; the oldest goes.
const CODES: usize = 16;

/// Codes that were given out.
pub struct Sessions {
    token: String,
    codes: Mutex<Vec<([u8; 32], u64)>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(…)")
    }
}

impl Sessions {
    /// Codes for this token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self { token, codes: Mutex::default() }
    }

    /// A new code.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn once(&self) -> Result<String, String> {
        let code = random_token()?;
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        codes.retain(|(_, until_ms)| *until_ms > clock::mono_ms());
        if codes.len() >= CODES {
            codes.remove(0);
        }
        codes.push((Sha256::digest(code.as_bytes()).into(), clock::mono_ms() + CODE_MS));
        Ok(code)
    }

    /// The token for a code, which is spent by that.
    pub fn trade(&self, code: &str) -> Option<String> {
        let hash: [u8; 32] = Sha256::digest(code.as_bytes()).into();
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = codes.iter().position(|(known, until_ms)| *known == hash && *until_ms > clock::mono_ms())?;
        codes.remove(at);
        Some(self.token.clone())
    }
}

/// 256 random bits from the system, in hex.
///
/// # Errors
/// When the system gives none.
pub fn random_token() -> Result<String, String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once() {
        let sessions = Sessions::new("token".into());
        let code = sessions.once().unwrap();
        assert_eq!(sessions.trade("guessed"), None);
        assert_eq!(sessions.trade(&code).as_deref(), Some("token"));
        assert_eq!(sessions.trade(&code), None);
    }
}
