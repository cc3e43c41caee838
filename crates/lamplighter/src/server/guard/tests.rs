//! The gate against a second one, written once more and shorter: whatever the first lets in, the second does too.

use super::*;
use proptest::prelude::*;

const LISTED: &str = "https://chat.example";

fn guard() -> Guard {
    let key = Sensitive::new("open-sesame".into());
    let here = [SocketAddr::from(([127, 0, 0, 1], 11400))];
    Guard::new(&here, vec!["models.example".into()], vec![LISTED.into()], Keyring::new(Some(&key)))
}

/// May this come in on loopback, port 11400?
fn reference(hosts: &[String], origins: &[String], site: Option<&str>, path: &str, has_key: bool) -> bool {
    let [host] = hosts else { return false };
    let host = host.to_ascii_lowercase();
    let own = ["127.0.0.1:11400", "localhost:11400", "[::1]:11400"].contains(&host.as_str());
    let (name, port) = host.split_once(':').unwrap_or((&host, "1"));
    let port_is_one = port.parse::<u16>().is_ok() && !port.starts_with('+');
    let named = name == "host.docker.internal" || name == "models.example" && has_key;
    let is_control = path.starts_with("/control/v1/");
    let page = match origins {
        [] => matches!(site, None | Some("none" | "same-origin")),
        [origin] if origin.to_ascii_lowercase() == format!("http://{host}") => origin.starts_with("http://"),
        [origin] if is_control => WINDOW_ORIGINS.contains(&origin.as_str()),
        [origin] => origin == LISTED,
        _ => false,
    };
    (own || named && port_is_one) && page
}

fn header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn f08_accepts_only_what_a_second_gate_accepts(
        hosts in prop::collection::vec(
            "(127\\.0\\.0\\.1|localhost|LocalHost|\\[::1\\]|host\\.docker\\.internal|models\\.example|evil\\.example|0\\.0\\.0\\.0|127\\.1|[a-z@.:\\[\\]]{0,6})(:11400|:80|:|:\\+11400|:99999|)?[. \t@x]?",
            0..3,
        ),
        origins in prop::collection::vec(
            "(null|https://chat\\.example|https?://(localhost|127\\.0\\.0\\.1|evil\\.example)(:11400|:80)?|tauri://localhost|https?://tauri\\.localhost|HTTP://localhost:11400|[a-z:/.]{0,8})",
            0..3,
        ),
        site in prop::option::of("(none|same-origin|same-site|cross-site|x)"),
        path in "(/v1/models|/api/chat|/control/v1/snapshot|/control/v1|/ui/|/)",
        has_key: bool,
    ) {
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, text: &str| header(text).map(|value| headers.append(name, value)).is_some();
        prop_assume!(hosts.iter().all(|host| add("host", host)));
        prop_assume!(origins.iter().all(|origin| add("origin", origin)));
        prop_assume!(site.iter().all(|site| add("sec-fetch-site", site)));
        prop_assume!(!has_key || add("authorization", "Bearer open-sesame"));
        let (local, peer) = (SocketAddr::from(([127, 0, 0, 1], 11400)), SocketAddr::from(([127, 0, 0, 1], 50000)));
        let judged = guard().judge(&Method::GET, &Uri::try_from(path.as_str()).unwrap(), &headers, peer, local);
        let is_in = matches!(judged, Ok(Passed::In { .. }));
        prop_assert_eq!(is_in, reference(&hosts, &origins, site.as_deref(), &path, has_key), "{:?}", headers);
    }
}
