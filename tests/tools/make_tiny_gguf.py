#!/usr/bin/env python3
"""Writes a tiny language model (GGUF v3, arch llama, about 0.6 MB) with the standard library alone.

    make_tiny_gguf.py OUT.gguf [--name NAME] [--mode chain|random] [--text "..."] [--seed N] [--ctx N]

chain:  says --text word by word and stops. Attention and feed-forward add nothing, so the next
        token depends on the last one only; that is why no word may occur twice.
random: seeded random weights: talks nonsense until the token limit, now and then in raw bytes.

The tokenizer is a SentencePiece-style one with byte fallback, so any UTF-8 prompt can be encoded.
Both kinds also give embeddings.
"""
import argparse
import math
import random
import struct
from array import array

TEXT = "Hello from the tiny model . It was made for a test and can count one two three , then stop"
WORDS = """the a of to and in is it on for with hello world model test tiny machine node server one two three four
five six seven eight nine ten red green blue black white up down left right open close yes no Hello The A This Now
system user assistant tool""".split()
TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
EMBEDDING = 64
FEED_FORWARD = 128
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # llama.cpp's token types
BYTES_AT = 5  # after the five special tokens
NEWLINE = BYTES_AT + 10  # the chat template ends with it: the text begins after it
U32, F32, BOOL, STRING, ARRAY, U64, I32 = 4, 6, 7, 8, 9, 10, 5  # GGUF value types


def vocabulary(text):
    """Tokens as (text, type, score), and the id of each whole word."""
    tokens = [("<unk>", UNKNOWN, 0.0)]
    tokens += [(t, CONTROL, 0.0) for t in ("<s>", "</s>", "<|im_start|>", "<|im_end|>")]
    tokens += [(f"<0x{b:02X}>", BYTE, 0.0) for b in range(256)]
    words = list(dict.fromkeys(WORDS + text.split()))
    pieces = ["\u2581"] + [chr(c) for c in range(33, 127)]
    # every prefix of a word, so that merges from the left reach the whole word
    pieces += ["\u2581" + word[:n] for word in words for n in range(1, len(word) + 1)]
    ids = {}
    for piece in dict.fromkeys(pieces):
        ids[piece] = len(tokens)
        tokens.append((piece, NORMAL, -len(tokens) / 10))
    return tokens, {word: ids["\u2581" + word] for word in words}


