//! Hardware addresses of network cards: the forms in which people write them, and which of them can be woken.

use std::{fmt, str::FromStr};

/// A MAC-48 address (IEEE 802).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// Why an address is not likely to be that of a card that can be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// All zeroes.
    Zero,
    /// For many receivers, so nobody's own.
    Multicast,
    /// Of a container or a virtual machine.
    Virtual,
    /// Made up by software (the bit "locally administered"): private Wi-Fi addresses, bridges.
    MadeUp,
}

impl Mac {
    /// Why this address is probably not that of a card that can be woken; `None` when it looks like one.
    #[must_use]
    pub fn doubt(self) -> Option<Doubt> {
        let [first, second, third, ..] = self.0;
        if self.0 == [0; 6] {
            Some(Doubt::Zero)
        } else if first & 0x01 != 0 {
            Some(Doubt::Multicast)
        } else if VIRTUAL.contains(&[first, second, third]) || [first, second] == DOCKER {
            Some(Doubt::Virtual)
        } else if first & 0x02 != 0 {
            Some(Doubt::MadeUp)
        } else {
            None
        }
    }
}

/// What the makers of virtual machines give their network cards: Hyper-V, VMware (4), Parallels, VirtualBox, QEMU and KVM, Xen
/// (IEEE's register of OUIs; the same list as in Tailscale's `feature/wakeonlan`, plus Xen).
const VIRTUAL: [[u8; 3]; 9] = [
    [0x00, 0x15, 0x5d],
    [0x00, 0x50, 0x56],
    [0x00, 0x1c, 0x14],
    [0x00, 0x05, 0x69],
    [0x00, 0x0c, 0x29],
    [0x00, 0x1c, 0x42],
    [0x08, 0x00, 0x27],
    [0x52, 0x54, 0x00],
    [0x00, 0x16, 0x3e],
];

/// Docker gives a container an address that begins so (moby `libnetwork/netutils`, `GenerateMACFromIP`).
const DOCKER: [u8; 2] = [0x02, 0x42];

impl Doubt {
    /// What is wrong, as the end of the sentence "this address …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Zero => "is all zeroes",
            Self::Multicast => "is a group's, not one card's",
            Self::Virtual => "belongs to a virtual machine or a container",
            Self::MadeUp => "was made up by software, like a phone's private Wi-Fi address",
        }
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Reads `aa:bb:cc:dd:ee:ff`, `AA-BB-…`, `aabb.ccdd.eeff` and `aabbccddeeff`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is not a MAC address: write it like \"a8:a1:59:0c:1d:2e\"", cut(text));
        let bytes = hex_bytes(text.trim()).ok_or_else(wrong)?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Mac {
    /// `a8:a1:59:0c:1d:2e`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Reads bytes as hexadecimal digits in pairs, with `:` or `-` between all of them, `.` between every two, or nothing.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let separator = text.chars().find(|c| !c.is_ascii_hexdigit());
    let pairs = |digits: &str| -> Option<Vec<u8>> {
        let whole = digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        whole.then(|| {
            (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect()
        })?
    };
    match separator {
        None => pairs(text),
        Some(separator @ (':' | '-')) => text
            .split(separator)
            .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| (1..=2).contains(&part.len())))
            .collect(),
        Some('.') => {
            let parts: Vec<&str> = text.split('.').collect();
            parts.iter().all(|part| part.len() == 4).then(|| pairs(&parts.concat()))?
        }
        Some(_) => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_people_write() {
        let mac = Mac([0xa8, 0xa1, 0x59, 0x0c, 0x1d, 0x2e]);
        for text in
            ["a8:a1:59:0c:1d:2e", " A8-A1-59-0C-1D-2E ", "a8a1.590c.1d2e", "a8a1590c1d2e", "a8:a1:59:c:1d:2e"]
        {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        assert_eq!(mac.to_string(), "a8:a1:59:0c:1d:2e");
        for text in [
            "",
            "auto",
            "a8:a1:59:0c:1d",
            "a8:a1:59:0c:1d:2e:00",
            "a8:a1-59:0c:1d:2e",
            "a8:a1:59:0c:1d:2g",
            "a8:a1:59::1d:2e",
            "+8:a1:59:0c:1d:2e",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_no_card_has() {
        let doubt = |text: &str| text.parse::<Mac>().map(Mac::doubt).ok().flatten();
        assert_eq!(doubt("a8:a1:59:0c:1d:2e"), None);
        assert_eq!(doubt("00:00:00:00:00:00"), Some(Doubt::Zero));
        assert_eq!(doubt("ff:ff:ff:ff:ff:ff"), Some(Doubt::Multicast));
        assert_eq!(doubt("01:00:5e:00:00:01"), Some(Doubt::Multicast));
        assert_eq!(doubt("02:42:ac:11:00:02"), Some(Doubt::Virtual));
        assert_eq!(doubt("52:54:00:12:34:56"), Some(Doubt::Virtual));
        assert_eq!(doubt("00:15:5d:01:02:03"), Some(Doubt::Virtual));
        assert_eq!(doubt("3e:22:fb:01:02:03"), Some(Doubt::MadeUp));
    }
}
