/** A request from inside of a pod, by nothing that a bare machine lacks. It minds HTTP_PROXY where the pod's environment says so. */
const SCRIPT = `
const [, url, method, headers] = process.argv;
const done = (status, body) => { console.log(JSON.stringify({ status, body })); process.exit(0); };
const request = require("node:http").request(url, { method, headers: JSON.parse(headers) }, (answer) => {
  let body = "";
  answer.setEncoding("utf8").on("data", (piece) => (body += piece));
  answer.on("end", () => done(answer.statusCode, body)).on("error", (error) => done(0, error.code));
});
request.on("error", (error) => done(0, error.code)).setTimeout(20000, () => done(0, "silence")).end();`;

export interface Answer {
  /** 0: there was none, and `body` is the error's code. */
  readonly status: number;
  readonly body: string;
}

/** Runs `command` somewhere, such as `(c) => mesh.exec(pod, c)`. */
export async function ask(
  run: (command: readonly string[]) => Promise<{ stdout: Buffer; stderr: string }>,
  url: string,
  { method = "GET", headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const { stdout, stderr } = await run([
    process.execPath,
    "-e",
    SCRIPT,
    url,
    method,
    JSON.stringify(headers),
  ]);
  if (stdout.length === 0) throw new Error(stderr);
  return JSON.parse(stdout.toString()) as Answer;
}
