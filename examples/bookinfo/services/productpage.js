import { call, json, passOn, serve } from "./common.js";

const PRODUCT = {
  id: 0,
  title: "The Comedy of Errors",
  descriptionHtml: "A comedy by William Shakespeare in which two pairs of twins are mistaken for each other.",
};
const TIMEOUT_MS = 3_000;

function userOf(req) {
  const raw = /(?:^|;\s*)user=([^;]*)/.exec(req.headers.cookie ?? "")?.[1];
  // Only plain names: the value goes into a header and a page.
  return raw !== undefined && /^[\w.-]{1,64}$/.test(raw) ? raw : undefined;
}

function escape_(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function headersFor(req) {
  const user = userOf(req);
  return { ...passOn(req), ...(user === undefined ? {} : { "end-user": user }) };
}

serve(async (req, res) => {
  const path = new URL(req.url ?? "/", "http://productpage").pathname;
  const api = /^\/api\/v1\/products(?:\/(\d+)(?:\/(reviews|ratings))?)?$/.exec(path);
  if (path === "/productpage") return page(req, res);
  if (path === "/login" && req.method === "POST") return login(req, res);
  if (path === "/logout") return redirect(res, "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
  if (path === "/") return res.writeHead(302, { location: "/productpage", "content-length": 0 }).end();
  if (api === null) return json(res, 404, { error: "no such page" });
  if (api[1] === undefined) return json(res, 200, [PRODUCT]);
  const service = api[2] ?? "details";
  const answer = await call(service, `/${service}/${api[1]}`, headersFor(req), TIMEOUT_MS);
  json(res, answer.status === 0 ? 503 : answer.status, answer.body);
});

function redirect(res, cookie) {
  res.writeHead(302, { location: "/productpage", "set-cookie": cookie, "content-length": 0 }).end();
}

function login(req, res) {
  let form = "";
  req.setEncoding("utf8");
  req.on("data", (part) => {
    form += part;
    if (form.length > 10_000) req.destroy();
  });
  req.on("end", () => {
    const name = new URLSearchParams(form).get("username") ?? "";
    redirect(res, `user=${encodeURIComponent(name)}; Path=/; HttpOnly; SameSite=Lax`);
  });
}

async function page(req, res) {
  const headers = headersFor(req);
  const [details, reviews] = await Promise.all([
    call("details", "/details/0", headers, TIMEOUT_MS),
    call("reviews", "/reviews/0", headers, TIMEOUT_MS),
  ]);
  const user = userOf(req);
  const form =
    user === undefined
      ? '<form method="post" action="/login"><input name="username" placeholder="user name" aria-label="user name"><button>Sign in</button></form>'
      : `<p>Signed in as <b>${escape_(user)}</b> · <a href="/logout">Sign out</a></p>`;
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Bookinfo: ${PRODUCT.title}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}header{display:flex;justify-content:space-between}
main{display:grid;grid-template-columns:1fr 2fr;gap:2rem}blockquote{margin:0 0 1rem;padding-left:1rem;border-left:3px solid #ccc}.black{color:#111}.red{color:#c00}
.error{color:#a00}dt{font-weight:600}dd{margin:0 0 .5rem}footer{color:#666}</style></head><body>
<header><h1>${PRODUCT.title}</h1>${form}</header><p>${PRODUCT.descriptionHtml}</p>
<main><section><h2>Book details</h2>${detailsHtml(details)}</section><section><h2>Reviews</h2>${reviewsHtml(reviews)}</section></main></body></html>\n`;
  res
    .writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": Buffer.byteLength(html) })
    .end(html);
}

function detailsHtml(answer) {
  if (answer.status !== 200)
    return '<p class="error">Error fetching product details! Sorry, product details are currently unavailable.</p>';
  const rows = Object.entries(answer.body).filter(([key]) => key !== "id");
  return `<dl>${rows.map(([k, v]) => `<dt>${escape_(k)}</dt><dd>${escape_(v)}</dd>`).join("")}</dl>`;
}

function reviewsHtml(answer) {
  if (answer.status !== 200)
    return '<p class="error">Error fetching product reviews! Sorry, product reviews are currently unavailable.</p>';
  const body = answer.body;
  const quotes = (body.reviews ?? []).map(({ reviewer, text, rating }) => {
    let stars = "";
    if (rating?.stars !== undefined) {
      const shown = "★".repeat(rating.stars) + "☆".repeat(Math.max(0, 5 - rating.stars));
      stars = `<p class="stars ${escape_(rating.color)}">${shown}</p>`;
    } else if (rating?.error !== undefined) stars = `<p class="error">${escape_(rating.error)}</p>`;
    return `<blockquote><p>${escape_(text)}</p><p>— ${escape_(reviewer)}</p>${stars}</blockquote>`;
  });
  const version = escape_(body.version ?? "unknown");
  return `${quotes.join("")}<footer>Reviews served by: <b id="reviews-version">reviews-${version}</b> (pod ${escape_(body.podname ?? "")})</footer>`;
}
