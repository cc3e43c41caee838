//! Random damage to a good file: never a panic, never a configuration with errors, every place inside the file.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Damage {
    Cut(usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Replace(usize, u8),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "[", "]", "[[", "\"", "\"\"\"", "'", "=", "\n", "{", "}", ",", ".", "#", "0", "\\", "\0", "\r",
            "é"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::sample::select(vec![
            "[node.wake]\n",
            "[node.sleep]\n",
            "mac = \"auto\"\n",
            "relay = { url = 1 }\n",
            "[[alias]]\n",
            "[server]\n",
            "name = 1\n",
            "x@y",
            "node = 3\n",
            "alias.x = 1\n"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    let place = 0..GOOD.len();
    prop_oneof![
        1 => place.clone().prop_map(Damage::Cut),
        3 => (place.clone(), 1..30usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        5 => (place.clone(), piece).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        2 => (place, 1..120usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: Damage) {
    let inside = |at: usize, bytes: &[u8]| at.min(bytes.len());
    match damage {
        Damage::Cut(at) => bytes.truncate(at),
        Damage::Remove(at, count) => {
            let (from, to) = (inside(at, bytes), inside(at + count, bytes));
            bytes.drain(from..to);
        }
        Damage::Insert(at, piece) => {
            let at = inside(at, bytes);
            bytes.splice(at..at, piece);
        }
        Damage::Replace(at, byte) => {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        Damage::Repeat(at, count) => {
            let piece = bytes[inside(at, bytes)..inside(at + count, bytes)].to_vec();
            let at = inside(at, bytes);
            bytes.splice(at..at, piece);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damage_is_told_or_harmless(list in prop::collection::vec(damage(), 1..6)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for damage in list {
            apply(&mut bytes, damage);
        }
        let complaints = match parse(&bytes, Path::new("config.toml")) {
            Ok(parsed) => {
                let errors = core_config::check(&parsed.config).into_iter().filter(|c| c.severity == Severity::Error).count();
                prop_assert_eq!(errors, 0);
                prop_assert!(parsed.warnings.iter().all(|c| c.severity == Severity::Warning));
                parsed.warnings
            }
            Err(complaints) => {
                prop_assert!(complaints.iter().any(|c| c.severity == Severity::Error));
                complaints
            }
        };
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
        for complaint in complaints {
            prop_assert!(complaint.line.is_none_or(|line| (1..=lines as u32).contains(&line)), "{}", complaint);
            prop_assert!(!complaint.message.is_empty() && complaint.report().contains(&complaint.message));
        }
    }
}
