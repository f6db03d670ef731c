// The official TypeScript SDK as a client: as client.py. Runs in the folder that has the SDK.
import { createRequire } from "node:module";

const require = createRequire(process.cwd() + "/");
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");

const order = JSON.parse(process.argv[2]);
const client = new Client({ name: "a test", version: "0" });
await client.connect(new StdioClientTransport({ command: order.command, args: order.args, stderr: "inherit" }));
// Listing first: the SDK then holds what is answered against each tool's schema.
const { tools } = await client.listTools();
const calls = [];
for (const [name, given] of order.calls) {
  calls.push(
    await client
      .callTool({ name, arguments: given })
      .catch((error) => ({ error: { code: error.code, message: error.message } })),
  );
}
const read = [];
for (const uri of order.read) {
  read.push(await client.readResource({ uri }));
}
const said = {
  server: client.getServerVersion(),
  tools,
  calls,
  resources: (await client.listResources()).resources,
  templates: (await client.listResourceTemplates()).resourceTemplates,
  read,
};
await client.close();
console.log(JSON.stringify(said));
