#!/usr/bin/env bash
# Makes envoy.binpb and istio.binpb again from the Go modules that carry them (every generated Go
# package embeds its descriptor). Needs Go 1.24 or newer; only for raising the Envoy or Istio level.
set -euo pipefail
envoy=v1.40.0 istio=v1.31.4
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
dump() { # module version output package-filter [more packages]
  local dir="$work/$3" root; mkdir -p "$dir"; cp "$here/dump/main.go" "$dir/"; cd "$dir"
  go mod init dump 2>/dev/null
  go get "$1@$2" google.golang.org/protobuf 2>/dev/null
  root=$(go list -m -f '{{.Dir}}' "$1")
  { echo 'package main'; echo 'import ('
    (cd "$root" && find . -name '*.pb.go' -printf '%h\n' | sort -u | sed 's|^\./||' | grep -E "$4") | sed "s|.*|\t_ \"$1/&\"|"
    for extra in ${5:-}; do printf '\t_ "%s"\n' "$extra"; done; echo ')'; } > imports.go
  go mod tidy 2>/dev/null
  go run . "$here/$3.binpb"
}
dump github.com/envoyproxy/go-control-plane/envoy "$envoy" envoy '/v3' \
  'github.com/cncf/xds/go/udpa/type/v1 github.com/cncf/xds/go/xds/type/v3 go.opentelemetry.io/proto/otlp/trace/v1'
dump istio.io/api "$istio" istio '/v1(alpha1|alpha3|beta1)?$'
