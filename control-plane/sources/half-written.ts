/**
 * Does `after` look like a new version of `before` whose writing stopped halfway: is what stood at the end gone, and
 * nothing behind it left? What is taken out of the middle is an edit. Maps are compared in the order of the text.
 * `open`: the text ends within a word, so that its last value may be the beginning of a longer one.
 */
export function isCut(before: unknown, after: unknown, open: boolean): boolean {
  if (before === null || before === undefined) return false;
  if (after === null || after === undefined) return true; // "rules:" and no more
  if (Array.isArray(before)) return Array.isArray(after) && isListCut(before, after, open);
  if (isMap(before)) return isMap(after) && !Array.isArray(after) && isMapCut(before, after, open);
  if (!open || isMap(after)) return false;
  const [whole, start] = [String(before), String(after)];
  return start.length < whole.length && whole.startsWith(start);
}

function isMapCut(before: Map, after: Map, open: boolean): boolean {
  const keys = Object.keys(before);
  const last = Object.keys(after).at(-1);
  if (last === undefined) return keys.length > 0;
  const at = keys.indexOf(last);
  const missing = keys.filter((key, i) => i > at && !Object.hasOwn(after, key));
  // Ends with a key that was not there before: put in front of what is still to come, or another word for it.
  if (at < 0) return missing.some((key) => isMap(before[key]));
  return missing.length > 0 || isCut(before[last], after[last], open);
}

function isListCut(before: readonly unknown[], after: readonly unknown[], open: boolean): boolean {
  const end = after.at(-1);
  if (end === undefined) return before.length > 0;
  const texts = before.map((item) => JSON.stringify(item));
  const left = new Set(after.map((item) => JSON.stringify(item)));
  const at = texts.lastIndexOf(JSON.stringify(end));
  if (at >= 0) {
    const shorter = after.length < before.length;
    if (shorter && texts[after.length - 1] === texts[at]) return true;
    return texts.slice(at + 1).some((text) => !left.has(text));
  }
  // Its last item is new, or changed, or the beginning of the one that follows those that are still there.
  const kept = texts.findLastIndex((text) => left.has(text));
  return (
    after.length < before.length ||
    isCut(before[kept + 1], end, open) ||
    isCut(before[after.length - 1], end, open)
  );
}

/**
 * May what is missing in a list still come behind its new last item? That is how a file looks in which something was
 * put in front of the last item, and written as far as there; and so does one in which the last item was replaced.
 */
export function mayContinue(before: unknown, after: unknown): boolean {
  return isMap(before) && isMap(after) && mayGoOn(before, after, false);
}

function mayGoOn(before: Map, after: Map, inList: boolean): boolean {
  if (Array.isArray(before) !== Array.isArray(after)) return false;
  if (Array.isArray(before) && Array.isArray(after)) {
    const texts = before.map((item) => JSON.stringify(item));
    const left = new Set(after.map((item) => JSON.stringify(item)));
    if (texts.every((text) => left.has(text)) || texts.includes(JSON.stringify(after.at(-1)))) return false;
    const [replaced, end] = [before[texts.findLastIndex((text) => left.has(text)) + 1], after.at(-1)];
    return !isMap(replaced) || !isMap(end) || mayGoOn(replaced, end, true);
  }
  const keys = Object.keys(after);
  if (inList && keys.some((key) => !Object.hasOwn(before, key))) return true;
  const [was, is] = [before[keys.at(-1) ?? ""], after[keys.at(-1) ?? ""]];
  return isMap(was) && isMap(is) && mayGoOn(was, is, inList);
}

type Map = Readonly<Record<string, unknown>>;
const isMap = (value: unknown): value is Map => typeof value === "object" && value !== null;
