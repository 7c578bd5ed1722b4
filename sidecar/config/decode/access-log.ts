import type { AccessLog as Wire } from "#xds/gen/envoy/config/accesslog/v3/accesslog_pb.js";
import { FileAccessLogSchema } from "#xds/gen/envoy/extensions/access_loggers/file/v3/file_pb.js";
import {
  StderrAccessLogSchema,
  StdoutAccessLogSchema,
} from "#xds/gen/envoy/extensions/access_loggers/stream/v3/stream_pb.js";
import type { AccessLog } from "../../snapshot.ts";
import { typeOf, unpack } from "./any.ts";
import type { Problems } from "./problems.ts";

/** A logger that is not known is a warning and logs nothing. */
export function decodeAccessLogs(wires: readonly Wire[], problems: Problems): AccessLog[] {
  return wires.map((wire, i) => decodeOne(wire, problems.at(i)));
}

function decodeOne(wire: Wire, problems: Problems): AccessLog {
  const any = wire.configType.case === "typedConfig" ? wire.configType.value : undefined;
  const filter = wire.filter?.filterSpecifier;
  const onlyFlags = filter?.case === "responseFlagFilter" ? filter.value.flags : null;
  if (filter?.case !== undefined && filter.case !== "responseFlagFilter")
    problems.at("filter").warn(`${filter.case} is ignored: everything is logged`);
  const file = unpack(any, FileAccessLogSchema, problems);
  const stdout = unpack(any, StdoutAccessLogSchema, problems);
  const stderr = unpack(any, StderrAccessLogSchema, problems);
  if (file === undefined && stdout === undefined && stderr === undefined) {
    problems.warn(`access logger ${wire.name} (${typeOf(any)}) is not supported: it logs nothing`);
    return { kind: "ignored", path: "", text: null, json: null, onlyFlags };
  }
  const format = (file ?? stdout ?? stderr)?.accessLogFormat;
  let text: string | null = null;
  let json: unknown | null = null;
  if (format?.case === "format") text = format.value;
  else if (format?.case === "jsonFormat" || format?.case === "typedJsonFormat") json = format.value;
  else if (format?.case === "logFormat") {
    const inner = format.value.format;
    if (inner.case === "textFormat") text = inner.value;
    else if (inner.case === "jsonFormat") json = inner.value;
    else if (inner.case === "textFormatSource" && inner.value.specifier.case === "inlineString")
      text = inner.value.specifier.value;
  }
  const path = file?.path ?? "";
  const kind =
    path === "/dev/stdout" || stdout !== undefined
      ? "stdout"
      : path === "/dev/stderr" || stderr !== undefined
        ? "stderr"
        : "file";
  return { kind, path, text, json, onlyFlags };
}
