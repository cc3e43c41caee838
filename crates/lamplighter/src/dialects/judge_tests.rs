//! Streams that are whole, cut or broken, in each dialect.

use super::*;

fn judged(dialect: Dialect, stream: &str) -> (Standing, Tokens, u64) {
    let mut whole = Judge::new(dialect);
    whole.push(stream.as_bytes()).unwrap();
    whole.finish();
    // Byte by byte must give the same.
    let mut slow = Judge::new(dialect);
    for byte in stream.as_bytes() {
        slow.push(&[*byte]).unwrap();
    }
    slow.finish();
    assert_eq!(
        (slow.standing(), slow.tokens(), slow.events()),
        (whole.standing(), whole.tokens(), whole.events())
    );
    (whole.standing(), whole.tokens(), whole.events())
}

#[test]
fn openai() {
    let delta = "data: {\"choices\":[{\"delta\":{\"content\":\"say \\\"finish_reason\\\":\\\"stop\\\" [DONE]\"},\"finish_reason\":null}]}\n\n";
    assert_eq!(judged(Dialect::Openai, delta).0, Standing::Unfinished);
    assert_eq!(judged(Dialect::Openai, &format!("{delta}data: [DONE]\n\n")).0, Standing::Complete);
    let last = "data: {\"choices\":[{\"delta\":{},\"finish_reason\": \"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n";
    assert_eq!(judged(Dialect::Openai, last), (Standing::Complete, Tokens { input: 5, output: 7 }, 2));
    assert_eq!(judged(Dialect::Openai, "data: {\"error\":{\"message\":\"x\"}}\n\n").0, Standing::NodeError);
    assert_eq!(judged(Dialect::Openai, "data: [DONE]").0, Standing::Unfinished, "cut before the line end");
}

/// R44: counts that cannot be are none, and hide no others.
#[test]
fn r44_negative_and_huge_counts_are_not_believed() {
    let usage = |input: &str, output: &str| {
        let told = format!("{{\"usage\":{{\"prompt_tokens\":{input},\"completion_tokens\":{output}}}}}");
        let tokens = tokens_of_whole(Dialect::Openai, told.as_bytes());
        (tokens.input, tokens.output)
    };
    assert_eq!(usage("5", "7"), (5, 7));
    for wrong in ["-7", "1e30", "18446744073709551615", "18446744073709551616", "7.5", "null", "\"7\"", "[7]"]
    {
        assert_eq!(usage("5", wrong), (5, 0), "{wrong}");
        assert_eq!(usage(wrong, "7"), (0, 7), "{wrong}");
    }
    for wrong in ["-7", "1e30", "18446744073709551615", "99999999999999999999999", "null", "\"7\""] {
        let told = format!("{{\"done\":true,\"prompt_eval_count\":5,\"eval_count\":{wrong}}}");
        let Tokens { input, output } = tokens_of_whole(Dialect::Ollama, told.as_bytes());
        assert!(input == 5 && output <= 1, "{wrong}: {output}");
    }
}

