// Lets a client that knows MCP over HTTP alone speak with a server on standard input and output: the conformance scenarios.
// It belongs to the tests, listens on the loopback, and says nothing of its own but what HTTP needs: statuses and sessions.
//
//     node relay.mjs PORT_FILE COMMAND [ARGUMENT…]
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [portFile, command, ...words] = process.argv.slice(2);

const all = new Set();
let ending = false;

// One server on pipes, and who waits for which answer of it. Ids of clients may collide, so each request gets one of ours.
class Pipe {
  constructor() {
    this.child = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.waiting = new Map();
    this.next = 1;
    createInterface({ input: this.child.stdout }).on('line', (line) => this.heard(JSON.parse(line)));
    all.add(this);
    this.child.on('exit', () => { all.delete(this); if (ending && all.size === 0) process.exit(0); });
    this.child.on('exit', () => this.waiting.forEach(({ response }) => response.destroy()));
  }

  heard(message) {
    const token = message.params?.progressToken;
    if (message.method === 'notifications/progress') {
      const one = [...this.waiting.values()].find((waiting) => waiting.token === token);
      if (one) stream(one, message);
      return;
    }
    const waiting = this.waiting.get(message.id);
    if (!waiting) return;
    this.waiting.delete(message.id);
    const answer = { ...message, id: waiting.id };
    if (waiting.streaming) { stream(waiting, answer); waiting.response.end(); return; }
    waiting.response.writeHead(status(waiting, answer), { 'content-type': 'application/json', ...waiting.headers });
    waiting.response.end(JSON.stringify(answer));
  }

  ask(message, response, headers, stateless) {
    const id = this.next++;
    const waiting = { id: message.id, token: message.params?._meta?.progressToken, response, headers, stateless, streaming: false };
    this.waiting.set(id, waiting);
    response.on('close', () => {
      if (this.waiting.delete(id)) this.say({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
    });
    this.say({ ...message, id });
  }

  say(message) { this.child.stdin.write(`${JSON.stringify(message)}\n`); }
}

function stream(waiting, message) {
  if (!waiting.streaming) waiting.response.writeHead(200, { 'content-type': 'text/event-stream', ...waiting.headers });
  waiting.streaming = true;
  waiting.response.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}

// What the specification's HTTP transport answers where the message alone is wrong (2026-07-28, "Sending Messages").
function status(waiting, answer) {
  const statuses = new Map([[-32601, 404], [-32602, 400], [-32021, 400], [-32022, 400]]);
  return (waiting.stateless && statuses.get(answer.error?.code)) || 200;
}

const sessions = new Map();
let shared;

createServer((request, response) => {
  let text = '';
  request.on('data', (chunk) => { text += chunk; });
  request.on('end', () => {
    const name = request.headers['mcp-session-id'];
    const session = sessions.get(name);
    if (name && !session) { response.writeHead(404).end(); return; }
    if (request.method === 'DELETE') { session?.child.stdin.end(); sessions.delete(name); response.writeHead(200).end(); return; }
    if (request.method !== 'POST') { response.writeHead(405).end(); return; }
    let message;
    try { message = JSON.parse(text); } catch { response.writeHead(400).end(); return; }
    let pipe = session;
    const headers = {};
    if (message.method === 'initialize') {
      headers['mcp-session-id'] = randomUUID();
      pipe = new Pipe();
      sessions.set(headers['mcp-session-id'], pipe);
    }
    pipe ??= shared ??= new Pipe();
    if (message.id === undefined || message.method === undefined) { pipe.say(message); response.writeHead(202).end(); return; }
    pipe.ask(message, response, headers, pipe === shared);
  });
}).listen(0, '127.0.0.1', function listening() {
  writeFileSync(`${portFile}.part`, String(this.address().port));
  renameSync(`${portFile}.part`, portFile);
});
// A server that is asked to end by closing its input leaves nothing behind.
process.on('SIGTERM', () => {
  ending = true;
  all.forEach((pipe) => pipe.child.stdin.end());
  if (all.size === 0) process.exit(0);
});
