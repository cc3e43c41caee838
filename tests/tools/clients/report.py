"""What the client scripts share: their arguments, and one line of JSON with every call's outcome.

    CLIENT.py BASE_URL MODEL [--calls a,b,c] [--prompt TEXT] [--key KEY] [--embed-model MODEL] [--timeout-s N]
              [--max-tokens N] [--max-retries N] [--leave-after N]

BASE_URL is the address without a path, like http://127.0.0.1:11400. A streamed call with --leave-after hangs up
after so many pieces. The line printed is {"client", "version", "ok", "calls": [{"call", "ok": true, "text", "headers", …}
or {"call", "ok": false, "error", "kinds", "status", "headers"}]}, where `kinds` are the classes that would catch the error;
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
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--max-retries", type=int, default=0)
    parser.add_argument("--leave-after", type=int, default=0)
    args = parser.parse_args()
    args.base_url = args.base_url.rstrip("/")
    args.embed_model = args.embed_model or args.model
    return args


def ours(headers):
    """Only the headers by which an answer says where it came from and what to do next, names in lower case."""
    wanted = ("x-request-id", "retry-after", "x-should-retry")
    named = {name.lower(): value for name, value in headers.items()}
    return {n: v for n, v in named.items() if n.startswith("x-lamplighter-") or n in wanted}


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
            outcome["kinds"] = [kind.__name__ for kind in type(error).__mro__]
            outcome["status"] = getattr(error, "status_code", None)
            response = getattr(error, "response", None)
            outcome["headers"] = ours(response.headers) if response is not None else {}
        outcome["took_ms"] = round((time.monotonic() - started) * 1000)
        outcomes.append(outcome)
    ok = all(outcome["ok"] for outcome in outcomes)
    print(json.dumps({"client": client, "version": version, "ok": ok, "calls": outcomes}), flush=True)
    sys.exit(0 if ok else 1)
