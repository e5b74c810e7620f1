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
want chromium chromium
want ffmpeg ffmpeg
want npm npm
if [ "${1:-}" = peers ]; then
    want knotd knot knot-module-geoip
    want pdns_server pdns-server pdns-backend-geoip
fi
# Where packages that are not the system's go: beside what cargo builds.
beside=${CARGO_TARGET_DIR:-target}
# install PACKAGE...: from the system's packages; a server that is installed here is started by us only.
install() {
    # 101 forbids packages to.
    local policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' RETURN
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"
    fi
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
# lacking WHAT: tests will miss it, which under CI is the end.
lacking() {
    echo "missing for some tests: $*" >&2
    [ -z "${CI:-}" ] || exit 1
}
# The players that a browser plays with, as their authors publish them; npm checks what it gets by the checksums in
# the lock file.
players() {
    local at=$beside/players lock=package-lock.json
    cmp -s "tests/players/$lock" "$at/$lock" && [ -e "$at/node_modules/.$lock" ] && return
    mkdir -p "$at" && cp tests/players/package.json "tests/players/$lock" "$at" &&
        (cd "$at" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
}
# python FOLDER MODULE REQUIREMENT: a package of Python, in a folder with what it needs, which others need otherwise.
python() {
    PYTHONPATH=$beside/$1 python3 -c "import $2" 2>/dev/null ||
        pip3 install --quiet --no-warn-conflicts --target "$beside/$1" "$3" >/dev/null
}
if [ ${#missing[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
        install "${missing[@]}" || exit
    else
        lacking "${missing[*]}"
    fi
fi
players || lacking "the players of tests/players/package.json"
python python sslyze 'sslyze==6.3.1' || lacking sslyze
python aioquic aioquic 'aioquic==1.7.2' || lacking aioquic
