// A gateway for looking at and testing the pages without one: serves dist at /ui/ and the control API with made-up houses.
//   node mock/server.mjs [--port 11499] [--house lively] [--still]     then open the address that it prints
// POST /mock {"house": "states"} changes the house, {"say": 503} answers every stream so, {"cut": true} ends the streams;
// GET /mock tells what was asked. Never shipped.
import { createReadStream, existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, houses, live, node, day } from './fleet.mjs';

const DIST = join(fileURLToPath(new URL('.', import.meta.url)), '../dist');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
/** The gateway's own policy for the pages. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Starts the mock; resolves to its address, a fresh way in, and the way to stop it. */
export async function start({ port = 0, house = 'lively', moves = true } = {}) {
  const state = { snapshot: build(house), token: 'mock-token', once: new Set(), streams: new Set(), refuse: 0, asked: [], looks: 0 };

  const tell = (stream) => stream.write(`event: snapshot\ndata: ${JSON.stringify(state.snapshot)}\n\n`);
  const changed = () => {
    live(state.snapshot);
    state.streams.forEach(tell);
  };
  const clock = setInterval(() => moves && state.snapshot.requests.length > 0 && changed(), 250);
  const heartbeat = setInterval(() => state.streams.forEach((stream) => stream.write(': alive\n\n')), 10_000);

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://mock');
    const send = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    };
    const no = (status, code, message, hint = '') => send(status, { code, message, hint });
    let body = null;
    try {
      body = await read(request);
    } catch {
      return no(400, 'bad_json', 'the body is no JSON');
    }
    if (url.pathname === '/mock') return control(request, body, send);
    if (url.pathname.startsWith('/ui/')) return page(url, response);
    if (!url.pathname.startsWith('/control/v1/')) return no(404, 'not_found', 'nothing is here');
    const path = url.pathname.slice('/control/v1/'.length);
    const does = `${request.method} ${path}`;
    if (path === 'look') state.looks += 1;
    else if (!['events', 'session', 'availability'].includes(path)) state.asked.push({ does, body });
    if (does === 'POST session') {
      if (!state.once.delete(body?.once)) return no(404, 'code_spent', 'this code was used, or is older than a minute', 'run `lamplighter open` again');
      return send(200, { token: state.token });
    }
    if (request.headers.authorization !== `Bearer ${state.token}`) return no(401, 'unauthorized', 'the key is wrong');
    if (does === 'GET snapshot') return send(200, state.snapshot);
    if (does === 'GET availability') {
      const slot_ms = 900_000;
      const from_ms = (Math.floor(Date.now() / slot_ms) - 95) * slot_ms;
      return send(200, { from_ms, slot_ms, nodes: Object.fromEntries(state.snapshot.nodes.map((one, at) => [one.name, day(at)])) });
    }
    if (does === 'GET events') {
      if (state.refuse) return no(state.refuse, 'mock', 'the mock refuses');
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      state.streams.add(response);
      response.on('close', () => state.streams.delete(response));
      return tell(response);
    }
    return act(request.method, path.split('/').map(decodeURIComponent), body, send, no);
  });

  /** What the control API does to the made-up house. */
  function act(method, [kind, name, verb], body, send, no) {
    const { snapshot } = state;
    const which = snapshot.nodes.find((one) => one.name === name);
    if (kind === 'nodes' && name && !which) return no(404, 'no_such_node', `there is no node ${name}`);
    const done = (status = 204) => {
      send(status);
      changed();
    };
    if (method === 'DELETE' && kind === 'requests') {
      const before = snapshot.requests.length;
      snapshot.requests = snapshot.requests.filter((one) => one.id !== name);
      return snapshot.requests.length < before ? done() : no(404, 'no_such_request', 'this request has ended');
    }
    if (method === 'POST' && (verb === 'load' || verb === 'unload')) {
      const empty = { loaded: false, loaded_bytes: null, vram_bytes: null, expires_at: null };
      if (verb === 'unload' && body.model === undefined) {
        for (const one of which.models) if (one.loaded) Object.assign(one, empty);
        return done();
      }
      const one = which.models.find((model) => model.name === body.model);
      if (!one) return no(404, 'no_such_model', `${name} has no ${body.model}`, 'look at its list of models');
      if (verb === 'load' && one.size_bytes > 20e9) return no(409, 'no_room', `${body.model} does not fit on ${name}`, 'unload something first');
      const size = Math.round(one.size_bytes * 1.07);
      Object.assign(one, verb === 'load' ? { loaded: true, loaded_bytes: size, vram_bytes: size, expires_at: new Date(Date.now() + 300_000).toISOString() } : empty);
      return done();
    }
    if (kind === 'nodes' && verb === 'wakes') {
      const wake = (minutes, more) => ({ node: name, started_ms: Date.now() - minutes * 60_000, cause: 'request', asked_by: 'open-webui for coder', outcome: 'ready', reason: null, rounds: 3, reachable_ms: 9_000, api_ms: 31_000, ready_ms: 41_000, ended_ms: 41_000, ...more });
      return send(200, { wakes: [wake(130), wake(400, { cause: 'person', asked_by: null }), wake(1500, { outcome: 'failed', reason: 'did not wake', reachable_ms: null, api_ms: null, ready_ms: null, ended_ms: 120_000 })] });
    }
    if (kind === 'nodes' && verb === 'wake') {
      const waking = { stage: 'packet', started_ms: Date.now(), timeout_ms: 120_000, rounds: 1, waiters: 0, by_person: true, asked_by: null };
      if (method === 'POST') Object.assign(which, { state: 'waking', stage: 'packet', sleep: { ...which.sleep, waking, failure: null } });
      else Object.assign(which, { state: 'asleep', sleep: { ...which.sleep, waking: null } });
      return done(method === 'POST' ? 202 : 204);
    }
    if (method === 'POST' && verb === 'home') which.sleep.elsewhere = false;
    if (method === 'POST' && (verb === 'sleep' || verb === 'home')) return done();
    if (method === 'POST' && kind === 'look') return send(204);
    if (method === 'POST' && kind === 'prompts') {
      snapshot.prompts = snapshot.prompts.filter((one) => one.node !== name);
      return done();
    }
    if (method === 'PUT' && kind === 'route') {
      const pause = body.mode === 'pause';
      Object.assign(snapshot.gateway, { mode: pause ? 'paused' : body.mode, paused_until_ms: pause && body.for === '1h' ? Date.now() + 3_600_000 : null });
      return done();
    }
    if (method === 'POST' && kind === 'identify') {
      if (/nowhere/.test(body.url)) return setTimeout(() => no(422, 'unreachable', 'nothing answers at nowhere:11434', 'is the machine on, and does its server listen on the network?'), 150);
      const full = /^https?:/.test(body.url) ? body.url : `http://${body.url}${/:\d+$/.test(body.url) ? '' : ':11434'}`;
      return setTimeout(() => send(200, { url: full, engine: 'ollama', version: '0.14.2', models: 14 }), 150);
    }
    if (method === 'GET' && kind === 'config') {
      const nodes = snapshot.nodes.map((one) => ({ name: one.name, url: one.url, gpu: one.gpu, vram_bytes: one.vram_bytes, priority: one.priority, max_concurrent: null, has_key: one.has_key === true }));
      return send(200, { path: snapshot.gateway.config_path, text: '', nodes, aliases: [] });
    }
    if (method === 'POST' && kind === 'nodes') {
      if (snapshot.nodes.some((one) => one.name === body.name)) return no(409, 'name_taken', `${body.name} exists already`);
      snapshot.nodes.push(node(body.name, { state: 'unknown' }, { url: body.url, presence: body.presence, gpu: body.gpu ?? null, engine: null, version: null, since_ms: Date.now() }));
      return done(201);
    }
    if (method === 'PATCH' && kind === 'nodes') {
      const key_dropped = 'url' in body && which.has_key === true;
      for (const key of ['name', 'url', 'presence', 'gpu', 'priority']) if (key in body) which[key] = body[key];
      if ('keep_awake' in body) which.sleep.kept_awake = body.keep_awake ? 'call' : 'no';
      send(200, { key_dropped });
      return changed();
    }
    if (method === 'DELETE' && kind === 'nodes') {
      snapshot.nodes = snapshot.nodes.filter((one) => one !== which);
      return done();
    }
    return no(404, 'not_found', 'nothing is here');
  }

  /** The strings behind the puppet: only tests and people who look at the pages pull them. */
  function control(request, body, send) {
    if (request.method === 'GET') return send(200, { asked: state.asked, streams: state.streams.size });
    if (body.house) state.snapshot = build(body.house);
    if (body.node) Object.assign(state.snapshot.nodes.find((one) => one.name === body.node.name), body.node);
    if (body.requests) state.snapshot.requests = body.requests;
    if (body.prompts) state.snapshot.prompts = body.prompts;
    if ('say' in body) state.refuse = body.say ?? 0;
    if (body.token) state.token = body.token;
    if (body.forget) state.asked = [];
    if (body.cut || body.say) for (const stream of state.streams) stream.destroy();
    else changed();
    send(200, {});
  }

  function page(url, response) {
    const file = normalize(join(DIST, url.pathname.slice('/ui/'.length) || 'index.html'));
    if (!file.startsWith(DIST) || !existsSync(file)) {
      response.writeHead(404);
      return response.end('not found');
    }
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': POLICY, 'cache-control': 'no-cache' });
    return createReadStream(file).pipe(response);
  }

  await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
  const address = `http://127.0.0.1:${server.address().port}`;
  return {
    address,
    /** The address with a code that opens the page once. */
    open: () => {
      const code = `once-${Math.random().toString(36).slice(2)}`;
      state.once.add(code);
      return `${address}/ui/#once=${code}`;
    },
    /** Pulls a string. */
    mock: (body) => fetch(`${address}/mock`, { method: 'POST', body: JSON.stringify(body) }).then((answer) => answer.json()),
    asked: () => structuredClone(state.asked),
    /** How often a page had every machine looked at. */
    looks: () => state.looks,
    streams: () => state.streams.size,
    stop: () =>
      new Promise((stopped) => {
        clearInterval(clock);
        clearInterval(heartbeat);
        server.close(stopped);
        server.closeAllConnections();
      }),
  };
}

async function read(request) {
  let text = '';
  for await (const piece of request) text += piece;
  return text === '' ? null : JSON.parse(text);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const option = (name, otherwise) => (process.argv.includes(`--${name}`) ? process.argv[process.argv.indexOf(`--${name}`) + 1] : otherwise);
  const mock = await start({ port: Number(option('port', 11499)), house: option('house', 'lively'), moves: !process.argv.includes('--still') });
  console.log(`houses: ${Object.keys(houses).join(', ')}\n${mock.open()}`);
}
