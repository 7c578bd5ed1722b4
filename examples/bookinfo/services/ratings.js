import { json, serve } from "./common.js";

const ratings = new Map();

serve((req, res) => {
  const id = /^\/ratings\/(\d+)$/.exec(new URL(req.url ?? "/", "http://ratings").pathname)?.[1];
  if (id === undefined) return json(res, 404, { error: "no such page" });
  const product = Number(id);
  const current = ratings.get(product) ?? { Reviewer1: 5, Reviewer2: 4 };
  if (req.method !== "POST") return json(res, 200, { id: product, ratings: current });
  let text = "";
  req.setEncoding("utf8");
  req.on("data", (part) => {
    text += part;
  });
  req.on("end", () => {
    try {
      ratings.set(product, JSON.parse(text));
      json(res, 200, { id: product, ratings: ratings.get(product) });
    } catch {
      json(res, 400, { error: "please provide valid ratings JSON" });
    }
  });
});
