// The official clients for JavaScript, unchanged: one streamed call of each, side by side.
//
//     node streams.mjs BASE_URL MODEL
//
// The libraries are those in LAMPLIGHTER_NODE_CLIENTS. Prints one line of JSON as clients/report.py does; the exit code is 1
// when any call failed.
import { createRequire } from 'node:module';
import path from 'node:path';

const [baseUrl, model] = process.argv.slice(2);
const load = createRequire(path.join(process.env.LAMPLIGHTER_NODE_CLIENTS, 'here.cjs'));
const messages = [{ role: 'user', content: 'hello' }];
const keys = { apiKey: 'no-key-needed', maxRetries: 0 };

const openai = () => {
  const { OpenAI } = load('openai');
  return new OpenAI({ baseURL: `${baseUrl}/v1`, ...keys });
};

const calls = {
  async chat_stream() {
    let text = '';
    const stream = await openai().chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
    return text;
  },
  async response_stream() {
    let text = '';
    const stream = await openai().responses.create({ model, input: 'hello', stream: true });
    for await (const event of stream) if (event.type === 'response.output_text.delta') text += event.delta;
    return text;
  },
  async message_stream() {
    const { Anthropic } = load('@anthropic-ai/sdk');
    const client = new Anthropic({ baseURL: baseUrl, ...keys });
    return client.messages.stream({ model, messages, max_tokens: 64 }).finalText();
  },
  async ollama_chat_stream() {
    const { Ollama } = load('ollama');
    let text = '';
    for await (const part of await new Ollama({ host: baseUrl }).chat({ model, messages, stream: true })) {
      text += part.message.content;
    }
    return text;
  },
};

const outcome = async ([call, make]) => {
  try {
    return { call, ok: true, text: await make() };
  } catch (error) {
    return { call, ok: false, error: String(error), kinds: [error?.constructor?.name ?? 'unknown'] };
  }
};

const outcomes = await Promise.all(Object.entries(calls).map(outcome));
const ok = outcomes.every((call) => call.ok);
console.log(JSON.stringify({ ok, calls: outcomes }));
process.exitCode = ok ? 0 : 1;
