// Parses request bodies with the schemas of Inkeep's own client.
//
// Reads [{path, body}] and prints, for each, what is wrong with it: "" where nothing is. Schemas
// drop keys that they do not know, so a body must come out of them as it went in.
import { isDeepStrictEqual } from "node:util";
import { readFileSync } from "node:fs";
import * as components from "@inkeep/inkeep-analytics/models/components";

const SCHEMAS = {
  "/query/events": components.QueryEventsRequestBody$outboundSchema,
  "/query/conversations": components.QueryConversationsRequestBody$outboundSchema,
  "/query/feedback": components.QueryFeedbackRequestBody$outboundSchema,
  "/query/semantic-threads": components.QuerySemanticThreadsRequestBody$outboundSchema,
};

function withDefaults(body) {
  const groupBy = body.groupBy?.map((each) => ({ includeInSelect: true, ...each }));
  return groupBy ? { ...body, groupBy } : body;
}

function fault({ path, body }) {
  const parsed = SCHEMAS[path].safeParse(body);
  if (!parsed.success) return JSON.stringify(parsed.error.issues);
  return isDeepStrictEqual(parsed.data, withDefaults(body)) ? "" : "the schema drops a key";
}

process.stdout.write(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(fault)));
