import type { HTTPFault } from "#xds/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js";
import {
  type FractionalPercent,
  FractionalPercent_DenominatorType,
} from "#xds/gen/envoy/type/v3/percent_pb.js";
import type { FaultPolicy } from "../../filters/fault.ts";
import { decodeHeader } from "./header.ts";
import { milliseconds, type Problems } from "./problems.ts";

/** `absent`: what Envoy takes where no percentage is given. */
export function perMillion(wire: FractionalPercent | undefined, absent: number): number {
  if (wire === undefined) return absent;
  const unit =
    wire.denominator === FractionalPercent_DenominatorType.MILLION
      ? 1
      : wire.denominator === FractionalPercent_DenominatorType.TEN_THOUSAND
        ? 100
        : 10_000;
  return wire.numerator * unit;
}

/** null for a fault filter without delay and abort, as istiod puts in every chain. */
export function decodeFault(wire: HTTPFault, problems: Problems): FaultPolicy | null {
  const { delay, abort } = wire;
  if (delay === undefined && abort === undefined) return null;
  if (delay?.faultDelaySecifier.case === "headerDelay" || abort?.errorType.case === "headerAbort") {
    problems.warn("faults asked for by request headers are not supported");
  }
  const fixed =
    delay?.faultDelaySecifier.case === "fixedDelay" ? milliseconds(delay.faultDelaySecifier.value, 0) : 0;
  const type = abort?.errorType;
  const grpc = type?.case === "grpcStatus" ? type.value : null;
  const status = type?.case === "httpStatus" ? type.value : grpc === null ? 0 : 200;
  if (status !== 0 && (status < 200 || status > 599))
    problems.at("abort.http_status").error(`${status} is not within 200 and 599`);
  return {
    delay:
      delay === undefined || fixed === 0
        ? null
        : { durationMs: fixed, perMillion: perMillion(delay.percentage, 0) },
    abort:
      abort === undefined || status === 0
        ? null
        : { httpStatus: status, grpcStatus: grpc, perMillion: perMillion(abort.percentage, 0) },
    headers: wire.headers.map((h, i) => decodeHeader(h, problems.at("headers").at(i))),
  };
}
