"""What the client scripts share: their arguments, and one line of JSON with every call's outcome.

    CLIENT.py BASE_URL MODEL [--calls a,b,c] [--prompt TEXT] [--key KEY] [--embed-model MODEL] [--timeout-s N]

BASE_URL is the address without a path, like http://127.0.0.1:11400. The line printed is
{"client", "version", "ok", "calls": [{"call", "ok", "text", "headers", …} or {"call", "ok", "error", "status"}]};
the exit code is 1 when any call failed.
"""
import argparse
import json
import sys
import time


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("model")
    parser.add_argument("--calls", help="only these, comma-separated")
    parser.add_argument("--prompt", default="hello")
    parser.add_argument("--key", default="no-key-needed")
    parser.add_argument("--embed-model", help="another model for embeddings")
    parser.add_argument("--timeout-s", type=float, default=60.0)
    args = parser.parse_args()
    args.base_url = args.base_url.rstrip("/")
    args.embed_model = args.embed_model or args.model
    return args


def ours(headers):
    """Only the headers by which an answer says where it came from, names in lower case."""
    named = {name.lower(): value for name, value in headers.items()}
    return {n: v for n, v in named.items() if n.startswith("x-lamplighter-") or n == "x-request-id"}


def run(client, version, calls, wanted):
    """Makes each call in turn; a call returns the fields of its outcome."""
    names = wanted.split(",") if wanted else list(calls)
    outcomes = []
    for name in names:
        started = time.monotonic()
        try:
            outcome = {"call": name, "ok": True} | calls[name]()
        except Exception as error:  # whatever the library raises is the finding
            outcome = {"call": name, "ok": False, "error": f"{type(error).__name__}: {error}"}
            outcome["status"] = getattr(error, "status_code", None)
        outcome["took_ms"] = round((time.monotonic() - started) * 1000)
        outcomes.append(outcome)
    ok = all(outcome["ok"] for outcome in outcomes)
    print(json.dumps({"client": client, "version": version, "ok": ok, "calls": outcomes}), flush=True)
    sys.exit(0 if ok else 1)
