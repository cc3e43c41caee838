//! JSON that two parsers read in two ways is refused; what is taken goes up as it was judged, byte for byte.

use super::{error_of, house, post};
use lamplighter_simnode::SimNode;
use lamplighter_tests::socket;

const ROUTES: [&str; 5] =
    ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat", "/v1/embeddings"];

/// The bodies that reached the node by this route.
fn bodies(node: &SimNode, path: &str) -> Vec<Vec<u8>> {
    let mine = node
        .seen()
        .into_iter()
        .filter(|seen| seen.path == path && seen.method == "POST" && seen.body_len > 2);
    mine.map(|seen| seen.body.to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t57_one_meaning_or_none() {
    let (node, gateway) = house().await;
    let with = |more: &str| {
        format!(
            r#"{{"model":"m","max_tokens":4,"messages":[{{"role":"user","content":"hi"}}],"input":"hi"{more}}}"#
        )
    };
    let refused: Vec<Vec<u8>> = [
        // The model or the stream flag, twice.
        with(r#","model":"other""#),
        with(r#","model":"m""#),
        with(r#","mod\u0065l":"other""#),
        with(r#","stream":true,"stream":false"#),
        with(r#","Model":"other""#),
        with(r#","MODEL":"other""#),
        with(r#","moDel":"other""#),
        with(",\"\u{17f}tream\":true"),
        with(r#","Stream":true"#),
        with(r#","\u017ftream":true"#),
        r#"{"Model":"m","messages":[]}"#.into(),
        r#"{"messages":[]}"#.into(),
        // Not one JSON object.
        String::new(),
        " ".into(),
        "null".into(),
        "[]".into(),
        "\"m\"".into(),
        "7".into(),
        format!("\u{feff}{}", with("")),
        format!("{}{}", with(""), with("")),
        format!("{} x", with("")),
        format!("{},", with("")),
        format!("{}]", with("")),
        format!("{}}}", with("")),
        format!("x{}", with("")),
        format!("//\n{}", with("")),
        format!("{}//", with("")),
        with(",").replace(",}", ","),
        with(","),
        // What lenient parsers let pass, each in its own way.
        with(r#","x":NaN"#),
        with(r#","x":Infinity"#),
        with(r#","x":-Infinity"#),
        with(r#","x":[NaN]"#),
        with(r#","x":0x10"#),
        with(r#","x":01"#),
        with(r#","x":+1"#),
        with(r#","x":.5"#),
        with(r#","x":1."#),
        with(r#","x":1e"#),
        with(r#","x":True"#),
        with(r#","x":None"#),
        with(r#","x":undefined"#),
        with(r#","x":'a'"#),
        with(r#",'x':1"#),
        with(r#",x:1"#),
        with(r#","x":[1,]"#),
        with(r#","x":{"a":1,}"#),
        with(r#","x":[,1]"#),
        with(r#","x":[1 2]"#),
        with(r#","x":{"a" 1}"#),
        with(r#","x":{"a":1 "b":2}"#),
        with(r#","x":{1:2}"#),
        with(r#","x":/*"model":"o",*/1"#),
        with(",\"x\":1 # c\n"),
        with(r#","x":[1,/*"]}*/2]"#),
        with(r#","x":['"',"model":"o"]"#),
        with(r#","x":[}"#),
        with(r#","x":[1}"#),
        with(r#","x":{"a":1]"#),
        with(r#","x":"#),
        with(r#","x":"\x""#),
        with(r#","x":"\u12""#),
        with(r#","x":"\uZZZZ""#),
        with(r#","x":"\'""#),
        with(",\"x\":\"a\nb\""),
        with(",\"x\":\"\t\""),
        with(",\"x\":\"a\0b\""),
        with(",\"x\":\u{a0}1"),
        with(",\"x\":\u{b}1"),
        with(",\u{2028}\"x\":1"),
        with(r#","x":"open"#),
        with("\0"),
        with(r#","x":1_000"#),
        // A model that is none.
        with("").replace(r#""m""#, "7"),
        with("").replace(r#""m""#, "null"),
        with("").replace(r#""m""#, r#"["m"]"#),
        with("").replace(r#""m""#, r#""""#),
        with("").replace(r#""m""#, r#""\ud800""#),
        with("").replace(r#""m""#, &format!("{:?}", "m".repeat(600))),
        with(r#","stream":"true""#),
        with(r#","stream":1"#),
        with(r#","stream":[]"#),
        // Too deep for somebody.
        with(&format!(r#","x":{}{}"#, "[".repeat(200), "]".repeat(200))),
        with(&format!(r#","x":{}1{}"#, "{\"a\":".repeat(200), "}".repeat(200))),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([
        b"{\"model\":\"m\xff\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        b"{\"model\":\"\xed\xa0\x80\"}".to_vec(),
        b"\xf0\x9f{}".to_vec(),
    ])
    .collect();
    for path in ROUTES {
        for body in &refused {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                gateway.authority(),
                body.len()
            );
            let reply = socket::ask(gateway.authority(), &[head.as_bytes(), body].concat()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            assert_eq!(reply.status, 400, "{path} {shown:?}: {}", reply.text());
            assert!(!error_of(path, &reply).is_empty());
        }
        assert!(bodies(&node, path).is_empty(), "{path}: something went up");
    }
    // What is unusual and means one thing goes up as it came; an alias or not, nothing else is touched.
    let taken = [
        with(""),
        format!(" \t\r\n{} \n", with("")),
        with(r#","x":1e9999"#),
        with(r#","x":-0"#),
        with(r#","x":123456789012345678901234567890"#),
        with(r#","x":"\ud800""#),
        with(r#","x":"\udc00\ud800""#),
        with(r#","x":"\u0000""#),
        with(r#","x":"\/""#),
        with(r#","x":{"model":"o","model":"p"}"#),
        with(r#","x":1,"x":2"#),
        with(r#","models":["a"],"mode":"l""#),
        with(r#","":0"#),
        with(r#","\ud800":0"#),
        with(",\"x\":\"\u{2028}\u{7f}\u{fffd}\""),
        with(r#","x":[[[[{}]]],{"a":[]}]"#),
        with(r#","stream":null"#),
        with("").replace("model", r"\u006dodel"),
        with("").replace(r#""m""#, r#""\u006d""#),
        with(r#","x":"say \"model\": \"evil\" \\""#),
        with(&format!(r#","x":{}{}"#, "[".repeat(126), "]".repeat(126))),
    ];
    for path in ROUTES {
        for (i, body) in taken.iter().enumerate() {
            let reply = post(&gateway, path, &[], body).await;
            let went_up = bodies(&node, path);
            assert_eq!(went_up.len(), i + 1, "{path} {body}: {} {}", reply.status, reply.text());
            let judged: Vec<u8> = body.replace(r#""\u006d""#, r#""m""#).into_bytes();
            // The name of the model may be written anew; all else is what the client sent.
            assert!(
                went_up[i] == body.as_bytes() || went_up[i] == judged,
                "{path} {body}: {}",
                String::from_utf8_lossy(&went_up[i])
            );
        }
    }
}
