#!/usr/bin/env bash
# Leaves in the corpora of fuzz targets as few inputs as reach what all of them reach: fuzz/minimise.sh [TARGET...]. Not while
# a campaign writes to them.
set -euo pipefail
cd "$(dirname "$0")"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <(cargo fuzz list); fi
count() { find "corpus/$1" -type f | wc -l; }

echo '| target | inputs before | inputs |'
echo '|---|---:|---:|'
for target in "${targets[@]}"; do
  [ -d "corpus/$target" ] || continue
  before=$(count "$target")
  mkdir -p artifacts
  cargo +nightly fuzz cmin --sanitizer none "$target" >"artifacts/$target-cmin.log" 2>&1
  printf '| `%s` | %d | %d |\n' "$target" "$before" "$(count "$target")"
done
