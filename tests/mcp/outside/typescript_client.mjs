// The TypeScript clients of the registry against `stockade mcp`: the library of the handshake's era, and the one after it.
//
//     node typescript_client.mjs LIBRARY STOCKADE WORKSPACE PROFILE     LIBRARY: sdk, client or stateless
//
// It never looks at the wire: what the library makes of the answers is what is tested.
import assert from 'node:assert/strict';

const [library, command, workspace, profile] = process.argv.slice(2);
const [{ Client }, { StdioClientTransport }] = library === 'sdk'
  ? await Promise.all([import('@modelcontextprotocol/sdk/client/index.js'), import('@modelcontextprotocol/sdk/client/stdio.js')])
  : await Promise.all([import('@modelcontextprotocol/client'), import('@modelcontextprotocol/client/stdio')]);

const options = library === 'stateless' ? { versionNegotiation: { mode: 'auto' } } : {};
const client = new Client({ name: 'test', version: '1' }, options);
const transport = new StdioClientTransport({
  command, args: ['mcp', '--workspace', workspace, '--profile', profile], env: process.env, stderr: 'inherit',
});
await client.connect(transport);
console.log('version', client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? '');

// v1 takes the schema of a result between parameters and options.
const call = (name, args, options) => library === 'sdk'
  ? client.callTool({ name, arguments: args }, undefined, options) : client.callTool({ name, arguments: args }, options);
const text = (result) => result.content.filter((block) => block.type === 'text').map((block) => block.text).join('');

assert.equal(client.getServerVersion().name, 'stockade');
const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
for (const name of ['bash', 'diff', 'apply', 'audit_receipt']) assert(names.includes(name), `${names}`);

// The library holds structured content against the schema by itself, and throws where it does not fit.
let said = await call('bash', { command: 'echo one; echo two >&2; echo x > made' });
assert.equal(text(said), 'one\ntwo\n');
assert.deepEqual([said.structuredContent.stdout, said.structuredContent.stderr], ['one\n', 'two\n']);
assert.equal(said._meta['stockade/receipt'].leaf_hash.length, 64);

const heard = [];
said = await call('bash', { command: 'for i in 1 2 3; do echo line $i; sleep 0.4; done' }, { onprogress: (one) => heard.push(one) });
assert.equal(text(said), 'line 1\nline 2\nline 3\n');
assert(heard.length > 0 && heard.at(-1).message.includes('line'), JSON.stringify(heard));

said = await call('diff', {});
assert(text(said).includes('+x') && said.structuredContent.total === 1, text(said));
said = await call('apply', {});
assert(said.isError && text(said).includes('denied'), text(said));
said = await call('bash', { comand: 'typo' });
assert(said.isError && text(said).includes('command'), text(said));
await assert.rejects(call('nosuch', {}), (error) => error.code === -32602 || error.message.includes('unknown tool'));

const abort = new AbortController();
const endless = call('bash', { command: 'sleep 1000' }, { signal: abort.signal });
setTimeout(() => abort.abort('given up'), 500);
await assert.rejects(endless);
said = await call('bash', { command: 'echo on' }, { timeout: 30_000 });
assert.equal(text(said), 'on\n');
said = await call('audit_receipt', { calls: 2 });
assert(said.structuredContent.covered && said.structuredContent.calls.length === 2, text(said));
await client.close();
console.log('held');
