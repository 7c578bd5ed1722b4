/** What is said of files themselves, beside what their objects say. */
import type { Issue, LoadResult } from "#policies/index.ts";
import type { Awaited } from "./standing.ts";

/** About a file as a whole: at its line 1, of no object. */
export function problem(level: Issue["level"], code: string, file: string, message: string): Issue {
  return { level, code, message, file, line: 1, object: "", path: "" };
}

export function unreadable(file: string, message: string): LoadResult {
  return {
    objects: [],
    issues: [problem("error", "unreadable", file, `the file cannot be read: ${message}`)],
  };
}

/** `stands`: what it said before is still in force. */
export function missingPath(path: string, stands: boolean): Issue {
  const message = stands
    ? "the folder is not there: what it said stands until it is back"
    : "there is no such file or folder (yet); it is watched for";
  return problem("warning", "missing-path", path, message);
}

const WHY: Readonly<Record<Awaited["why"], string>> = {
  "no file": "its file has gone; it holds until that has been so for some seconds",
  "not in its file": "it is not in its file any more; it holds until that has been so for some seconds",
  cut: "its file looks half-written; what it said before holds until that has been so for some seconds",
};

/** `blocker`: what must happen in the folder before, or null. */
export function awaitedIssue({ object, why }: Awaited, blocker: string | null): Issue {
  const { kind, name, namespace, file, line } = object.source;
  return {
    ...problem("warning", "awaited", file, `${WHY[why]}${blocker === null ? "" : `, and until ${blocker}`}`),
    line,
    object: namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`,
  };
}
