import { call, json, passOn, serve } from "./common.js";

// v1 shows no stars, v2 black ones, v3 red ones: one program, three Deployments.
const version = process.env["SERVICE_VERSION"] ?? "v1";
const color = version === "v2" ? "black" : version === "v3" ? "red" : undefined;

serve(async (req, res) => {
  const id = /^\/reviews\/(\d+)$/.exec(new URL(req.url ?? "/", "http://reviews").pathname)?.[1];
  if (id === undefined) return json(res, 404, { error: "no such page" });
  const texts = {
    Reviewer1: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
    Reviewer2:
      "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
  };
  let ratingOf = (_reviewer) => ({});
  if (color !== undefined) {
    const answer = await call("ratings", `/ratings/${id}`, passOn(req), 10_000);
    const stars = answer.body.ratings;
    ratingOf = (reviewer) => ({
      rating:
        answer.status === 200 && stars?.[reviewer] !== undefined
          ? { stars: stars[reviewer], color }
          : { error: "Ratings service is currently unavailable" },
    });
  }
  json(res, 200, {
    id,
    podname: process.env["HOSTNAME"] ?? "",
    clustername: "null",
    version,
    reviews: Object.entries(texts).map(([reviewer, text]) => ({ reviewer, text, ...ratingOf(reviewer) })),
  });
});
