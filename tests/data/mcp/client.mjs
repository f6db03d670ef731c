// The official TypeScript SDK as a client: as client.py. Runs in the folder that has the SDK.
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} = require("@modelcontextprotocol/sdk/types.js");

const order = JSON.parse(process.argv[2]);
const asked = new Set();
let logged = 0;
const client = new Client(
  { name: "a test", version: "0" },
  { capabilities: { sampling: {}, elicitation: {}, roots: {} } },
);
const answers = [
  [CreateMessageRequestSchema, { role: "assistant", content: { type: "text", text: "sampled" }, model: "none" }],
  [ElicitRequestSchema, { action: "accept", content: { name: "nobody" } }],
  [ListRootsRequestSchema, { roots: [{ uri: "file:///root", name: "root" }] }],
];
for (const [schema, answer] of answers) {
  client.setRequestHandler(schema, async (request) => {
    asked.add(request.method);
    return answer;
  });
}
client.setNotificationHandler(LoggingMessageNotificationSchema, () => {
  logged += 1;
});

function given(args) {
  const text = (value) => (typeof value === "object" ? "x".repeat(value.mib * 2 ** 20) : value);
  return Object.fromEntries(Object.entries(args).map(([key, value]) => [key, text(value)]));
}

function short(result) {
  for (const content of result.content ?? []) {
    if (content.text?.length > 10_000) content.text = content.text.length;
  }
  return result;
}

async function call(name, args) {
  const progress = [];
  const onprogress = (told) => progress.push(told.progress);
  const result = await client
    .callTool({ name, arguments: given(args) }, undefined, { onprogress, timeout: 600_000 })
    .catch((error) => ({ error: { code: error.code, message: error.message } }));
  return { ...short(result), ...(progress.length > 0 && { progress }) };
}

async function cancel(name, args) {
  const stop = new AbortController();
  const options = { signal: stop.signal, onprogress: () => stop.abort("enough") };
  return client.callTool({ name, arguments: args }, undefined, options).then(
    () => false,
    () => stop.signal.aborted,
  );
}

async function each(list, act) {
  const all = [];
  for (const one of list ?? []) all.push(await act(one));
  return all;
}

await client.connect(new StdioClientTransport({ command: order.command, args: order.args, stderr: "inherit" }));
// Listing first: the SDK then holds what is answered against each tool's schema.
const said = { server: client.getServerVersion(), tools: (await client.listTools()).tools };
said.calls = await each(order.calls, ([name, args]) => call(name, args));
said.cancelled = await each(order.cancelled, ([name, args]) => cancel(name, args));
if (order.prompts) {
  said.prompts = (await client.listPrompts()).prompts;
  said.prompted = await each(order.prompts, ([name, args]) => client.getPrompt({ name, arguments: args }));
}
said.read = await each(order.read, (uri) => client.readResource({ uri }));
said.resources = (await client.listResources()).resources;
said.templates = (await client.listResourceTemplates()).resourceTemplates;
await client.close();
console.log(JSON.stringify({ ...said, asked: [...asked].sort(), logged }));
