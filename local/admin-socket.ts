/** GET on a Unix socket of ours. */
import { request } from "node:http";

/** Whether it answers 200 within a second. */
export function isReady(socketPath: string, path = "/ready"): Promise<boolean> {
  return new Promise((resolve) => {
    const req = request({ socketPath, path, agent: false, timeout: 1_000 }, (res) => {
      res.resume();
      resolve(res.statusCode === 200);
    });
    req.on("timeout", () => req.destroy());
    req.on("error", () => resolve(false));
    req.end();
  });
}

/** A JSON answer over a Unix socket; null when there is none. */
export async function getJson(socketPath: string, path: string): Promise<unknown> {
  const text = await getText(socketPath, path);
  if (text === null) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The body of an answer; null when there is none. */
export function getText(socketPath: string, path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const req = request({ socketPath, path, agent: false, timeout: 5_000 }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      res.on("error", () => resolve(null));
      res.on("end", () => resolve(text));
    });
    req.on("timeout", () => req.destroy());
    req.on("error", () => resolve(null));
    req.end();
  });
}
