#!/usr/bin/env bash
# Installs the programs that the tests talk to us with, where the system lets us. A test whose tool
# is missing fails under CI and says so loudly elsewhere.
set -u
missing=()
command -v dig >/dev/null || missing+=(bind9-dnsutils)
command -v kdig >/dev/null || missing+=(knot-dnsutils)
command -v curl >/dev/null || missing+=(curl)
[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
else
    echo "missing for some tests: ${missing[*]}" >&2
    [ -z "${CI:-}" ]
fi
