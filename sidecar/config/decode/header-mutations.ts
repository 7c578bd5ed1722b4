/** request_headers_to_add and its like -> HeaderMutations. What cannot stand in a head is refused, whoever sends it. */
import {
  HeaderValueOption_HeaderAppendAction as Append,
  type HeaderValueOption,
} from "#xds/gen/envoy/config/core/v3/base_pb.js";
import { isCodecField, isFieldName } from "../../http1/head-syntax.ts";
import { compileFormat } from "../../route/format.ts";
import type { HeaderMutation, HeaderMutations } from "../../snapshot.ts";
import type { Problems } from "./problems.ts";

const APPEND = {
  [Append.APPEND_IF_EXISTS_OR_ADD]: "append",
  [Append.ADD_IF_ABSENT]: "add-if-absent",
  [Append.OVERWRITE_IF_EXISTS_OR_ADD]: "overwrite",
  [Append.OVERWRITE_IF_EXISTS]: "overwrite-if-exists",
} as const;

interface WireHeaders {
  requestHeadersToAdd: HeaderValueOption[];
  requestHeadersToRemove: string[];
  responseHeadersToAdd: HeaderValueOption[];
  responseHeadersToRemove: string[];
}

/** null where nothing changes. Names that frame a message or belong to one hop are refused. */
export function decodeHeaders(wire: WireHeaders, problems: Problems): HeaderMutations | null {
  const request = [
    ...removals(wire.requestHeadersToRemove, problems.at("request_headers_to_remove")),
    ...additions(wire.requestHeadersToAdd, problems.at("request_headers_to_add")),
  ];
  const response = [
    ...removals(wire.responseHeadersToRemove, problems.at("response_headers_to_remove")),
    ...additions(wire.responseHeadersToAdd, problems.at("response_headers_to_add")),
  ];
  return request.length + response.length === 0 ? null : { request, response };
}

function removals(names: readonly string[], problems: Problems): HeaderMutation[] {
  return names.flatMap((key, i) => {
    const name = mutable(key, problems.at(i));
    return name === null ? [] : [{ kind: "remove" as const, name }];
  });
}

function additions(options: readonly HeaderValueOption[], problems: Problems): HeaderMutation[] {
  return options.flatMap((option, i) => {
    const at = problems.at(i);
    const text = option.header?.value ?? "";
    if (endsLine(text)) at.error(`${JSON.stringify(text)}: a value holds no CR, LF or NUL`);
    const name = mutable(option.header?.key ?? "", at);
    if (name === null) return [];
    const kind = option.append === false ? ("overwrite" as const) : APPEND[option.appendAction];
    const { value, unknown } = compileFormat(Buffer.from(text, "utf8").toString("latin1"));
    if (unknown !== null) at.warn(`${unknown} is not known here and stands for nothing`);
    return [{ kind, name, value, keepEmpty: option.keepEmptyValue }];
  });
}

/** The lower-case name; null where the field is not for configuration to change, or where there is an error. */
function mutable(key: string, problems: Problems): string | null {
  const name = key.toLowerCase();
  if (name === "host" || name.startsWith(":"))
    problems.error(
      `${JSON.stringify(key)} may not be modified (for the authority there is host_rewrite_literal)`,
    );
  else if (!isFieldName(name)) problems.error(`${JSON.stringify(key)} is not a header name`);
  else if (isCodecField(name)) problems.warn(`${name} is written by the codec alone: it stays as it is`);
  else return name;
  return null;
}

/** Envoy refuses these three in all text that becomes part of a head. */
export function endsLine(text: string): boolean {
  return /[\r\n\0]/.test(text);
}

/** Text of the configuration as it may stand in a target: what may not is percent-encoded, as UTF-8. */
export function targetText(text: string, problems: Problems): string {
  if (endsLine(text)) problems.error(`${JSON.stringify(text)}: a path holds no CR, LF or NUL`);
  return text.replace(/[^!"$-~]+/gu, encoded);
}

function encoded(text: string): string {
  let out = "";
  for (const byte of Buffer.from(text, "utf8")) out += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return out;
}
