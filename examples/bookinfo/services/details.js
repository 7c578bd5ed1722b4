import { json, serve } from "./common.js";

serve((req, res) => {
  const id = /^\/details\/(\d+)$/.exec(new URL(req.url ?? "/", "http://details").pathname)?.[1];
  if (id === undefined) return json(res, 404, { error: "no such page" });
  json(res, 200, {
    id: Number(id),
    author: "William Shakespeare",
    year: 1595,
    type: "paperback",
    pages: 200,
    publisher: "PublisherA",
    language: "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
  });
});
