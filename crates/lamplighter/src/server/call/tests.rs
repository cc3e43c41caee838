//! What of a client's head goes up to a node, for any head.

use super::*;
use proptest::prelude::*;

const NAMES: &str = "(accept|user-agent|anthropic-[a-z]{1,6}|anthropic-version|openai-beta|traceparent|x-session-id|via|x-lamplighter-hop\
    |x-lamplighter-node|x-request-id|connection|keep-alive|proxy-[a-z]{1,8}|te|trailer|transfer-encoding|upgrade|content-length\
    |content-encoding|expect|host|origin|referer|cookie|authorization|x-api-key|api-key|x-forwarded-[a-z]{1,5}|forwarded|x-real-ip\
    |sec-[a-z]{1,6}|accept-encoding|range|if-none-match|[a-z-]{1,12})";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// F07: only names of the list, nothing that is for one hop, nothing that could end a line; our own marks as we wrote them.
    #[test]
    fn f07_only_the_list_goes_up(
        fields in prop::collection::vec((NAMES, prop::collection::vec(any::<u8>(), 0..12)), 0..12),
        passed in 0usize..2,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value)) else { continue };
            headers.append(name, value);
        }
        headers.insert(HOP, HeaderValue::from(passed));
        let up = goes_up(&headers, "req_1", hops(&headers));
        for (name, value) in &up {
            let ours = ["x-request-id", "via", "x-lamplighter-hop"].contains(&name.as_str());
            prop_assert!(ours || GOES_UP.contains(&name.as_str()), "{}", name);
            prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{:?}", value);
        }
        for name in ["connection", "te", "trailer", "transfer-encoding", "upgrade", "cookie", "authorization", "host", "content-length"] {
            prop_assert!(!up.contains_key(name), "{}", name);
        }
        prop_assert_eq!(&up["x-request-id"], "req_1");
        prop_assert_eq!(up.get_all(header::VIA).iter().next_back().unwrap(), "1.1 lamplighter");
        let hops: usize = up["x-lamplighter-hop"].to_str().unwrap().parse().unwrap();
        prop_assert!(hops > passed, "it never counts down");
    }
}
