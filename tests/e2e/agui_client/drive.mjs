// Drives a session with the official AG-UI client: turns come as JSON lines, events and results go out as JSON lines.
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
console.warn = console.error = (...words) => say({ warning: words.map(String).join(" ") });

let agent;
for await (const line of createInterface({ input: process.stdin })) {
  const { connect, messages = [], options = {}, leave } = JSON.parse(line);
  if (connect) {
    agent = new HttpAgent(connect);
    continue;
  }
  messages.forEach((message) => agent.addMessage(message));
  const onEvent = ({ event }) => {
    say({ event });
    if (event.type === leave) agent.abortRun();
  };
  try {
    await agent.runAgent(options, { onEvent });
    say({ messages: agent.messages });
  } catch (error) {
    say({ failure: error.message, status: error.status, payload: error.payload });
  }
}
