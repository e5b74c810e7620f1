#!/usr/bin/env bash
# Installs the programs that the tests talk to us with, where the system lets us; told `peers`, also all
# the servers that `make bench` compares steerd with. A test whose tool is missing fails under CI and
# says so loudly elsewhere.
set -u
PATH=$PATH:/usr/sbin
missing=()
# want PROGRAM PACKAGE...: the packages are missing where the program is.
want() {
    local program=$1
    shift
    command -v "$program" >/dev/null || missing+=("$@")
}
want dig bind9-dnsutils
want kdig knot-dnsutils
want delv bind9-dnsutils
want dnssec-keygen bind9-utils
want drill ldnsutils
want unbound-host unbound-host
want dnsviz dnsviz
want curl curl
want openssl openssl
want fstrm_capture fstrm-bin
want dnstap-ldns dnstap-ldns
want zonemaster-cli zonemaster-cli
want unbound unbound
want pdns_recursor pdns-recursor
want named bind9
want kresd knot-resolver
want ip iproute2
want nsenter util-linux
want gdnsd gdnsd
want nginx nginx-light
want haproxy haproxy
want h2load nghttp2-client
want pip3 python3-pip
if [ "${1:-}" = peers ]; then
    want knotd knot knot-module-geoip
    want pdns_server pdns-server pdns-backend-geoip
fi
# python PACKAGE: puts a package of Python beside what cargo builds, where tests look for it.
python() {
    local folder=${TARGET:-target}/python
    PYTHONPATH=$folder python3 -c "import $1" 2>/dev/null ||
        pip3 install --quiet --no-warn-conflicts --target "$folder" "$1" >/dev/null ||
        { echo "missing for some tests: $1" >&2 && [ -z "${CI:-}" ]; }
}
[ ${#missing[@]} -eq 0 ] && { python sslyze; exit; }
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    # A server that is installed here is started by us only: 101 forbids packages to.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    fi
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || exit
else
    echo "missing for some tests: ${missing[*]}" >&2
    [ -z "${CI:-}" ] || exit 1
fi
python sslyze
