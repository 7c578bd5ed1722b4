/** Bytes of a policy file -> its text, or what is wrong with it in one sentence. */
export function decodeText(bytes: Uint8Array): { readonly text: string } | { readonly problem: string } {
  if (isUtf16(bytes)) return { problem: "the text is UTF-16: save it as UTF-8" };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // A file that was put together from others has theirs in the midst of it.
    return { text: text.includes("\uFEFF") ? text.replace(/^\uFEFF/gm, "") : text };
  } catch {
    return { problem: `line ${lineOfFault(bytes)} is not valid UTF-8: save the file as UTF-8` };
  }
}

function isUtf16(bytes: Uint8Array): boolean {
  const [a, b] = bytes;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) return true;
  // Without a mark: every second byte of a Latin text is 0.
  const head = bytes.subarray(0, 64);
  return head.length >= 8 && head.filter((byte) => byte === 0).length * 2 >= head.length - 1;
}

/** 1-based. */
function lineOfFault(bytes: Uint8Array): number {
  let from = 0;
  for (let line = 1; ; line++) {
    const end = bytes.indexOf(0x0a, from);
    const part = bytes.subarray(from, end < 0 ? bytes.length : end);
    if (Buffer.from(part).toString("utf8").includes("\uFFFD") || end < 0) return line;
    from = end + 1;
  }
}

/** Could this be meant as an object of Kubernetes, however broken? */
export function mentionsObjects(text: string): boolean {
  return /\b(apiVersion|kind)\b/.test(text);
}
