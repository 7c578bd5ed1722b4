/** PEM (RFC 7468, strict): one label at a time, canonical base64, nothing around the blocks but white space. */
export function toPem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** Every block of a text that holds only blocks of this label. Throws, naming what is wrong, on anything else. */
export function fromPem(label: string, text: string): Buffer[] {
  const blocks: Buffer[] = [];
  const rest = text.replace(
    /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----(?:\r?\n|$)/g,
    (_all, found: string, body: string) => {
      if (found !== label) throw new Error(`expected a PEM block "${label}", found "${found}"`);
      const base64 = body.replace(/[\r\n]/g, "");
      const der = Buffer.from(base64, "base64");
      if (der.toString("base64") !== base64)
        throw new Error(`the base64 of a "${label}" block is not canonical`);
      blocks.push(der);
      return "";
    },
  );
  if (rest.trim() !== "") throw new Error(`there is text outside the PEM blocks "${label}"`);
  if (blocks.length === 0) throw new Error(`there is no PEM block "${label}"`);
  return blocks;
}