/// R39: what follows the end mark belongs to no answer, however it is cut; a `[DONE]` may follow everywhere.
#[test]
fn r39_nothing_follows_the_end_mark() {
    let ends = [
        (
            Dialect::Openai,
            "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\ndata: {\"usage\":{}}\n\ndata: [DONE]\n\n",
        ),
        (Dialect::Responses, "data: {\"type\":\"response.completed\"}\n\ndata: [DONE]\n\n"),
        (Dialect::Anthropic, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        (Dialect::Ollama, "{\"done\":true}\n"),
    ];
    for (dialect, whole) in ends {
        let extras = match dialect {
            Dialect::Ollama => ["{\"done\":false}\n", "{\"done\":true}\r\n"],
            _ => ["data: {\"choices\":[]}\n\n", ": c\r\nevent: x\r\ndata:y\r\n\r\n"],
        };
        for extra in extras {
            let stream = format!("{whole}\n{extra}{extra}");
            for cut in 0..stream.len() {
                let (mut judge, mut to, mut at) = (Judge::new(dialect), 0, 0);
                for part in [&stream[..cut], &stream[cut..]] {
                    if let Some(end) = judge.push(part.as_bytes()).unwrap() {
                        to = at + end;
                    }
                    at += part.len();
                }
                assert!(judge.has_end_mark() && judge.is_over(), "{dialect:?} cut at {cut}");
                assert!(
                    stream[..to].trim_end() == whole.trim_end(),
                    "{dialect:?} cut at {cut}: {:?}",
                    &stream[..to]
                );
            }
        }
        let mut judge = Judge::new(dialect);
        judge.push(whole.as_bytes()).unwrap();
        assert!(judge.has_end_mark() && !judge.is_over(), "{dialect:?}");
    }
}

#[test]
fn an_answer_in_one_piece_tells_its_tokens() {
    let chat = br#"{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":9}"}}],"usage": {"prompt_tokens":5,"completion_tokens":7,"details":{"x":[1]}},"z":1}"#;
    assert_eq!(tokens_of_whole(Dialect::Openai, chat), Tokens { input: 5, output: 7 });
    let response = br#"{"response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#;
    assert_eq!(tokens_of_whole(Dialect::Responses, response), Tokens { input: 3, output: 4 });
    let embedded = br#"{"embeddings":[[0.5,-1e-3]],"prompt_eval_count": 8}"#;
    assert_eq!(tokens_of_whole(Dialect::Ollama, embedded), Tokens { input: 8, output: 0 });
    assert_eq!(tokens_of_whole(Dialect::Ollama, br#"{"eval_count":"#), Tokens::default());
}

#[test]
fn anthropic() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n";
    let delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":12}}\n\n";
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(judged(Dialect::Anthropic, &format!("{start}{delta}")).0, Standing::Unfinished);
    assert_eq!(
        judged(Dialect::Anthropic, &format!("{start}{delta}{stop}")),
        (Standing::Complete, Tokens { input: 9, output: 12 }, 3)
    );
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n";
    assert_eq!(judged(Dialect::Anthropic, error).0, Standing::NodeError);
}

#[test]
fn responses() {
    let delta = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"response.completed\"}\n\n";
    assert_eq!(judged(Dialect::Responses, delta).0, Standing::Unfinished);
    let done = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n";
    assert_eq!(
        judged(Dialect::Responses, &format!("{delta}{done}")),
        (Standing::Complete, Tokens { input: 3, output: 4 }, 2)
    );
}

#[test]
fn ollama() {
    let part = "{\"model\":\"m\",\"message\":{\"content\":\"\\\"done\\\":true\"},\"done\":false}\n";
    let last = "{\"model\":\"m\",\"message\":{\"content\":\"\"},\"done\": true,\"prompt_eval_count\":2,\"eval_count\":8}";
    assert_eq!(judged(Dialect::Ollama, part).0, Standing::Unfinished);
    let (standing, tokens, _) = judged(Dialect::Ollama, &format!("{part}{last}"));
    assert_eq!((standing, tokens), (Standing::Complete, Tokens { input: 2, output: 8 }));
    assert_eq!(judged(Dialect::Ollama, "{\"error\":\"out of memory\"}\n").0, Standing::NodeError);
    assert_eq!(judged(Dialect::Ollama, "{\"done\":true").0, Standing::Unfinished);
}

/// Ollama's tool calls are objects: their keys are a model's, and say nothing of the stream.
#[test]
fn a_tool_calls_arguments_are_not_the_streams_words() {
    let call = |arguments: &str, done: bool| {
        let call = format!("{{\"function\":{{\"name\":\"f\",\"arguments\":{arguments}}}}}");
        format!(
            "{{\"model\":\"m\",\"message\":{{\"content\":\"\",\"tool_calls\":[{call}]}},\"done\":{done}}}\n"
        )
    };
    let mine = "{\"done\":true,\"eval_count\":99,\"prompt_eval_count\":99,\"usage\":{\"input_tokens\":99},\"error\":{}}";
    assert_eq!(judged(Dialect::Ollama, &call(mine, false)), (Standing::Unfinished, Tokens::default(), 1));
    let (standing, tokens, events) = judged(
        Dialect::Ollama,
        &(call(mine, false) + "{\"message\":{},\"done\":true,\"prompt_eval_count\":2,\"eval_count\":8}\n"),
    );
    assert_eq!((standing, tokens, events), (Standing::Complete, Tokens { input: 2, output: 8 }, 2));
    assert_eq!(judged(Dialect::Ollama, &call(mine, true)), (Standing::Complete, Tokens::default(), 1));
    let cut = call(mine, true);
    let cut = &cut[..cut.find("]},").unwrap()];
    assert_eq!(
        judged(Dialect::Ollama, cut).0,
        Standing::Unfinished,
        "it ends in a bracket, and not in its own"
    );
    let used = br#"{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":99,"output_tokens":99}}}],"usage":{"input_tokens":2,"output_tokens":8}}"#;
    assert_eq!(tokens_of_whole(Dialect::Anthropic, used), Tokens { input: 2, output: 8 });
}

/// An empty finish reason is none (SGLang #3912, Ollama #4357).
#[test]
fn an_empty_finish_reason_ends_nothing() {
    let event = |reason: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    for none in ["\"\"", "null", "false", "0"] {
        assert_eq!(judged(Dialect::Openai, &event(none).repeat(2)).0, Standing::Unfinished, "{none}");
    }
    assert_eq!(judged(Dialect::Openai, &(event("\"\"") + &event("\"stop\""))).0, Standing::Complete);
    assert_eq!(judged(Dialect::Openai, &(event("\"\"") + "data: [DONE]\n\n")).0, Standing::Complete);
    let nested =
        "data: {\"choices\":[{\"delta\":{\"x\":{\"finish_reason\":\"stop\"}},\"finish_reason\":null}]}\n\n";
    assert_eq!(judged(Dialect::Openai, nested).0, Standing::Unfinished);
}

/// Several answers in one stream: it is whole when all that have begun have ended.
#[test]
fn every_choice_has_to_end() {
    let event = |index: &str, reason: &str| {
        format!(
            "data: {{\"choices\":[{{{index}\"delta\":{{\"content\":\"a\"}},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let (first, second) = ("\"index\": 0,", "\"index\":1,");
    let begun = event(first, "null") + &event(second, "null");
    for (rest, standing) in [
        (event(first, "\"stop\""), Standing::Unfinished),
        (event(second, "\"stop\""), Standing::Unfinished),
        (event(first, "\"stop\"") + &event(second, "\"length\""), Standing::Complete),
        (event(first, "\"stop\"") + "data: [DONE]\n\n", Standing::Complete),
    ] {
        assert_eq!(judged(Dialect::Openai, &(begun.clone() + &rest)).0, standing, "{rest}");
    }
    // One after the other.
    let mut stream = event(first, "null") + &event(first, "\"stop\"");
    assert_eq!(judged(Dialect::Openai, &stream).0, Standing::Complete);
    stream += &event(second, "null");
    assert_eq!(judged(Dialect::Openai, &stream).0, Standing::Unfinished);
    stream += &event(second, "\"stop\"");
    assert_eq!(judged(Dialect::Openai, &stream).0, Standing::Complete);
    stream += "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    assert_eq!(judged(Dialect::Openai, &stream).0, Standing::Complete);
    // Parallel tool calls have an index of their own.
    let call = |index: u32| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{{\"index\":{index}}}]}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let calls = call(0) + &call(1) + &call(2);
    assert_eq!(judged(Dialect::Openai, &calls).0, Standing::Unfinished);
    assert_eq!(judged(Dialect::Openai, &(calls + &event(first, "\"tool_calls\""))).0, Standing::Complete);
    let unnumbered = event("", "null") + &event("", "\"stop\"");
    assert_eq!(judged(Dialect::Openai, &unnumbered).0, Standing::Complete);
    // Beyond what can be counted: nothing breaks.
    judged(Dialect::Openai, &(event("\"index\":128,", "null") + &event("\"index\":-1,", "\"stop\"")));
    let broken = "data: {\"error\":{\"message\":\"no\"},\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n";
    assert_eq!(judged(Dialect::Openai, broken).0, Standing::NodeError);
}
