// Asks a server what a script says, with Inkeep's own client.
//
// Reads {url, key, calls: [[method, ...arguments]]} and prints, for each call, {ok: answer} or
// {error: its class}. Methods are those of the client, such as query.queryEvents.
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { InkeepAnalytics } from "@inkeep/inkeep-analytics";

const { url, key, calls } = JSON.parse(readFileSync(0, "utf8"));
const client = new InkeepAnalytics({ apiIntegrationKey: key, serverURL: url });

async function answer([name, ...given]) {
  const [part, method] = name.split(".");
  try {
    const found = await client[part][method](...given);
    return { ok: found instanceof ReadableStream ? await text(found) : found };
  } catch (error) {
    return { error: error.constructor.name };
  }
}

const answers = [];
for (const call of calls) answers.push(await answer(call));
process.stdout.write(JSON.stringify(answers));
