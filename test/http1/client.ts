/** A client that sends bytes as told and reads answers strictly. */
import { connect, type Socket } from "node:net";

export interface Answer {
  readonly status: number;
  readonly fields: string;
  readonly body: string;
}

export interface Talk {
  readonly answers: Answer[];
  /** Bytes after the last whole answer. */
  readonly rest: string;
  /** "open" = still open when `until` was met, "hang" = nothing more came in time. */
  readonly end: "fin" | "reset" | "open" | "hang";
}

export interface TalkOptions {
  /** Ends the talk while the connection is open. */
  readonly until?: (answers: readonly Answer[], text: string) => boolean;
  /** Methods in order, for answers without a body. */
  readonly methods?: readonly string[];
  /** Half-close after the last byte, and once so many final answers have come. */
  readonly finAfter?: number;
  readonly onConnect?: (socket: Socket) => void;
}

/** Longest wait for the next sign of life: what takes longer counts as a hang. */
const HANG_MS = 5000;

export function talk(port: number, pieces: readonly Buffer[], options: TalkOptions = {}): Promise<Talk> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    let text = "";
    let sent = 0;
    let reset = false;
    let timer = setTimeout(() => finish("hang"), HANG_MS);
    const finish = (end: Talk["end"]): void => {
      clearTimeout(timer);
      socket.removeAllListeners("data");
      socket.destroy();
      resolve({ ...readAnswers(text, options.methods ?? []), end });
    };
    const maybeEnd = (): void => {
      const { answers } = readAnswers(text, options.methods ?? []);
      const final = answers.filter(({ status }) => status >= 200).length;
      if (sent === pieces.length && final >= (options.finAfter ?? Number.POSITIVE_INFINITY)) socket.end();
    };
    const sendNext = (): void => {
      if (sent === pieces.length) {
        maybeEnd();
        return;
      }
      if (socket.destroyed || socket.writableEnded) return;
      // A turn of the loop between pieces, so that they do not meet again in one read.
      socket.write(pieces[sent++]!, () => setImmediate(sendNext));
    };
    socket.on("connect", () => {
      options.onConnect?.(socket);
      sendNext();
    });
    socket.on("data", (data: Buffer) => {
      text += data.toString("latin1");
      clearTimeout(timer);
      timer = setTimeout(() => finish("hang"), HANG_MS);
      maybeEnd();
      if (options.until?.(readAnswers(text, options.methods ?? []).answers, text) === true) finish("open");
    });
    socket.on("end", () => finish("fin"));
    socket.on("error", () => {
      reset = true;
    });
    socket.on("close", () => finish(reset ? "reset" : "fin"));
  });
}

/** Interim answers are among them. */
export function readAnswers(text: string, methods: readonly string[]): { answers: Answer[]; rest: string } {
  const answers: Answer[] = [];
  let rest = text;
  let final = 0;
  for (;;) {
    const head = /^HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n/.exec(rest);
    if (head === null) return { answers, rest };
    const [all, digits, fields] = head as unknown as [string, string, string];
    const status = Number(digits);
    let end = all.length;
    let body = "";
    const length = /^content-length: (\d+)\r$/im.exec(fields);
    const bodiless = status < 200 || status === 204 || status === 304 || methods[final] === "HEAD";
    if (!bodiless && length !== null) {
      end += Number(length[1]);
      if (rest.length < end) return { answers, rest };
      body = rest.slice(all.length, end);
    } else if (!bodiless && /^transfer-encoding: chunked\r$/im.test(fields)) {
      for (let done = false; !done; ) {
        const size = /^([0-9a-f]+)\r\n/.exec(rest.slice(end));
        if (size === null) return { answers, rest };
        const bytes = Number.parseInt(size[1]!, 16);
        const from = end + size[0].length;
        if (rest.length < from + bytes + 2) return { answers, rest };
        body += rest.slice(from, from + bytes);
        end = from + bytes + 2;
        done = bytes === 0;
      }
    } else if (!bodiless) {
      body = rest.slice(end);
      end = rest.length;
    }
    if (status >= 200) final++;
    answers.push({ status, fields, body });
    rest = rest.slice(end);
  }
}
