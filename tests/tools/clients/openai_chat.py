#!/usr/bin/env python3
"""The official OpenAI client, unchanged; arguments and output as report.py says."""
import openai
import report

args = report.arguments()
client = openai.OpenAI(
    base_url=args.base_url + "/v1", api_key=args.key, timeout=args.timeout_s, max_retries=args.max_retries
)
messages = [{"role": "user", "content": args.prompt}]


def models():
    raw = client.models.with_raw_response.list()
    return {"text": "", "models": [model.id for model in raw.parse()], "headers": report.ours(raw.headers)}


def model():
    raw = client.models.with_raw_response.retrieve(args.model)
    return {"text": raw.parse().id, "headers": report.ours(raw.headers)}


def chat():
    raw = client.chat.completions.with_raw_response.create(model=args.model, messages=messages)
    choice = raw.parse().choices[0]
    return {"text": choice.message.content, "finish": choice.finish_reason, "headers": report.ours(raw.headers)}


def chat_stream():
    raw = client.chat.completions.with_raw_response.create(
        model=args.model,
        messages=messages,
        max_tokens=args.max_tokens,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, finish, usage = [], None, None
    stream = raw.parse()
    for chunk in stream:
        if args.leave_after and len(pieces) >= args.leave_after:
            stream.close()
            break
        for choice in chunk.choices:
            if choice.delta.content:
                pieces.append(choice.delta.content)
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    return {
        "text": "".join(pieces),
        "pieces": len(pieces),
        "finish": finish,
        "output_tokens": usage.completion_tokens if usage else None,
        "headers": report.ours(raw.headers),
    }


def completion():
    raw = client.completions.with_raw_response.create(model=args.model, prompt=args.prompt, max_tokens=args.max_tokens)
    choice = raw.parse().choices[0]
    return {"text": choice.text, "finish": choice.finish_reason, "headers": report.ours(raw.headers)}


def completion_stream():
    raw = client.completions.with_raw_response.create(
        model=args.model, prompt=args.prompt, max_tokens=args.max_tokens, stream=True
    )
    pieces = [choice.text for chunk in raw.parse() for choice in chunk.choices if choice.text]
    return {"text": "".join(pieces), "pieces": len(pieces), "headers": report.ours(raw.headers)}


def embeddings():
    raw = client.embeddings.with_raw_response.create(model=args.embed_model, input=[args.prompt, "moon"])
    vectors = [item.embedding for item in raw.parse().data]
    sizes = [len(vector) for vector in vectors]
    return {"text": "", "sizes": sizes, "different": vectors[0] != vectors[1], "headers": report.ours(raw.headers)}


def response():
    raw = client.responses.with_raw_response.create(model=args.model, input=args.prompt)
    answer = raw.parse()
    return {"text": answer.output_text, "finish": answer.status, "headers": report.ours(raw.headers)}


def response_stream():
    raw = client.responses.with_raw_response.create(model=args.model, input=args.prompt, stream=True)
    pieces, last = [], None
    for event in raw.parse():
        if event.type == "response.output_text.delta":
            pieces.append(event.delta)
        last = event.type
    return {"text": "".join(pieces), "pieces": len(pieces), "finish": last, "headers": report.ours(raw.headers)}


every = [models, model, chat, chat_stream, completion, completion_stream, embeddings, response, response_stream]
report.run("openai", openai.__version__, {call.__name__: call for call in every}, args.calls)
