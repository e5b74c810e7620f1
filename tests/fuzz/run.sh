#!/usr/bin/env bash
# Runs fuzz targets, each for SECONDS, and fails if one finds anything.
#
#   tests/fuzz/run.sh SECONDS [TARGET…]    all targets without a name; prints executions and coverage
#   tests/fuzz/run.sh --keep [TARGET…]     merges what was found worth keeping into tests/corpora;
#                                          an input that broke something is kept as crash-NAME there
#
# Needs a nightly toolchain and cargo-fuzz (installed if missing). New inputs gather beside the build
# products, in fuzz/TARGET; crashes in fuzz/crash-TARGET-*, ready for `BINARY FILE`.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:?SECONDS or --keep}
shift
# Target and its longest input, octets.
declare -A length=([packet]=1024 [ecs]=64 [table_line]=4096 [artefact]=4096 [journal]=4096 [http_head]=1024 [proxy_header]=512 [mmdb]=8192)
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then targets=(packet ecs table_line artefact journal http_head proxy_header mmdb); fi

build=${CARGO_TARGET_DIR:-target}
mkdir -p "$build/fuzz"
build=$(cd "$build" && pwd)
cargo fuzz --version >/dev/null 2>&1 || CARGO_TARGET_DIR="$build/cargo-fuzz" cargo install --quiet --locked cargo-fuzz
host=$(rustc +nightly -vV | sed -n 's/^host: //p')

# The folders with seeds of target $1, the one that grows first.
seeds() {
    echo "$build/fuzz/$1"
    for folder in "tests/corpora/$1"; do [ -d "$folder" ] && echo "$folder"; done
    if [ "$1" = mmdb ]; then printf '%s\n' tests/data/mmdb/good tests/data/mmdb/bad tests/data/mmdb/limits; fi
}

failed=()
for target in "${targets[@]}"; do
    if [ -z "${length[$target]:-}" ]; then echo "no target $target" >&2; exit 64; fi
    CARGO_TARGET_DIR="$build" cargo +nightly fuzz build --fuzz-dir tests/fuzz "$target" >"$build/fuzz/$target.build" 2>&1 ||
        { cat "$build/fuzz/$target.build" >&2; exit 1; }
    # A copy: another build does not disturb a long run.
    cp --remove-destination "$build/$host/release/$target" "$build/fuzz/run-$target"
    mkdir -p "$build/fuzz/$target"
    mapfile -t folders < <(seeds "$target")
    options=("-max_len=${length[$target]}" -timeout=20 -rss_limit_mb=2048 "-artifact_prefix=$build/fuzz/crash-$target-")
    log="$build/fuzz/$target.log"
    if [ "$seconds" = --keep ]; then
        fresh=$(mktemp -d)
        "$build/fuzz/run-$target" "${options[@]}" -merge=1 "$fresh" "${folders[@]}" >"$log" 2>&1
        mkdir -p "tests/corpora/$target"
        # What once broke something stays; of the rest up to 300 of all sizes, up to 128 KiB.
        find "tests/corpora/$target" -type f ! -name 'crash-*' -delete
        find "$fresh" -type f -printf '%s %p\n' | sort -n | awk '(sum += $1) <= 131072 { kept[n++] = $2 }
            END { for (i = 0; i < n; i++) if (n <= 300 || int(i * 300 / n) != int((i - 1) * 300 / n)) print kept[i] }' |
            xargs -r mv -t "tests/corpora/$target"
        rm -rf "$fresh"
        echo "$target: $(find "tests/corpora/$target" -type f | wc -l) inputs, $(du -sb "tests/corpora/$target" | cut -f1) octets"
        continue
    fi
    if "$build/fuzz/run-$target" "${options[@]}" "-max_total_time=$seconds" -print_final_stats=1 "${folders[@]}" >"$log" 2>&1; then
        result=clean
    else
        result=CRASHED
        failed+=("$target")
        grep -av '^#' "$log" | tail -40
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -ao 'cov: [0-9]* ft: [0-9]*' "$log" | tail -1)
    echo "$target: $result, ${executions:-?} executions in $seconds s, ${coverage:-no coverage}"
done
if [ ${#failed[@]} -gt 0 ]; then echo "crashed: ${failed[*]}" >&2; exit 1; fi
