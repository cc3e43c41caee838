#!/usr/bin/env python3
"""The official Anthropic client, unchanged; arguments and output as report.py says."""
import anthropic
import report

args = report.arguments()
client = anthropic.Anthropic(
    base_url=args.base_url, api_key=args.key, timeout=args.timeout_s, max_retries=args.max_retries
)
messages = [{"role": "user", "content": args.prompt}]


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def models():
    raw = client.models.with_raw_response.list()
    return {"text": "", "models": [model.id for model in raw.parse()], "headers": report.ours(raw.headers)}


def message():
    raw = client.messages.with_raw_response.create(model=args.model, max_tokens=args.max_tokens, messages=messages)
    answer = raw.parse()
    return {"text": said(answer), "finish": answer.stop_reason, "headers": report.ours(raw.headers)}


def message_stream():
    raw = client.messages.with_raw_response.create(
        model=args.model, max_tokens=args.max_tokens, messages=messages, stream=True
    )
    pieces, finish, last = [], None, None
    for event in raw.parse():
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            pieces.append(event.delta.text)
        if event.type == "message_delta":
            finish = event.delta.stop_reason
        last = event.type
    text = "".join(pieces)
    headers = report.ours(raw.headers)
    return {"text": text, "pieces": len(pieces), "finish": finish, "last": last, "headers": headers}


def message_stream_helper():
    """The library's own accumulating reader, which checks the order of the events."""
    with client.messages.stream(model=args.model, max_tokens=args.max_tokens, messages=messages) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
        headers = report.ours(stream.response.headers)
    return {"text": said(answer), "pieces": len(pieces), "finish": answer.stop_reason, "headers": headers}


def count_tokens():
    raw = client.messages.with_raw_response.count_tokens(model=args.model, messages=messages)
    return {"text": "", "input_tokens": raw.parse().input_tokens, "headers": report.ours(raw.headers)}


every = [message, message_stream, message_stream_helper, count_tokens, models]
report.run("anthropic", anthropic.__version__, {call.__name__: call for call in every}, args.calls)
