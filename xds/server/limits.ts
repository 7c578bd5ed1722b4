/**
 * What one stream may ask for. A proxy asks for names that it was given; whoever holds one pod's token could otherwise
 * make the control plane hold, and answer for, any number of names that nobody has.
 */
const MOST_TYPES = 16;
/** Of one type, or four times what there is of it: a proxy that comes back may still ask for what has gone. */
const MOST_NAMES = 10_000;
/** `outbound|PORT|SUBSET|HOST` with names of DNS has at most 400. */
const LONGEST_NAME = 512;

/** The stream must end; the message is for its log and for the peer. */
export class LimitExceeded extends Error {}

export function checkTypes(count: number): void {
  if (count > MOST_TYPES) throw new LimitExceeded(`a stream asks for at most ${MOST_TYPES} types`);
}

/** @param held names that the watch has already; @param known how many resources there are of this type */
export function checkNames(
  names: readonly string[],
  held: ReadonlySet<string> | undefined,
  known: number,
): void {
  const most = Math.max(MOST_NAMES, 4 * known);
  let count = held?.size ?? 0;
  for (const name of names) {
    if (held?.has(name) === true) continue;
    if (++count > most) throw new LimitExceeded(`a stream asks for at most ${most} names of a type`);
    if (name.length > LONGEST_NAME)
      throw new LimitExceeded(`a name of ${name.length} characters is longer than any that there is`);
  }
}
