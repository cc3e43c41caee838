#!/usr/bin/env python3
"""The official Ollama client, unchanged; arguments and output as report.py says."""
import importlib.metadata

import ollama
import report

args = report.arguments()
last_headers = {}


def remember(response):
    last_headers.clear()
    last_headers.update(report.ours(response.headers))


client = ollama.Client(host=args.base_url, timeout=args.timeout_s, event_hooks={"response": [remember]})
messages = [{"role": "user", "content": args.prompt}]


def with_headers(**fields):
    return fields | {"headers": dict(last_headers)}


def version():
    # The library has no call of its own for this route.
    return with_headers(text=client._client.get("/api/version").raise_for_status().json()["version"])


def tags():
    return with_headers(text="", models=[model.model for model in client.list().models])


def ps():
    return with_headers(text="", models=[model.model for model in client.ps().models])


def show():
    shown = client.show(args.model)
    return with_headers(text="", capabilities=shown.capabilities, family=shown.details and shown.details.family)


def chat():
    answer = client.chat(model=args.model, messages=messages)
    return with_headers(text=answer.message.content, finish=answer.done_reason, done=answer.done)


def chat_stream():
    chunks = list(client.chat(model=args.model, messages=messages, stream=True))
    return joined([chunk.message.content or "" for chunk in chunks], chunks)


def generate():
    answer = client.generate(model=args.model, prompt=args.prompt)
    return with_headers(text=answer.response, finish=answer.done_reason, done=answer.done)


def generate_stream():
    chunks = list(client.generate(model=args.model, prompt=args.prompt, stream=True))
    return joined([chunk.response or "" for chunk in chunks], chunks)


def embed():
    vectors = client.embed(model=args.embed_model, input=[args.prompt, "moon"]).embeddings
    return with_headers(text="", sizes=[len(vector) for vector in vectors])


def embeddings():
    vector = client.embeddings(model=args.embed_model, prompt=args.prompt).embedding
    return with_headers(text="", sizes=[len(vector)])


def joined(texts, chunks):
    last = chunks[-1] if chunks else None
    pieces = [text for text in texts if text]
    finish = last and last.done_reason
    return with_headers(text="".join(pieces), pieces=len(pieces), finish=finish, done=bool(last and last.done))


every = [version, tags, ps, show, chat, chat_stream, generate, generate_stream, embed, embeddings]
calls = {call.__name__: call for call in every}
report.run("ollama", importlib.metadata.version("ollama"), calls, args.calls)