def tensors(mode, text, seed):
    """The weights as {name: (columns, rows, floats)}; one row for a vector."""
    rng = random.Random(seed)
    tokens, word_ids = vocabulary(text)
    end = 4  # <|im_end|>
    noise = lambda count, scale: array("f", (rng.gauss(0, scale) for _ in range(count)))
    size = EMBEDDING * EMBEDDING
    embeddings = []
    for _ in tokens:
        row = [rng.gauss(0, 1) for _ in range(EMBEDDING)]
        length = math.sqrt(sum(x * x for x in row))
        embeddings.append([x / length for x in row])
    if mode == "chain":
        chain = [word_ids[word] for word in text.split()]
        if len(set(chain)) != len(chain):
            raise SystemExit("a word occurs twice in --text")
        after = dict(zip([NEWLINE] + chain, chain + [end]))
        output = [[0.0] * EMBEDDING for _ in tokens]
        for token, row in enumerate(embeddings):
            if token in after:  # column 0 is for all others
                row[0] = 0.0
                output[after[token]] = [o + 4 * x for o, x in zip(output[after[token]], row)]
            else:
                row[:] = [1.0] + [x / 2 for x in row[1:]]
        output[chain[0]][0] = 4.0  # after anything else the text begins
        attention, down = array("f", bytes(4 * size)), array("f", bytes(4 * EMBEDDING * FEED_FORWARD))
    else:
        # column 0 is a constant and so carries a bias: words likely, bytes rare, control tokens never
        whole = set(word_ids.values())
        output = []
        for token, row in enumerate(embeddings):
            row[0] = 0.5
            bias = -5.0 if token < BYTES_AT else -0.28 if token < BYTES_AT + 256 else 0.3 if token in whole else -0.35
            output.append([bias] + list(noise(EMBEDDING - 1, 0.25)))
        attention, down = noise(size, 0.02), noise(EMBEDDING * FEED_FORWARD, 0.02)
    flat = lambda rows: array("f", (x for row in rows for x in row))
    ones = array("f", [1.0] * EMBEDDING)
    layer = {
        "attn_norm": (EMBEDDING, 1, ones),
        "attn_q": (EMBEDDING, EMBEDDING, noise(size, 0.05)),
        "attn_k": (EMBEDDING, EMBEDDING, noise(size, 0.05)),
        "attn_v": (EMBEDDING, EMBEDDING, noise(size, 0.05)),
        "attn_output": (EMBEDDING, EMBEDDING, attention),
        "ffn_norm": (EMBEDDING, 1, ones),
        "ffn_gate": (EMBEDDING, FEED_FORWARD, noise(EMBEDDING * FEED_FORWARD, 0.05)),
        "ffn_up": (EMBEDDING, FEED_FORWARD, noise(EMBEDDING * FEED_FORWARD, 0.05)),
        "ffn_down": (FEED_FORWARD, EMBEDDING, down),
    }
    return tokens, {
        "token_embd.weight": (EMBEDDING, len(tokens), flat(embeddings)),
        "output_norm.weight": (EMBEDDING, 1, ones),
        "output.weight": (EMBEDDING, len(tokens), flat(output)),
    } | {f"blk.0.{name}.weight": tensor for name, tensor in layer.items()}


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    if kind == STRING:
        return string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def header(tokens, name, context):
    """The key-value part: (key, type, value); a list is an array of that type."""
    yield "general.architecture", STRING, "llama"
    yield "general.name", STRING, name
    yield "general.file_type", U32, 0  # all F32
    yield "llama.context_length", U32, context
    yield "llama.embedding_length", U32, EMBEDDING
    yield "llama.block_count", U32, 1
    yield "llama.feed_forward_length", U32, FEED_FORWARD
    yield "llama.attention.head_count", U32, 1
    yield "llama.attention.head_count_kv", U32, 1
    yield "llama.attention.layer_norm_rms_epsilon", F32, 1e-5
    yield "llama.rope.dimension_count", U32, EMBEDDING
    yield "llama.vocab_size", U32, len(tokens)
    yield "tokenizer.ggml.model", STRING, "llama"
    yield "tokenizer.ggml.tokens", STRING, [t for t, _, _ in tokens]
    yield "tokenizer.ggml.scores", F32, [s for _, _, s in tokens]
    yield "tokenizer.ggml.token_type", I32, [k for _, k, _ in tokens]
    yield "tokenizer.ggml.unknown_token_id", U32, 0
    yield "tokenizer.ggml.bos_token_id", U32, 1
    yield "tokenizer.ggml.eos_token_id", U32, 4
    yield "tokenizer.ggml.add_bos_token", BOOL, False
    yield "tokenizer.ggml.add_space_prefix", BOOL, False
    yield "tokenizer.chat_template", STRING, TEMPLATE


def write(path, tokens, weights, name, context):
    pairs = list(header(tokens, name, context))
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(weights), len(pairs))]
    for key, kind, value in pairs:
        parts.append(string(key))
        if isinstance(value, list):
            parts.append(struct.pack("<IIQ", ARRAY, kind, len(value)))
            parts += [scalar(kind, item) for item in value]
        else:
            parts += [struct.pack("<I", kind), scalar(kind, value)]
    pad = lambda length: -length % 32
    offset = 0
    for tensor, (columns, rows, floats) in weights.items():
        shape = [columns] if rows == 1 else [columns, rows]
        parts.append(string(tensor) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        offset += len(floats) * 4 + pad(len(floats) * 4)
    parts.append(b"\0" * pad(sum(map(len, parts))))
    for _, _, floats in weights.values():
        parts += [floats.tobytes(), b"\0" * pad(len(floats) * 4)]
    with open(path, "wb") as out:
        out.write(b"".join(parts))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--name", default="tiny")
    parser.add_argument("--mode", default="chain", choices=["chain", "random"])
    parser.add_argument("--text", default=TEXT)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ctx", type=int, default=131072)
    args = parser.parse_args()
    tokens, weights = tensors(args.mode, args.text, args.seed)
    write(args.out, tokens, weights, args.name, args.ctx)


if __name__ == "__main__":
    main()
