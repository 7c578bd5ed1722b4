/** A constant load for tests that change something underneath it. */
import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";

export interface LoadOptions {
  readonly url: string;
  readonly headers?: Record<string, string>;
  /** Kept-alive connections, each with one request at a time. */
  readonly connections?: number;
  /** What is wrong with an answer, or null. Default: any status but 200. */
  readonly judge?: (status: number, body: string) => string | null;
}

export interface Load {
  sent(): number;
  /** Ends the load and says what failed, one line each. */
  stop(): Promise<readonly string[]>;
}

const PAUSE_MS = 5; // leaves the processors of a small machine to the mesh

export function startLoad(options: LoadOptions): Load {
  const { url, headers = {}, connections = 4 } = options;
  const judge = options.judge ?? ((status) => (status === 200 ? null : `status ${status}`));
  const agent = new Agent({ connections, pipelining: 1 });
  const failures: string[] = [];
  let sent = 0;
  let running = true;
  const started = performance.now();
  const one = async (): Promise<void> => {
    while (running) {
      let wrong: string | null;
      try {
        const response = await request(url, { dispatcher: agent, headers });
        wrong = judge(response.statusCode, await response.body.text());
      } catch (error) {
        wrong = String(error);
      }
      sent++;
      if (wrong !== null) failures.push(`after ${Math.round(performance.now() - started)} ms: ${wrong}`);
      await delay(PAUSE_MS);
    }
  };
  const all = Array.from({ length: connections }, one);
  return {
    sent: () => sent,
    async stop() {
      running = false;
      await Promise.all(all);
      await agent.close();
      return failures;
    },
  };
}
