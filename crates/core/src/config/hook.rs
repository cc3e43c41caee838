//! A call by HTTP that the owner of the file has written down: an address, a method, headers.

use super::Secret;

/// What is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// `http://` or `https://`, with path and query. As [`hook_url`] gives it.
    pub url: String,
    /// How.
    pub method: Method,
    /// Sent with it, in the order of the file.
    pub headers: Vec<(String, HeaderValue)>,
}

/// What stands for the machine's hardware address in a hook's url.
pub const HOOK_MAC: &str = "{mac}";

impl Hook {
    /// Does it need the machine's hardware address? A smart plug does not.
    #[must_use]
    pub fn wants_mac(&self) -> bool {
        self.url.contains(HOOK_MAC)
    }
}

/// A header's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// As written.
    Plain(String),
    /// Kept elsewhere, whole: `env:HOME_ASSISTANT` holds `Bearer …`.
    Kept(Secret),
}

/// The methods that make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    #[default]
    Post,
    /// `PUT`
    Put,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Get, Self::Post, Self::Put];

    /// As in the file and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Reads the address of a hook.
///
/// # Errors
/// Says what was expected; an address that may hold a password is not repeated.
pub fn hook_url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else { return Err("write the whole address, with http:// or https://".into()) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("a user name or password does not belong in the address: use `headers`".into());
    }
    if authority.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("this is not an address: write it like \"http://192.168.1.50:8009/sleep\"".into());
    }
    Ok(text.to_owned())
}

/// Reads one header.
///
/// # Errors
/// When it could not be sent, or when it looks like a key that belongs elsewhere. The value is not repeated.
pub fn header(name: &str, value: &str) -> Result<HeaderValue, String> {
    // RFC 9110, 5.6.2: a token.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} cannot be a header's name"));
    }
    let lower = name.to_ascii_lowercase();
    if value.starts_with("env:") || value.starts_with("file:") {
        return Secret::parse(value).map(HeaderValue::Kept);
    }
    if ["auth", "key", "token", "secret", "cookie", "passw"].iter().any(|word| lower.contains(word)) {
        return Err("its value is not written here: use \"env:NAME\" or \"file:PATH\" (a file only you can read, mode 0600)".into());
    }
    if !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t') {
        return Err("a header's value is one line of plain characters".into());
    }
    Ok(HeaderValue::Plain(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(hook_url(" http://nas:8009/sleep?x={y} ").as_deref(), Ok("http://nas:8009/sleep?x={y}"));
        for wrong in [
            "nas/sleep",
            "ftp://nas",
            "http://",
            "http:///x",
            "http://me:pw@nas/",
            "http://nas/a b",
            "http://nas/\nx",
        ] {
            let why = hook_url(wrong).unwrap_err();
            assert!(!why.contains("pw"), "{why}");
        }
    }

    #[test]
    fn headers_hold_no_keys() {
        assert_eq!(header("X-Room", "attic"), Ok(HeaderValue::Plain("attic".into())));
        assert_eq!(header("Authorization", "env:HA"), Ok(HeaderValue::Kept(Secret::Env("HA".into()))));
        for (name, value) in [
            ("Authorization", "Bearer sk-123"),
            ("x-api-key", "sk-123"),
            ("a b", "c"),
            ("", "c"),
            ("x", "a\r\nb: c"),
            ("x", "env:1 2"),
        ] {
            let why = header(name, value).unwrap_err();
            assert!(!why.contains("123"), "{why}");
        }
    }
}
